"""Gate: whether a challenger may serve, from what both models did on the same objects.

It serves if it certainly needs fewer clicks, and nothing that anybody relies on got worse beyond what `Rules`
allow. A gain has to be certain, so its whole interval must lie below 0. Harm has to be likely: more than is
allowed, and more than chance explains. docs/gate.md says how often either is right.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import pandas as pd

from maskloop.intervals import DRAWS, check_comparable, studentised
from maskloop.results import Report
from pipelines.errors import SettingsError
from pipelines.latency import Latency

SLICES = ("category", "size", "source")
"""What objects are grouped by: what they are, how large, and where their images come from."""
GAIN, COARSE, GENERAL = "gain", "noc85", "general"


@dataclass(frozen=True)
class Rules:
    """Section `gate` of params.yaml, where each is explained."""

    level: float = 0.95
    harm_level: float = 0.8
    images: int = 10
    noc85: float = 0.1
    failures: int = 0
    slice: float = 0.5
    slice_images: int = 5
    general: float = 0.02
    latency: float = 1.2

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Rules":
        """Raises SettingsError: an unknown name, or a value that is no number in its range."""
        known = {one.name for one in fields(cls)}
        for name, value in values.items():
            if name not in known:
                raise SettingsError(f"gate.{name} is no rule of the gate: {', '.join(sorted(known))} are.")
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                raise SettingsError(f"gate.{name} is {value!r}: give a number from 0 on.")
            if name.endswith("level") and not 0 < value < 1:
                raise SettingsError(f"gate.{name} is {value!r}: give a share between 0 and 1, such as 0.95.")
        return cls(**values)


@dataclass(frozen=True)
class Difference:
    """Mean clicks of both models on some objects, and by how many the challenger needs more.

    `low` and `high` are an interval of the level `level` around the mean difference, NaN where a single image
    cannot tell. `allowed` is how many more clicks are accepted; a gain has none.
    """

    kind: str
    name: str
    objects: int
    images: int
    challenger: float
    champion: float
    low: float
    high: float
    level: float
    allowed: float | None = None

    @property
    def mean(self) -> float:
        return self.challenger - self.champion

    @property
    def better(self) -> bool:
        """Fewer clicks, and not by chance."""
        return self.high < 0

    @property
    def worse(self) -> bool:
        """More clicks than are allowed, and not by chance."""
        return self.allowed is not None and self.mean > self.allowed and self.low > 0


@dataclass(frozen=True)
class Decision:
    """The answer, why, and what it rests on: figures by name, what was compared, latency."""

    promote: bool
    reason: str
    figures: dict[str, float] = field(default_factory=dict)
    differences: tuple[Difference, ...] = ()
    latency: Latency | None = None

    def of(self, kind: str) -> list[Difference]:
        """The differences of a kind: `GAIN`, `COARSE`, `GENERAL`, or one of `SLICES`."""
        return [one for one in self.differences if one.kind == kind]


def decide(
    challenger: Report,
    champion: Report,
    general: tuple[Report, Report],
    latency: Latency,
    rules: Rules,
    draws: int = DRAWS,
) -> Decision:
    """Compare two models.

    Args:
        challenger: what it did on the test objects.
        champion: what it did on the same.
        general: challenger and champion on what must not get worse.
        latency: of both.
        rules: what must hold.
        draws: of the bootstrap.

    Raises:
        EvaluationError: the reports are of different objects or numbers of clicks.
    """
    clicks, clicks_general = _pairs(challenger, champion), _pairs(*general)
    gain = _difference(clicks, 90, GAIN, "all objects", rules.level, draws)
    coarse = _difference(clicks, 85, COARSE, "all objects, to IoU 0.85", rules.harm_level, draws, rules.noc85)
    allowed = rules.general * float(clicks_general["champion90"].mean())
    kept = _difference(clicks_general, 90, GENERAL, "general benchmark", rules.harm_level, draws, allowed)
    differences = (gain, coarse, kept, *_slices(clicks, rules, draws))
    failures = {"challenger": challenger.failures(0.9), "champion": champion.failures(0.9)}
    figures = {
        "objects": gain.objects,
        "images": gain.images,
        **_means("noc90", gain),
        **_means("noc85", coarse),
        **{f"{model}_nof90": count for model, count in failures.items()},
        **_means("general_noc90", kept),
        "latency_ratio": latency.ratio,
    }
    against = [
        *_against_gain(gain, rules),
        *(_against_more(one) for one in differences if one.worse),
        *_against_failures(failures, rules),
        *_against_latency(latency, rules),
    ]
    reason = f"not improved: {'; '.join(against)}" if against else _gained(gain)
    return Decision(not against, reason, figures, differences, latency)


def _pairs(challenger: Report, champion: Report) -> pd.DataFrame:
    """One row an object: what it is, and the clicks of either model."""
    check_comparable(challenger, champion)
    ours, theirs = challenger.to_frame(), champion.to_frame()
    return ours[["image", *SLICES]].assign(
        **{f"challenger{percent}": ours[f"noc{percent}"] for percent in (85, 90)},
        **{f"champion{percent}": theirs[f"noc{percent}"] for percent in (85, 90)},
    )


def _difference(
    clicks: pd.DataFrame,
    percent: int,
    kind: str,
    name: str,
    level: float,
    draws: int,
    allowed: float | None = None,
) -> Difference:
    ours, theirs = clicks[f"challenger{percent}"], clicks[f"champion{percent}"]
    found = studentised(ours - theirs, clicks["image"], level, draws)
    return Difference(
        kind=kind,
        name=name,
        objects=len(clicks),
        images=clicks["image"].nunique(),
        challenger=float(ours.mean()),
        champion=float(theirs.mean()),
        low=found.low,
        high=found.high,
        level=level,
        allowed=allowed,
    )


def _slices(clicks: pd.DataFrame, rules: Rules, draws: int) -> Iterator[Difference]:
    """Every slice with enough images. The more there are, the surer each must be: one of many errs soon."""
    parts = [
        (by, str(name), part)
        for by in SLICES
        for name, part in clicks.groupby(by, observed=True)
        if part["image"].nunique() >= rules.slice_images and len(part) < len(clicks)
    ]
    level = 1 - (1 - rules.harm_level) / max(1, len(parts))
    for by, name, part in parts:
        yield _difference(part, 90, by, name or "none", level, draws, rules.slice)


def _means(name: str, difference: Difference) -> dict[str, float]:
    return {
        f"challenger_{name}": difference.challenger,
        f"champion_{name}": difference.champion,
        f"difference_{name}": difference.mean,
        f"difference_{name}_low": difference.low,
        f"difference_{name}_high": difference.high,
    }


def _against_gain(gain: Difference, rules: Rules) -> Iterator[str]:
    if gain.mean >= 0:
        yield f"{gain.challenger:.2f} clicks to IoU 0.90 against {gain.champion:.2f}"
    elif gain.images < max(2, rules.images):
        yield (
            f"{gain.images} test images are too few to tell a gain from chance, {rules.images} are needed:"
            " label more images"
        )
    elif not gain.better:
        yield (
            f"{-gain.mean:.2f} fewer clicks to IoU 0.90 may be chance: on {gain.images} images the interval"
            f" of the difference is {_between(gain)}"
        )


def _against_more(worse: Difference) -> str:
    where = {GENERAL: "the general benchmark needs", COARSE: "IoU 0.85 needs"}
    what = where.get(worse.kind, f"{worse.kind} {worse.name!r} needs")
    return (
        f"{what} {worse.mean:.2f} more clicks ({worse.challenger:.2f} against {worse.champion:.2f},"
        f" {worse.allowed:.2f} more are allowed) on {worse.objects} objects"
    )


def _against_failures(failures: Mapping[str, int], rules: Rules) -> Iterator[str]:
    if failures["challenger"] > failures["champion"] + rules.failures:
        yield f"{failures['challenger']} objects fail against {failures['champion']}"


def _against_latency(latency: Latency, rules: Rules) -> Iterator[str]:
    if latency.ratio > rules.latency:
        yield (
            f"a click takes {latency.ratio:.2f} times as long ({latency.challenger:.0f} ms against"
            f" {latency.champion:.0f} ms, {rules.latency:g} times are allowed)"
        )


def _gained(gain: Difference) -> str:
    return (
        f"{-gain.mean:.2f} fewer clicks to IoU 0.90 ({gain.challenger:.2f} against {gain.champion:.2f} on"
        f" {gain.objects} objects of {gain.images} images, interval of the difference {_between(gain)})"
    )


def _between(difference: Difference) -> str:
    return f"{difference.low:+.2f} to {difference.high:+.2f} ({100 * difference.level:.3g} %)"
