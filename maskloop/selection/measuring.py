"""Measuring: images whose clicks are known, since a simulated annotator made them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

from maskloop.datasets import Sample
from maskloop.evaluation import Segmenter, evaluate
from maskloop.results import MAX_CLICKS
from maskloop.selection.profiles import Describer, ProbeConfig, Profile, profile

GOOD = 0.9
"""IoU of a good mask."""
OBJECTS = 2
"""Objects of an image that are labelled, at most."""


class Measurable(Segmenter, Describer, Protocol):
    """What answers clicks and describes images; `maskloop.predictor.Predictor` is one."""


@dataclass(frozen=True)
class Measured:
    """An image, its profile, and the mean clicks of its objects to a good mask."""

    image: str
    profile: Profile
    clicks: float


def measure(
    segmenter: Measurable,
    samples: Sequence[Sample],
    objects: int = OBJECTS,
    batch: int = 8,
    config: ProbeConfig | None = None,
) -> Iterator[Measured]:
    """Profile images, and let the ideal annotator label some objects of each.

    Args:
        segmenter: what answers.
        samples: objects; those of one image follow each other, as every reader gives them.
        objects: of each image, evenly from its first to its last.
        batch: objects that advance together.
        config: of the probes.
    """
    every = (samples[index] for index in range(len(samples)))
    for image, group in groupby(every, key=lambda sample: sample.image_id.partition("#")[0]):
        members = list(group)
        count = min(objects, len(members))
        chosen = [members[place * len(members) // count] for place in range(count)]
        report = evaluate(segmenter, chosen, batch=batch, stop=GOOD, progress=False)
        clicks = [one.clicks_to(GOOD) or MAX_CLICKS for one in report.objects]
        yield Measured(image, profile(segmenter, chosen[0].image, config), sum(clicks) / len(clicks))
