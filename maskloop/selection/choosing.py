"""Choosing: in which order unlabelled images are worth a person's time.

    random    any order
    entropy   the most uncertain pixels first
    clicks    the most expected clicks first
    gain      what a label saves on all images that are like the one labelled

`gain` is expected clicks and diversity in one figure. The clicks beyond the first that an image takes are
taken to fall with the number n of labels of images like it as learning curves do, as (1 + n) ** -FALL. What
a label buys is by how much that lowers the clicks of all images together, so the typical image of a hard
group comes first; an outlier speaks for itself alone, and the twin of a labelled one for clicks that were
saved already. Images are chosen one after the other, each for what those before it leave.
"""

import heapq
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from maskloop.arrays import Image
from maskloop.errors import SelectionError
from maskloop.selection.cost import Array, Calibration
from maskloop.selection.likeness import likeness
from maskloop.selection.profiles import Describer, Profile, Vector, described, profile

RANDOM, ENTROPY, CLICKS, GAIN = "random", "entropy", "clicks", "gain"
STRATEGIES = (RANDOM, ENTROPY, CLICKS, GAIN)
FALL = 0.5
"""Power of the number of labels that clicks fall with."""
WITNESSES = 2000
"""Images, drawn from the unlabelled, that stand for all when a gain is summed up."""
BALANCE = 2.0
"""By how much at most the labels that are rare so far count more, and the frequent ones less."""


@dataclass(frozen=True)
class Ranked:
    """An image's place.

    index: of the image among those that were given.
    score: what its strategy orders by, the larger the sooner; scores of different strategies do not compare.
    expected_clicks: to a good mask of one of its objects; NaN where nobody asked (`random`).
    """

    index: int
    score: float
    expected_clicks: float


@dataclass(frozen=True)
class Labelled:
    """What has been labelled: descriptors (L, D).

    To balance labels, the label of each image, or an empty text where it is not known.
    """

    descriptors: Vector
    labels: tuple[str, ...] = ()


def rank(
    segmenter: Describer,
    images: Sequence[Image],
    *,
    strategy: str = GAIN,
    budget: float | None = None,
    labelled: Labelled | Sequence[Image] = (),
    calibration: Calibration | None = None,
    seed: int = 0,
) -> list[Ranked]:
    """Put unlabelled images into the order in which they should be labelled.

    Args:
        segmenter: what will answer the clicks.
        images: (H, W, 3) uint8 RGB each.
        strategy: one of `STRATEGIES`.
        budget: clicks that may be spent, an object an image; the list ends where they are used up.
        labelled: images that are labelled already, or their descriptors.
        calibration: what turns profiles into clicks; None: that of the default checkpoint.
        seed: of everything drawn. The same arguments give the same order.

    Returns:
        The best first; all images if there is no budget.

    Raises:
        SelectionError: no such strategy.
    """
    check_strategy(strategy)
    if strategy == RANDOM and budget is None:
        return shuffled(len(images), seed)
    if not isinstance(labelled, Labelled):
        looks = [described(segmenter, image).descriptor for image in labelled if strategy == GAIN]
        labelled = Labelled(np.stack(looks) if looks else np.zeros((0, 0), np.float32))
    profiles = [profile(segmenter, image) for image in images]
    return rank_profiles(
        profiles, strategy=strategy, budget=budget, labelled=labelled, calibration=calibration, seed=seed
    )


def shuffled(count: int, seed: int = 0) -> list[Ranked]:
    """The strategy `random`, which needs to know nothing of the images."""
    return _in_order(_random(count, seed), np.full(count, math.nan), None)


