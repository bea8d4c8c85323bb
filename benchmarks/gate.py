"""How often the gate promotes a model that is no better, and one that is, by the number of test images.

python -m benchmarks.gate [--draws 400] [--seeds 1000] [--only SCENARIO] [--plot docs/pictures/gate_power.png]

Clicks are drawn at random, the gate is the real one with the rules of params.yaml. An object's difficulty is
partly its image's; either model misses it by its own chance, as two trainings on the same data do.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from maskloop.clicks import Click
from maskloop.results import MAX_CLICKS, ObjectResult, Report
from pipelines.promotion.gate import GAIN, GENERAL, SLICES, Decision, Rules, decide
from pipelines.promotion.latency import Latency
from pipelines.report.plots import COLOURS, MARKERS, save_png
from pipelines.stages.params import read_params

IMAGES = (10, 20, 60)
GAINS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
"""Share of the clicks that the challenger truly saves."""
FEWER = "fewer clicks"
DIFFICULTY, OF_IMAGE, OF_OBJECT, OF_MODEL = 1.9, 0.35, 0.6, 0.3
"""Mean logarithm of the clicks of an object, and what images, objects and models add to it (deviations)."""
CATEGORIES, AREAS, SOURCES = ("cell", "worm", "thread"), (500, 5000), ("labelled", "rendered")
EQUALLY_FAST = Latency(50, 50, 1, 60)

Clicks = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Objects:
    """What both models are measured on: the image of each object, its difficulty, and its category."""

    images: npt.NDArray[np.int64]
    difficulty: npt.NDArray[np.float64]
    categories: npt.NDArray[np.int64]

    @classmethod
    def draw(cls, random: np.random.Generator, images: int) -> "Objects":
        """One to three objects an image; a category keeps to its images."""
        each = np.repeat(np.arange(images), random.integers(1, 4, images))
        of_image = random.normal(0, OF_IMAGE, images)[each]
        of_object = random.normal(0, OF_OBJECT, len(each))
        return cls(each, DIFFICULTY + of_image + of_object, each % len(CATEGORIES))

    def clicks(self, random: np.random.Generator, factor: float | npt.NDArray[np.float64] = 1.0) -> Clicks:
        """Of one model, which needs `factor` times as many as the other on average."""
        own = random.normal(0, OF_MODEL, len(self.difficulty))
        return np.maximum(1, np.round(np.exp(self.difficulty + own) * factor)).astype(np.int64)


Challenger = Callable[[np.random.Generator, Objects, Clicks], Clicks]
"""Makes a challenger's clicks, given the champion's."""
Count = Callable[[Decision], bool]
"""Says whether a decision counts; its documentation names what is counted."""


def identical(random: np.random.Generator, objects: Objects, champion: Clicks) -> Clicks:
    return champion


def saving(share: float) -> Challenger:
    return lambda random, objects, champion: objects.clicks(random, 1 - share)


def few_far_worse(random: np.random.Generator, objects: Objects, champion: Clicks) -> Clicks:
    """As good on average: one click fewer on three images of four, three more on the fourth."""
    worse = random.random(objects.images.max() + 1)[objects.images] < 0.25
    return np.clip(champion + np.where(worse, 3, -1), 1, None)


def worse_on_one_category(share: float) -> Challenger:
    """Much better on two categories, worse on the third by this share."""
    return lambda random, objects, champion: objects.clicks(
        random, np.where(objects.categories == 0, 1 + share, 0.6)
    )


def run(
    challenger: Challenger, images: int, seed: int, draws: int, rules: Rules, general: float = 1
) -> Decision:
    """One decision; the general benchmark costs the challenger `general` times the clicks on 30 images."""
    random = np.random.default_rng([seed, images])
    objects, kept = Objects.draw(random, images), Objects.draw(random, 30)
    champion = objects.clicks(random)
    return decide(
        _report(objects, challenger(random, objects, champion)),
        _report(objects, champion),
        (_report(kept, kept.clicks(random, general)), _report(kept, kept.clicks(random))),
        EQUALLY_FAST,
        rules,
        draws,
    )


def _report(objects: Objects, clicks: Clicks) -> Report:
    return Report(
        "",
        "",
        {},
        tuple(
            ObjectResult(
                image_id=f"{image}#{number}",
                category=CATEGORIES[category],
                height=192,
                width=192,
                area=AREAS[image % 2],
                ious=_ious(min(int(made), MAX_CLICKS + 1)),
                seconds=(),
                clicks=(Click(0, 0),),
                boundary_iou=0,
                masks={},
                source=SOURCES[image // 2 % 2],
            )
            for number, (image, made, category) in enumerate(
                zip(objects.images, clicks, objects.categories, strict=True)
            )
        ),
    )


@cache
def _ious(clicks: int) -> tuple[float, ...]:
    """0.85 is reached after four fifths of the clicks to 0.90."""
    return tuple(
        0.9 if number >= clicks else 0.85 if number >= 0.8 * clicks else 0.5
        for number in range(1, MAX_CLICKS + 1)
    )


def scenarios() -> Iterator[tuple[str, Challenger, float, Sequence[Count]]]:
    """Who the challenger is, what the general benchmark costs it, and what is counted of the decisions."""
    yield "identical", identical, 1, [_promoted]
    yield "as good, but a quarter much worse", few_far_worse, 1, [_promoted]
    for share in GAINS:
        yield f"{_percent(share)} {FEWER}", saving(share), 1, [_promoted, _certain, _by_slice]
    for share in (0.15, 0.3, 0.6):
        yield f"one category of three {_percent(share)} worse", worse_on_one_category(share), 1, [_by_slice]
    for share in (0.0, 0.05, 0.1, 0.2):
        yield f"the general benchmark {_percent(share)} worse", saving(0.4), 1 + share, [_by_general]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _promoted(decision: Decision) -> bool:
    """promoted"""
    return decision.promote


def _certain(decision: Decision) -> bool:
    """gain is certain"""
    return decision.of(GAIN)[0].better


def _by_slice(decision: Decision) -> bool:
    """a slice objects"""
    return any(one.worse for kind in SLICES for one in decision.of(kind))


def _by_general(decision: Decision) -> bool:
    """the general benchmark objects"""
    return decision.of(GENERAL)[0].worse


def plot(rows: dict[str, list[float]], file: Path) -> None:
    """Promotions against the true gain, a line a number of images."""
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    axes = figure.subplots()
    names = [f"{_percent(gain)} {FEWER}" for gain in GAINS]
    for index, images in enumerate(IMAGES):
        axes.plot(
            [100 * gain for gain in GAINS],
            [100 * rows[f"{name}: promoted"][index] for name in names],
            marker=MARKERS[index],
            color=COLOURS[index],
            label=f"{images} images",
        )
    axes.axhline(5, color="black", linestyle="--", linewidth=0.8)
    axes.annotate("5 %", (100 * GAINS[-1], 5), (0, 3), textcoords="offset points", ha="right", fontsize=9)
    axes.set(xlabel="clicks that the challenger truly saves, %", ylabel="promoted, %", ylim=(0, 100))
    axes.grid(axis="y", alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    save_png(figure, file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=400, help="of each bootstrap")
    parser.add_argument("--seeds", type=int, default=1000, help="decisions a figure")
    parser.add_argument("--only", default="", help="scenarios with this in their name")
    parser.add_argument("--plot", type=Path, default=Path("docs/pictures/gate_power.png"))
    arguments = parser.parse_args()
    rules = Rules.of(read_params(Path(), "gate"))
    rows: dict[str, list[float]] = {}
    print(f"| challenger: share | {' | '.join(f'{images} images' for images in IMAGES)} |")
    print("| --- | --- | --- | --- |")
    for name, challenger, general, counts in scenarios():
        if arguments.only not in name:
            continue
        decisions = [
            [
                run(challenger, images, seed, arguments.draws, rules, general)
                for seed in range(arguments.seeds)
            ]
            for images in IMAGES
        ]
        for count in counts:
            shares = [float(np.mean([count(one) for one in found])) for found in decisions]
            row = f"{name}: {count.__doc__}"
            rows[row] = shares
            print(f"| {row} | {' | '.join(f'{100 * share:.1f} %' for share in shares)} |", flush=True)
    if arguments.only in ("", FEWER):
        plot(rows, arguments.plot)


if __name__ == "__main__":
    main()
