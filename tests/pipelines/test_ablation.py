"""The ablation end to end on rendered discs, and its arithmetic by hand."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from maskloop.checkpoint import save_checkpoint
from maskloop.corpus import Corpus
from maskloop.datasets import open_dataset
from maskloop.errors import TrainingError
from maskloop.evaluation import ObjectResult, Report
from maskloop.model import ModelConfig
from maskloop.training import TrainingConfig
from pipelines.ablation import (
    ROWS,
    AblationConfig,
    Start,
    ablate,
    first_model,
    read_ablation,
    runs,
    summarise,
    table,
)
from tests.test_training import write_discs

RECIPES = Path(__file__).parents[2] / "recipes"
TINY = AblationConfig(
    training=TrainingConfig(steps=2, batch=2, size=64, warmup=1, save_every=1),
    model=ModelConfig(channels=12, hires_channels=8, heads=1, long_side=64),
    seeds=(0,),
    objects=2,
    max_clicks=2,
)


@pytest.fixture(scope="module", autouse=True)
def _small_images() -> Iterator[None]:
    """Multiply-accumulates are counted on small images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "COST_SIZE", (64, 64))
        yield


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_discs(tmp_path_factory.mktemp("shards"))


def run(shard: Path, out: Path, config: AblationConfig = TINY) -> dict:
    return ablate(Corpus.read(shard), open_dataset("parquet", shard), out, config, "discs", progress=False)


@pytest.fixture(scope="module")
def finished(shard: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ablation that was interrupted before its second row was measured, and then taken up."""
    out = tmp_path_factory.mktemp("ablation")
    original = runs.evaluate

    def interrupted(*arguments: object, **options: object) -> Report:
        if "bs-sgn-seed0" in getattr(arguments[0], "version", ""):
            raise KeyboardInterrupt
        return original(*arguments, **options)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "evaluate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(shard, out)
    assert [file.parent.name for file in out.glob("runs/*/result.json")] == ["bs-seed0"]
    run(shard, out)
    return out


def test_ablate__writes_every_row(finished: Path) -> None:
    summary = json.loads((finished / "ablation.json").read_text())
    assert [row["row"] for row in summary["rows"]] == list(ROWS)
    assert (summary["budget"]["samples"], summary["objects"]) == (4, 2)
    table = (finished / "ablation.md").read_text()
    assert all(f"| {row} |" in table for row in ROWS)
    assert all(row["macs"] > 0 for row in summary["rows"])
    sizes = [row["parameters"] for row in summary["rows"]]
    assert sizes == [
        sum(p.numel() for p in first_model(TINY.model, row, 0, Start()).parameters()) for row in ROWS
    ]


def test_ablate__nothing_twice(shard: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a finished run was made again")

    monkeypatch.setattr(runs, "train", never)
    monkeypatch.setattr(runs, "evaluate", never)
    assert run(shard, finished) == json.loads((finished / "ablation.json").read_text())


def test_ablate__other_settings_in_the_same_folder(shard: Path, tmp_path: Path) -> None:
    file = runs.Run(tmp_path, "BS", 0, TINY, "discs").folder / "settings.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"training": {"steps": 3}, "forgotten": 1}))
    with pytest.raises(TrainingError, match="was made with other settings"):
        run(shard, tmp_path)


def test_first_model__rows_share_what_they_have_in_common() -> None:
    models = {row: first_model(TINY.model, row, 3, Start()).state_dict() for row in ROWS}
    for row, weights in models.items():
        for name in ("encoder._conv_stem.weight", "click_embedding.layers.0.weight", "auxiliary.weight"):
            assert torch.equal(weights[name], models["BS"][name]), (row, name)
    other = first_model(TINY.model, "BS", 4, Start()).state_dict()
    assert not torch.equal(other["auxiliary.weight"], models["BS"]["auxiliary.weight"])


def report(first_clicks: list[int]) -> Report:
    """Objects a#0, a#1, b, ... that reach IoU 0.9 at these clicks."""
    names = ["a#0", "a#1", "b"]
    objects = tuple(
        ObjectResult(
            name, "", 8, 8, 4, (*[0.1] * (click - 1), *[0.9] * (21 - click)), (0.1,), (), 0.5, {0: ""}
        )
        for name, click in zip(names, first_clicks, strict=True)
    )
    return Report("m", "d", {"name": "centre"}, objects)


def test_first_model__takes_what_it_has_of_a_checkpoint(tmp_path: Path) -> None:
    trained = first_model(TINY.model, "BS", 5, Start())
    save_checkpoint(trained.half().float(), tmp_path, "trained", {})
    for row in ROWS:
        model = first_model(TINY.model, row, 0, Start(checkpoint=tmp_path))
        for part in ("encoder", "decoder", "click_embedding", "auxiliary"):
            torch.testing.assert_close(
                getattr(model, part).state_dict(), getattr(trained, part).state_dict(), rtol=0, atol=0
            )
    assert Start(checkpoint=tmp_path).name.startswith("trained-")


def test_summarise__means_spread_and_difference() -> None:
    results = {row: [report([4, 6, 8]), report([6, 8, 10])] for row in ROWS}
    results["BS+SGN"] = [report([3, 5, 7]), report([5, 7, 9])]
    rows = summarise(results, replace(TINY, seeds=(0, 1)), 7, "d", "nothing")["rows"]
    assert rows[0]["noc90"]["mean"] == 7
    assert rows[0]["noc90"]["seeds"] == [6, 8]
    assert rows[0]["noc90"]["spread"] == pytest.approx(2**0.5)
    assert "difference" not in rows[0]["noc90"]
    # every object takes one click less, so whatever is drawn, the difference is -1
    assert rows[1]["noc90"]["difference"] == -1
    assert rows[1]["noc90"]["difference_interval"] == [-1, -1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{seeds: [0]}", "lacks the section 'training'"),
        ("{seeds: [0], training: {depth: 3}}", "does not describe an ablation"),
        ("{seeds: [0], training: {steps: 2}, evaluation: {clicks: 3}}", "does not describe an ablation"),
        ("[", "does not describe an ablation"),
        ("{seeds: [], training: {steps: 2}}", "seeds is empty"),
    ],
)
def test_read_ablation__bad_recipe(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(TrainingError, match=message):
        read_ablation(tmp_path / "recipe.yaml")


@pytest.mark.parametrize("name", ["ablation.yaml", "ablation_full.yaml"])
def test_read_ablation__committed_recipe(name: str) -> None:
    config = read_ablation(RECIPES / name)
    assert len(config.seeds) >= 2
    for row in ROWS.values():
        replace(config.model, **row)
