"""Decisions: what the gate said of a version, as its tags tell."""

from dataclasses import dataclass

from pipelines.registry import Version

REFUSED = "not improved"


@dataclass(frozen=True)
class Verdict:
    """`judged` is false of a version that no retrain compared with the champion."""

    judged: bool
    promote: bool
    reason: str

    @classmethod
    def of(cls, version: Version) -> "Verdict":
        reason = version.tags.get("decision", "")
        if not reason:
            return cls(False, False, "the gate has not judged it")
        return cls(True, not reason.startswith(REFUSED), reason)

    def __str__(self) -> str:
        if not self.judged:
            return self.reason
        return f"the gate {'lets it serve' if self.promote else 'keeps it back'}: {self.reason}"
