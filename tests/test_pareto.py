"""Clicks against milliseconds: who is beaten by nobody, and what a result file tells of time."""

from pathlib import Path

import pandas as pd
import pytest

from benchmarks.pareto import STATISTICS, TIMES, Variant, draw, front, measure_all, row, table_of
from maskloop.checkpoint import save_checkpoint
from maskloop.datasets import open_dataset
from maskloop.errors import EvaluationError
from tests.test_recipe_curve import report
from tests.test_training import small_model, write_discs


def table(**columns: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"model": list("abcdef")[: len(columns["first_ms"])], **columns})


def test_front__by_hand() -> None:
    # b is slower than a and no better, d is as slow as c and worse
    found = front(table(first_ms=[10, 20, 30, 30, 40], noc90=[8, 8, 5, 6, 4]), "first_ms", "noc90")
    assert found["model"].tolist() == ["a", "c", "e"]


def test_front__without_a_time_nobody_is_on_it() -> None:
    found = front(table(first_ms=[10, None], noc90=[8, 1]), "first_ms", "noc90")
    assert found["model"].tolist() == ["a"]


def test_row__medians_of_first_and_following_clicks() -> None:
    found = report([2, 3, 1], ["a#1", "a#2", "b"])
    seconds = [(0.4, 0.1), (0.1, 0.2, 0.3), (0.2,)]
    for item, values in zip(found.objects, seconds, strict=True):
        object.__setattr__(item, "seconds", values)
    figures = row(found)
    assert figures["first_ms"] == pytest.approx(300), "of 400 and 200; the image of the second is known"
    assert figures["following_ms"] == pytest.approx(200)
    assert figures["noc90"] == pytest.approx(2)


@pytest.fixture
def start(tmp_path: Path) -> Path:
    save_checkpoint(small_model(), tmp_path / "start", "small", {})
    return tmp_path / "start"


def test_measure_all__once_each(start: Path, tmp_path: Path) -> None:
    samples = open_dataset("parquet", write_discs(tmp_path), limit=2)
    variants = [Variant(start, protocol, side) for protocol in ("single", "csfpn") for side in (64, 96)]
    first = list(measure_all(variants, ["grabcut"], samples, "discs", tmp_path / "out"))
    assert [figures["label"] for figures in first] == ["64", "96", "64", "96", "grabcut"]
    assert len({figures["model"] for figures in first}) == len(list((tmp_path / "out").iterdir())) == 5
    again = list(measure_all(variants, ["grabcut"], samples, "discs", tmp_path / "out"))
    assert again == first, "times included, so nothing was measured again"
    with pytest.raises(EvaluationError, match=r"on 2 objects, wanted is small-\w+\+single\+64 on 1"):
        list(measure_all(variants, [], samples.spread(1), "discs", tmp_path / "out"))
    table = table_of(tmp_path / "out")
    assert sorted(table["model"]) == sorted(str(figures["model"]) for figures in first)
    ours = table[table["kind"].str.endswith("+csfpn")]
    assert ours["label"].tolist() == ["64", "96"]
    draw(table, tmp_path / "pareto.svg")
    assert "grabcut" in (tmp_path / "pareto.svg").read_text()
    assert (len(STATISTICS), len(TIMES)) == (2, 2)
