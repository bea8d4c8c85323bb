import pytest

from pipelines.gate import Clicks, decide

GOOD, MIDDLING, BAD = Clicks(1, 2, False), Clicks(2, 4, False), Clicks(20, 20, True)


def test_decide__fewer_clicks():
    decision = decide([GOOD, GOOD], [MIDDLING, GOOD])
    assert decision.promote
    assert decision.reason == "1.00 fewer clicks to IoU 0.90"
    assert decision.figures == {
        "objects": 2,
        "challenger_noc85": 1,
        "challenger_noc90": 2,
        "challenger_nof90": 0,
        "champion_noc85": 1.5,
        "champion_noc90": 3,
        "champion_nof90": 0,
    }


def test_decide__identical():
    decision = decide([MIDDLING, BAD], [MIDDLING, BAD])
    assert not decision.promote
    assert decision.reason == "not improved: 12.00 clicks to IoU 0.90 against 12.00"


def test_decide__fewer_clicks_but_one_more_failure():
    worse = [GOOD] * 9 + [BAD]
    decision = decide(worse, [Clicks(6, 12, False)] * 10)
    assert not decision.promote
    assert decision.reason == "not improved: 1 objects fail against 0"


def test_decide__better_at_90_but_worse_at_85():
    decision = decide([Clicks(4, 5, False)], [Clicks(3, 6, False)])
    assert not decision.promote
    assert "IoU 0.85" in decision.reason


@pytest.mark.parametrize("sizes", [(0, 0), (1, 2)])
def test_decide__nothing_to_compare(sizes):
    with pytest.raises(ValueError, match="objects"):
        decide([GOOD] * sizes[0], [GOOD] * sizes[1])
