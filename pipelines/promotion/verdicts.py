"""Verdicts: what the gate said of a version, as its tags tell."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.promotion.version import Version

REFUSALS = ("not improved", "refused")
"""What the reason of a decision begins with when the challenger was kept back."""


@dataclass(frozen=True)
class Verdict:
    """`judged` is false of a version that no retrain compared with the champion. `champion`: the version that
    it was compared with; 0 where that is not known.
    """

    judged: bool
    promote: bool
    reason: str
    champion: int = 0

    @classmethod
    def of(cls, version: Version, run_tags: Mapping[str, str] | None = None) -> "Verdict":
        reason = version.tags.get("decision", "")
        if not reason:
            return cls(False, False, "the gate has not judged it")
        champion = (run_tags or {}).get("decision_champion", "")
        return cls(
            True,
            not reason.startswith(REFUSALS),
            reason,
            int(champion) if champion.isdecimal() else 0,
        )

    def stands(self, champion: int) -> bool:
        """Whether the version may serve instead of this one, going by the gate alone."""
        return self.promote and self.champion in (0, champion)

    def __str__(self) -> str:
        if not self.judged:
            return self.reason
        against = f" (compared with version {self.champion})" if self.champion else ""
        return f"the gate {'lets it serve' if self.promote else 'keeps it back'}{against}: {self.reason}"
