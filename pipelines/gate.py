"""Gate: whether a challenger may serve, from clicks counted on the same objects for both models.

Rules, all of which must hold:
- the mean number of clicks to IoU 0.90 is lower,
- that to IoU 0.85 is not higher,
- no more objects fail to reach IoU 0.90.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean


@dataclass(frozen=True)
class Clicks:
    """Clicks that one object took. An object that never got there counts with the most clicks allowed."""

    to_85: int
    to_90: int
    failed_90: bool


@dataclass(frozen=True)
class Decision:
    """The answer, why, and what it rests on: objects, and for each model mean clicks and failures."""

    promote: bool
    reason: str
    figures: dict[str, float]


def decide(challenger: Sequence[Clicks], champion: Sequence[Clicks]) -> Decision:
    """Compare two models, object by object in the same order."""
    if len(challenger) != len(champion) or not challenger:
        raise ValueError(
            f"{len(challenger)} objects of the challenger against {len(champion)} of the champion"
        )
    figures = {
        "objects": float(len(challenger)),
        **_figures("challenger", challenger),
        **_figures("champion", champion),
    }
    against = _objections(figures)
    if against:
        return Decision(False, "not improved: " + ", ".join(against), figures)
    fewer = figures["champion_noc90"] - figures["challenger_noc90"]
    return Decision(True, f"{fewer:.2f} fewer clicks to IoU 0.90", figures)


def _figures(name: str, clicks: Sequence[Clicks]) -> dict[str, float]:
    return {
        f"{name}_noc85": fmean(item.to_85 for item in clicks),
        f"{name}_noc90": fmean(item.to_90 for item in clicks),
        f"{name}_nof90": float(sum(item.failed_90 for item in clicks)),
    }


def _objections(figures: dict[str, float]) -> list[str]:
    challenger = {name: figures[f"challenger_{name}"] for name in ("noc85", "noc90", "nof90")}
    champion = {name: figures[f"champion_{name}"] for name in ("noc85", "noc90", "nof90")}
    against = []
    if challenger["noc90"] >= champion["noc90"]:
        against.append(f"{challenger['noc90']:.2f} clicks to IoU 0.90 against {champion['noc90']:.2f}")
    if challenger["noc85"] > champion["noc85"]:
        against.append(f"{challenger['noc85']:.2f} clicks to IoU 0.85 against {champion['noc85']:.2f}")
    if challenger["nof90"] > champion["nof90"]:
        against.append(f"{challenger['nof90']:.0f} objects fail against {champion['nof90']:.0f}")
    return against
