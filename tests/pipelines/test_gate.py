"""The gate on models whose clicks are written down here, and on many that are drawn at random."""

from dataclasses import replace

import numpy as np
import pytest

from maskloop.errors import EvaluationError
from pipelines.errors import SettingsError
from pipelines.promotion.gate import Rules, decide
from pipelines.promotion.latency import Latency
from pipelines.stages.params import read_params
from tests.pipelines.conftest import REPOSITORY
from tests.pipelines.reports import FAILED, object_result, report

CHAMPION = [4, 6, 8, 10, 12, 5, 7, 9, 11, 13] * 3
GENERAL = [5, 10, 15] * 10
RULES = Rules()
EQUAL = Latency(challenger=50, champion=50, ratio=1, clicks=60)


def judged(clicks, champion=CHAMPION, fields=(), general=GENERAL, latency=EQUAL, rules=RULES):
    return decide(
        report(clicks, fields=fields),
        report(champion, fields=fields),
        (report(general), report(GENERAL)),
        latency,
        rules,
        draws=500,
    )


def fewer(by=2):
    return [clicks - by for clicks in CHAMPION]


def test_decide__certainly_fewer_clicks():
    decision = judged([clicks - 1 - number % 3 for number, clicks in enumerate(CHAMPION)])
    assert decision.promote
    assert decision.reason.startswith(
        "2.00 fewer clicks to IoU 0.90 (6.50 against 8.50 on 30 objects of 30 images, interval of the"
        " difference -2.3"
    )
    assert decision.figures["difference_noc90"] == -2
    assert decision.figures["difference_noc90_high"] < 0
    assert (decision.figures["champion_noc90"], decision.figures["challenger_nof90"]) == (8.5, 0)


def test_decide__identical():
    decision = judged(CHAMPION)
    assert not decision.promote
    assert decision.reason == "not improved: 8.50 clicks to IoU 0.90 against 8.50"


def test_decide__noisy_and_a_little_better_by_chance():
    noise = np.random.default_rng(3).choice([-3, 3], len(CHAMPION))
    decision = judged([*(np.array(CHAMPION) + noise - 0)])
    assert abs(decision.figures["difference_noc90"]) < 1.1
    assert not decision.promote
    lucky = [clicks + (3 if number % 5 < 2 else -3) for number, clicks in enumerate(CHAMPION)]
    decision = judged(lucky)
    assert decision.figures["difference_noc90"] == pytest.approx(-0.6)
    assert not decision.promote
    assert decision.reason.startswith(
        "not improved: 0.60 fewer clicks to IoU 0.90 may be chance: on 30 images"
    )


def test_decide__better_on_average_but_worse_on_a_slice():
    fields = [{"category": "thread" if number % 5 == 0 else "worm"} for number in range(30)]
    clicks = [clicks + (2 if number % 5 == 0 else -4) for number, clicks in enumerate(CHAMPION)]
    decision = judged([max(1, one) for one in clicks], fields=fields)
    assert decision.figures["difference_noc90_high"] < 0
    assert not decision.promote
    assert decision.reason == (
        "not improved: category 'thread' needs 2.00 more clicks (6.50 against 4.50, 0.50 more are allowed)"
        " on 6 objects"
    )


def test_decide__a_slice_of_few_images_is_passed_over():
    fields = [{"source": "labelled" if number < 4 else "rendered"} for number in range(30)]
    clicks = [clicks + (2 if number < 4 else -3) for number, clicks in enumerate(CHAMPION)]
    decision = judged(clicks, fields=fields)
    assert decision.promote
    assert [one.name for one in decision.of("source")] == ["rendered"]


def test_decide__a_slice_that_is_worse_by_chance_stops_nobody():
    fields = [{"category": "thread" if number < 6 else "worm"} for number in range(30)]
    clicks = [clicks - 2 for clicks in CHAMPION]
    clicks[0] += 8
    decision = judged(clicks, fields=fields)
    (thread,) = (one for one in decision.of("category") if one.name == "thread")
    assert thread.mean < thread.allowed or thread.low <= 0
    clicks[1] += 8
    decision = judged(clicks, fields=fields)
    (thread,) = (one for one in decision.of("category") if one.name == "thread")
    assert thread.mean > thread.allowed
    assert thread.low < 0
    assert decision.promote


