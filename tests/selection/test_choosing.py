"""Which unlabelled image comes first."""

import math

import numpy as np
import pytest

from maskloop.errors import SelectionError
from maskloop.selection import (
    CLICKS,
    ENTROPY,
    RANDOM,
    STRATEGIES,
    Calibration,
    Labelled,
    rank,
    rank_profiles,
)
from tests.selection.striped import READS_CONFIDENCE, Striped, image, profile_of


def order(ranked):
    return [one.index for one in ranked]


def ranked_gain(profiles, **arguments):
    return rank_profiles(profiles, calibration=READS_CONFIDENCE, **arguments)


def group(clicks, looks, count, seed):
    """Profiles of images that look much alike."""
    shifts = np.random.default_rng(seed).normal(0, 0.1, (count, len(looks)))
    return [profile_of(clicks, np.add(looks, shift)) for shift in shifts]


def test_entropy__most_uncertain_pixels_first():
    ranked = rank(
        Striped(), [image(10), image(90), image(50)], strategy=ENTROPY, calibration=READS_CONFIDENCE
    )
    assert order(ranked) == [1, 2, 0]
    # half of the pixels have a probability of 0.75, the others of 0.25
    assert ranked[1].score == pytest.approx(0.8113, abs=1e-4)


def test_clicks__most_expected_first():
    ranked = rank_profiles(
        [profile_of(3, (0, 0)), profile_of(9, (0, 0)), profile_of(5, (1, 1))],
        strategy=CLICKS,
        calibration=READS_CONFIDENCE,
    )
    assert [(one.index, one.expected_clicks) for one in ranked] == [(1, 9), (2, 5), (0, 3)]


def test_random__by_seed_and_without_asking_the_network():
    images, segmenter = [image(0)] * 30, Striped()
    first = rank(segmenter, images, strategy=RANDOM, seed=1)
    assert order(first) == order(rank(segmenter, images, strategy=RANDOM, seed=1))
    assert order(first) != order(rank(segmenter, images, strategy=RANDOM, seed=2))
    assert sorted(order(first)) == list(range(30))
    assert math.isnan(first[0].expected_clicks)
    assert segmenter.asked == 0


def test_gain__large_hard_group_before_small_and_easy_ones():
    easy = group(2, (0, 0), 20, seed=1)
    hard = group(10, (8, 0), 20, seed=2)
    rare = group(10, (0, 8), 3, seed=3)
    first, second, third, *_ = order(ranked_gain([*easy, *hard, *rare]))
    assert first in range(20, 40)
    # one label of the large hard group saves more than the first of the others, until it is well covered
    assert {second, third} & set(range(40, 43)) or second in range(20, 40)


def test_gain__outlier_waits_for_typical_images():
    common = group(6, (0, 0), 20, seed=1)
    outlier = profile_of(12, (50, 50))
    assert order(ranked_gain([outlier, *common])).index(0) > 0


def test_gain__twin_of_a_chosen_image_comes_late():
    pairs = [profile_of(8, (spot, spot)) for spot in (0, 10, 20, 30)]
    first = order(ranked_gain([*pairs, *pairs]))[:4]
    assert sorted(index % 4 for index in first) == [0, 1, 2, 3]


def test_gain__what_is_labelled_already_lowers_the_gain():
    here, there = group(6, (0, 0), 10, seed=1), group(6, (9, 9), 10, seed=2)
    labelled = Labelled(np.stack([one.descriptor for one in here[:5]]))
    assert order(ranked_gain([*here, *there], labelled=labelled))[0] in range(10, 20)


def test_gain__still_hard_although_labelled_comes_again():
    """Labels lower what more of them save, and what is left decides: no group is closed for good."""
    hard, easy = group(14, (0, 0), 10, seed=1), group(1.5, (9, 9), 10, seed=2)
    labelled = Labelled(np.stack([one.descriptor for one in hard[:3]]))
    assert order(ranked_gain([*hard, *easy], labelled=labelled))[0] in range(10)