def rank_profiles(
    profiles: Sequence[Profile],
    *,
    strategy: str = GAIN,
    budget: float | None = None,
    labelled: Labelled | None = None,
    calibration: Calibration | None = None,
    seed: int = 0,
) -> list[Ranked]:
    """The same for images that were profiled before."""
    check_strategy(strategy)
    if not profiles:
        return []
    clicks = (calibration or Calibration.default()).expected_clicks(profiles)
    labelled = labelled or Labelled(np.zeros((0, 0), np.float32))
    scores: dict[str, Callable[[], Array]] = {
        RANDOM: lambda: _random(len(profiles), seed),
        ENTROPY: lambda: np.array([one.entropy for one in profiles]),
        CLICKS: lambda: clicks,
        GAIN: lambda: _gains(profiles, clicks, labelled, seed),
    }
    return _in_order(scores[strategy](), clicks, budget)


def check_strategy(strategy: str) -> None:
    """SelectionError when there is no such strategy."""
    if strategy not in STRATEGIES:
        raise SelectionError(f"unknown strategy {strategy!r}; known are {', '.join(STRATEGIES)}")


def _random(count: int, seed: int) -> Array:
    return np.random.default_rng(seed).permutation(count) / max(1, count)


def _in_order(scores: Array, clicks: Array, budget: float | None) -> list[Ranked]:
    order = np.argsort(-scores, kind="stable")
    if budget is not None:
        order = order[np.cumsum(clicks[order]) <= budget]
    return [Ranked(int(index), float(scores[index]), float(clicks[index])) for index in order]


def _gains(profiles: Sequence[Profile], clicks: Array, labelled: Labelled, seed: int) -> Array:
    """What each image buys when it is chosen, in clicks an image saved on average; falls in that order."""
    count, earlier = len(profiles), len(labelled.descriptors)
    pool = np.stack([one.descriptor for one in profiles])
    everything = np.concatenate([pool, labelled.descriptors]) if earlier else pool
    drawn = np.random.default_rng(seed).permutation(count)[:WITNESSES]
    alike = likeness(everything, np.sort(drawn))
    near = alike.between(np.arange(count), drawn)
    before = alike.between(np.arange(count, count + earlier), drawn)
    weights = (clicks[drawn] - 1) * _balance(before, labelled.labels) / len(drawn)
    return _greedy(near, weights.astype(np.float32), before.sum(axis=0))


def _greedy(near: Vector, weights: Vector, labels: Vector) -> Array:
    """The gain of each candidate when it was chosen, greedily.

    Args:
        near: (candidates, witnesses), likeness.
        weights: (witnesses,), clicks that can be saved on each as it is now.
        labels: (witnesses,), number of labels like it as it is now.
    """
    start = 1 + labels
    count, left = start.copy(), weights.copy()

    def gain(candidate: int) -> float:
        return float(left @ (1 - (1 + near[candidate] / count) ** -FALL))

    gains = np.zeros(len(near))
    # the gain of a candidate only falls as others are chosen, so an old one is an upper bound
    waiting = [(-gain(candidate), candidate, 0) for candidate in range(len(near))]
    heapq.heapify(waiting)
    for chosen in range(len(near)):
        while waiting[0][2] < chosen:
            _, candidate, _ = waiting[0]
            heapq.heapreplace(waiting, (-gain(candidate), candidate, chosen))
        bought, candidate, _ = heapq.heappop(waiting)
        gains[candidate] = -bought
        count += near[candidate]
        left = weights * (count / start) ** -FALL
    return gains


def _balance(near: Vector, labels: Sequence[str]) -> Array | float:
    """(witnesses,): more than 1 where the label that is likely was given seldom so far, else less.

    The label of an image is as likely as what was labelled so is like it; where nothing is, it is left at 1.
    """
    counts = Counter(label for label in labels if label)
    if len(counts) < 2:
        return 1.0
    of = np.array(labels)
    votes = np.stack([near[of == name].sum(axis=0) for name in counts])
    rarity = counts.total() / (len(counts) * np.array(list(counts.values())))
    wanted = (rarity @ votes + 1) / (votes.sum(axis=0) + 1)
    return np.clip(wanted, 1 / BALANCE, BALANCE)