def test_decide__better_but_slower():
    decision = judged(fewer(), latency=Latency(challenger=65, champion=50, ratio=1.3, clicks=60))
    assert not decision.promote
    assert decision.reason == (
        "not improved: a click takes 1.30 times as long (65 ms against 50 ms, 1.2 times are allowed)"
    )


def test_decide__within_the_budget_of_latency():
    assert judged(fewer(), latency=Latency(challenger=60, champion=50, ratio=1.19, clicks=60)).promote


def test_decide__better_but_the_general_benchmark_fades():
    decision = judged(fewer(), general=[clicks + 1 for clicks in GENERAL])
    assert not decision.promote
    assert decision.reason == (
        "not improved: the general benchmark needs 1.00 more clicks (11.00 against 10.00, 0.20 more are"
        " allowed) on 30 objects"
    )


def test_decide__the_general_benchmark_fades_within_its_allowance():
    slightly = list(GENERAL)
    slightly[0] += 3
    assert judged(fewer(), general=slightly).promote


def test_decide__more_failures():
    clicks = fewer(3)
    clicks[4] = FAILED
    decision = judged(clicks)
    assert decision.figures["difference_noc90_high"] < 0
    assert decision.reason == "not improved: 1 objects fail against 0"
    assert judged(clicks, rules=replace(RULES, failures=1)).promote


def test_decide__better_at_90_but_worse_at_85():
    ours = [object_result(f"image{number}", 6, 7) for number in range(30)]
    theirs = [object_result(f"image{number}", 4, 9) for number in range(30)]
    both = [replace(report([1]), objects=tuple(objects)) for objects in (ours, theirs)]
    decision = decide(*both, (report(GENERAL), report(GENERAL)), EQUAL, RULES)
    assert decision.reason == (
        "not improved: IoU 0.85 needs 2.00 more clicks (6.00 against 4.00, 0.10 more are allowed)"
        " on 30 objects"
    )


@pytest.mark.parametrize("images", [1, 2, 9])
def test_decide__too_few_images(images):
    decision = judged(fewer()[:images], CHAMPION[:images])
    assert not decision.promote
    assert decision.reason == (
        f"not improved: {images} test images are too few to tell a gain from chance, 10 are needed:"
        " label more images"
    )


def test_decide__all_that_speaks_against_it_is_told():
    decision = judged(
        [clicks + 1 for clicks in CHAMPION],
        general=[clicks + 1 for clicks in GENERAL],
        latency=replace(EQUAL, ratio=2),
    )
    assert decision.reason.count(";") == 3


def test_decide__other_objects():
    with pytest.raises(EvaluationError, match="not the same in the same order"):
        judged(CHAMPION, CHAMPION[:-1])


def test_decide__seldom_promotes_an_equal_model():
    """Both models draw their clicks from the same distributions; nominal are 2.5 %."""
    random = np.random.default_rng(0)
    promoted = 0
    for _ in range(150):
        mean = random.uniform(3, 14, 12)
        ours, theirs = (np.clip(random.poisson(mean), 1, 19) for _ in range(2))
        promoted += judged(list(ours), list(theirs), general=GENERAL).promote
    assert promoted <= 9


def test_rules__of_the_repository():
    assert Rules.of(read_params(REPOSITORY, "gate")) == RULES


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"latencies": 1.2}, "gate.latencies is no rule of the gate: .*latency"),
        ({"slice": "much"}, "gate.slice is 'much'"),
        ({"failures": -1}, "gate.failures is -1"),
        ({"level": 95}, "gate.level is 95: give a share"),
    ],
)
def test_rules__unusable(values, message):
    with pytest.raises(SettingsError, match=message):
        Rules.of(values)
