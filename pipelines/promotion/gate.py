"""Gate: whether a challenger may serve, from what both models did on the same objects.

It serves if it certainly needs fewer clicks, and nothing that anybody relies on got worse beyond what `Rules`
allow. A gain has to be certain, so its whole interval must lie below 0. Harm has to be likely: more than is
allowed, and more than chance explains. docs/gate.md says how often either is right.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

import numpy as np

from maskloop.intervals import DRAWS, check_comparable, studentised
from maskloop.results import Report
from pipelines.errors import SettingsError
from pipelines.promotion.latency import Latency

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
    check_comparable(challenger, champion)
    check_comparable(*general)
    compare = partial(_difference, draws=draws)
    gain = compare(challenger, champion, 0.9, GAIN, rules.level)
    coarse = compare(challenger, champion, 0.85, COARSE, rules.harm_level, allowed=rules.noc85)
    allowed = rules.general * general[1].noc(0.9)
    kept = compare(*general, 0.9, GENERAL, rules.harm_level, allowed=allowed)
    differences = (gain, coarse, kept, *_slices(challenger, champion, rules, draws))
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


def _difference(
    challenger: Report,
    champion: Report,
    threshold: float,
    kind: str,
    level: float,
    name: str = "all",
    allowed: float | None = None,
    draws: int = DRAWS,
) -> Difference:
    ours, theirs = np.array(challenger.clicks_to(threshold)), np.array(champion.clicks_to(threshold))
    images = [item.image for item in challenger.objects]
    found = studentised(ours - theirs, images, level, draws)
    return Difference(
        kind=kind,
        name=name,
        objects=len(images),
        images=len(set(images)),
        challenger=float(ours.mean()),
        champion=float(theirs.mean()),
        low=found.low,
        high=found.high,
        level=level,
        allowed=allowed,
    )


def _slices(challenger: Report, champion: Report, rules: Rules, draws: int) -> Iterator[Difference]:
    """Every slice with enough images. The more there are, the surer each must be: one of many errs soon."""
    parts = [
        (by, name, _part(challenger, by, name), _part(champion, by, name))
        for by in SLICES
        for name in sorted({getattr(item, by) for item in challenger.objects})
    ]
    told = [part for part in parts if _tells(part[2], challenger, rules)]
    level = 1 - (1 - rules.harm_level) / max(1, len(told))
    for by, name, ours, theirs in told:
        yield _difference(ours, theirs, 0.9, by, level, name or "none", rules.slice, draws)


def _part(report: Report, by: str, name: str) -> Report:
    return replace(report, objects=tuple(item for item in report.objects if getattr(item, by) == name))


def _tells(part: Report, whole: Report, rules: Rules) -> bool:
    """A slice of few images tells nothing, and one of all objects nothing new."""
    images = {item.image for item in part.objects}
    return len(images) >= rules.slice_images and len(part.objects) < len(whole.objects)


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
