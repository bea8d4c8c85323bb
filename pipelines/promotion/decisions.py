"""Decision records: what was decided about a challenger, by whom, on what grounds, and of which data.

The record is `reports/decision.json`; `pipelines/report/decision` makes the page of it that a person reads.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.files import write_atomically
from pipelines.promotion.gate import Decision, Rules
from pipelines.promotion.version import Version

FILE = Path("reports/decision.json")


@dataclass(frozen=True)
class Record:
    """One decision. `by` is a user or a flow run, `when` ISO 8601 in UTC, `rules` those of the gate."""

    decision: Decision
    challenger: Version
    champion: Version
    by: str
    when: str
    branch: str
    rules: Rules

    @property
    def key(self) -> str:
        """Names the pair; small letters, digits and dashes."""
        return f"decision-v{self.challenger.number}-against-v{self.champion.number}"

    @property
    def identity(self) -> str:
        """Equal for the same decision on the same pair, whenever and by whomever it is repeated."""
        said = f"{self.key} {self.decision.promote} {self.decision.reason}"
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    @property
    def outcome(self) -> str:
        return "promoted" if self.decision.promote else self.decision.reason.partition(":")[0]

    def tags(self) -> dict[str, str]:
        """What a run is searched by."""
        return {
            "decision": self.outcome,
            "decision_reason": self.decision.reason,
            "decision_champion": str(self.champion.number),
            "decision_by": self.by,
            "decision_when": self.when,
            "decision_id": self.identity,
        }

    def metrics(self) -> dict[str, float]:
        """By how much the models differ, as far as that is a number."""
        named = self.decision.figures.items()
        return {
            name: float(value)
            for name, value in named
            if name.startswith(("difference", "latency")) and math.isfinite(value)
        }

    def to_dict(self) -> dict[str, Any]:
        decision = self.decision
        return {
            "outcome": self.outcome,
            "promote": decision.promote,
            "reason": decision.reason,
            "by": self.by,
            "when": self.when,
            "challenger": _described(self.challenger),
            "champion": _described(self.champion),
            "snapshot": self.challenger.tags.get("snapshot"),
            "commit": self.challenger.tags.get("git_sha"),
            "dvc_lock_md5": self.challenger.tags.get("dvc_lock_md5"),
            "branch": self.branch,
            "figures": decision.figures,
            "differences": [
                asdict(one) | {"mean": one.mean, "worse": one.worse} for one in decision.differences
            ],
            "latency": asdict(decision.latency) if decision.latency else None,
            "rules": asdict(self.rules),
        }

    def write(self, path: Path) -> None:
        text = json.dumps(_finite(self.to_dict()), indent=2, ensure_ascii=False, allow_nan=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, f"{text}\n".encode())


def _described(version: Version) -> dict[str, Any]:
    return {"version": version.number, "sha256": version.tags.get("sha256"), "run": version.run_id}


def _finite(value: Any) -> Any:
    """JSON has no NaN: what is not known is null."""
    if isinstance(value, Mapping):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
