"""Evaluation in shards, with a network that has learnt nothing on images of a few pixels."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from maskloop.annotators import NoisyAnnotator
from maskloop.checkpoint import save_checkpoint
from maskloop.datasets import Sample, write_parquet
from maskloop.errors import EvaluationError
from maskloop.model import CSFPN, ModelConfig
from maskloop.results import Report, image_of
from maskloop.sharding import Evaluation, evaluate_in_processes, open_model
from pipelines.cli import app

OBJECTS = (1, 3, 1, 2)
"""In each of the images."""


def samples():
    generator = np.random.default_rng(0)
    for number, objects in enumerate(OBJECTS):
        image = generator.integers(0, 255, (40, 48, 3), np.uint8)
        for place in range(objects):
            mask = np.zeros((40, 48), bool)
            mask[8 * place : 8 * place + 6, 4 + number : 30] = True
            yield Sample(f"image{number}" + (f"#{place}" if place else ""), image, mask, None, "thing")


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    return made_evaluation(tmp_path_factory.mktemp("data"))


def made_evaluation(folder: Path, **changed) -> Evaluation:
    """Of a data set and a checkpoint that are written below `folder`."""
    write_parquet(samples(), folder / "set", "made")
    torch.manual_seed(0)
    save_checkpoint(CSFPN(ModelConfig()), folder / "checkpoint", "untaught", {})
    settings = {"protocol": "single", "max_clicks": 2, "annotator": NoisyAnnotator(2), **changed}
    return Evaluation("parquet", folder / "set", folder / "checkpoint", **settings)


@pytest.fixture(scope="module")
def whole(evaluation):
    return evaluation.run(progress=False)


def timeless(report, folder):
    """The result file but for its seconds."""
    report.write(folder / "result.json")
    content = json.loads((folder / "result.json").read_text())
    figures = content["figures"]
    del figures["seconds_per_click"], figures["seconds_per_click_to_90"]
    for item in content["results"]:
        del item["seconds"]
    return json.dumps(content)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 100])
def test_shards__whole_images_in_order_and_nothing_twice(evaluation, whole, count):
    shards = evaluation.shards(count)
    assert [place for shard in shards for place in shard] == list(range(sum(OBJECTS)))
    assert all(shards)
    assert len(shards) <= min(count, len(OBJECTS))
    images = [{image_of(whole.objects[place].image_id) for place in shard} for shard in shards]
    assert sum(map(len, images)) == len(OBJECTS)


def test_shards__of_about_the_same_length(evaluation):
    assert evaluation.shards(2) == [range(4), range(4, 7)]  # the third object's image ends with the fourth
    assert evaluation.shards(4) == [range(1), range(1, 4), range(4, 5), range(5, 7)]


def test_merge__shards_give_the_file_of_one_process(evaluation, whole, tmp_path):
    parts = [evaluation.run(shard, progress=False) for shard in evaluation.shards(3)]
    assert timeless(Report.merge(parts), tmp_path) == timeless(whole, tmp_path)


def test_command__processes_give_the_file_of_one_process(evaluation, whole, tmp_path):
    options = [
        "--max-clicks",
        "2",
        "--protocol",
        "single",
        "--noise",
        "2",
        "--processes",
        "2",
        "--shards",
        "2",
    ]
    made = ["--checkpoint", str(evaluation.model), "--json", str(tmp_path / "made.json")]
    result = CliRunner().invoke(app, ["evaluate", "parquet", str(evaluation.root), *options, *made])
    assert result.exit_code == 0, result.output
    found = replace(Report.read(tmp_path / "made.json"), dataset=whole.dataset)
    assert timeless(found, tmp_path) == timeless(whole, tmp_path)
    assert "4 of 7 objects\n7 of 7 objects" in result.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "other"}, "reports of the model"),
        ({"max_clicks": 4}, "reports of the max_clicks 2 and 4"),
        ({"stop": 0.9}, "reports of the stop None and 0.9"),
    ],
)
def test_merge__not_of_one_evaluation(whole, change, message):
    with pytest.raises(EvaluationError, match=message):
        Report.merge([whole, replace(whole, **change)])


def test_merge__nothing():
    with pytest.raises(EvaluationError, match="no report to merge"):
        Report.merge([])


def test_run__dataset_is_shorter_here(evaluation):
    with pytest.raises(EvaluationError, match="holds 4 here: bring the same files"):
        replace(evaluation, limit=4).run(range(2, 9), progress=False)


@pytest.mark.parametrize(("shards", "processes"), [(0, 1), (1, 0)])
def test_processes__none(evaluation, shards, processes):
    with pytest.raises(EvaluationError, match="give 1 or more"):
        evaluate_in_processes(evaluation, shards, processes)


def test_run__folder_holds_other_weights_by_now(evaluation, whole, tmp_path):
    """A process that lives longer than an evaluation must not measure what it loaded for an earlier one."""
    changed = replace(evaluation, model=tmp_path / "checkpoint", identity="one")
    save_checkpoint(CSFPN(ModelConfig()), tmp_path / "checkpoint", "first", {})
    first = changed.run(range(1), progress=False)
    save_checkpoint(CSFPN(ModelConfig()), tmp_path / "checkpoint", "second", {})
    second = replace(changed, identity="two").run(range(1), progress=False)
    assert first.model != second.model


def test_open_model__protocol_is_for_checkpoints():
    with pytest.raises(EvaluationError, match="--protocol single is for checkpoints"):
        open_model("grabcut", "single")