def test_gain__rare_label_counts_more():
    cats, dogs = group(6, (0, 0), 10, seed=1), group(6, (9, 9), 10, seed=2)
    seen = [*cats[:2], dogs[0]]
    looks = np.stack([one.descriptor for one in seen])
    likely_cats = sum(
        one.score for one in ranked_gain([*cats, *dogs], labelled=Labelled(looks)) if one.index < 10
    )
    balanced = Labelled(looks, ("cat", "cat", "dog"))
    with_labels = ranked_gain([*cats, *dogs], labelled=balanced)
    assert sum(one.score for one in with_labels if one.index < 10) < likely_cats


def test_gain__scores_fall_in_the_order_of_choice():
    profiles = [*group(6, (0, 0), 10, seed=1), *group(9, (9, 9), 10, seed=2)]
    scores = [one.score for one in ranked_gain(profiles)]
    assert scores == sorted(scores, reverse=True)
    assert all(score > 0 for score in scores)


def test_gain__lazy_choice_equals_the_plain_one():
    generator = np.random.default_rng(0)
    profiles = [
        profile_of(clicks, looks)
        for clicks, looks in zip(generator.uniform(1, 20, 40), generator.normal(size=(40, 3)), strict=True)
    ]
    from maskloop.selection import choosing
    from maskloop.selection.likeness import likeness

    near = likeness(np.stack([one.descriptor for one in profiles]), np.arange(40)).between(
        np.arange(40), np.arange(40)
    )
    weights = np.array([one.probes[0, 0] - 1 for one in profiles]) / 40
    chosen, count = [], np.ones(40)
    while len(chosen) < 40:
        left = weights * count**-choosing.FALL
        gains = {
            index: left @ (1 - (1 + near[index] / count) ** -choosing.FALL)
            for index in range(40)
            if index not in chosen
        }
        chosen.append(max(gains, key=gains.get))
        count = count + near[chosen[-1]]
    assert order(ranked_gain(profiles)) == chosen


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_rank__same_arguments_same_order(strategy):
    images = [image(doubt, (doubt % 7, doubt % 5)) for doubt in range(0, 90, 6)]
    one, other = (
        rank(Striped(), images, strategy=strategy, calibration=READS_CONFIDENCE, seed=3) for _ in "ab"
    )
    assert order(one) == order(other)
    assert sorted(order(one)) == list(range(15))


def test_rank__labelled_images_are_described_only():
    segmenter = Striped()
    rank(segmenter, [image(10), image(20)], labelled=[image(30)] * 5, calibration=READS_CONFIDENCE)
    alone = Striped()
    rank(alone, [image(10), image(20)], calibration=READS_CONFIDENCE)
    assert segmenter.asked == alone.asked
    assert segmenter.described == alone.described + 5


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_budget__ends_where_clicks_are_used_up(strategy):
    profiles = [profile_of(4, (spot, 0)) for spot in range(10)]
    assert len(ranked_gain(profiles, strategy=strategy, budget=13)) == 3
    assert not ranked_gain(profiles, strategy=strategy, budget=3.9)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_gain__few_images(count):
    profiles = [profile_of(5, (0, 0))] * count
    assert order(ranked_gain(profiles)) == list(range(count))


def test_rank__nothing_to_rank():
    assert rank(Striped(), []) == []


def test_rank__unknown_strategy():
    with pytest.raises(
        SelectionError, match="unknown strategy 'best'; known are random, entropy, clicks, gain"
    ):
        rank(Striped(), [image(1)], strategy="best")


def test_default_calibration__more_doubt_more_clicks():
    easy, hard = rank(Striped(), [image(5), image(90)], strategy=CLICKS, calibration=Calibration.default())[
        ::-1
    ]
    assert (easy.index, hard.index) == (0, 1)
    assert 1 <= easy.expected_clicks < hard.expected_clicks <= 20
