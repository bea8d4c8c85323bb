"""The stages as plain functions, with an untrained checkpoint and next to no work."""

import json
import random
import shutil

import pandas as pd
import pytest
import yaml

from maskloop.checkpoint import load_checkpoint
from maskloop.clicks import Click
from maskloop.datasets import open_dataset
from maskloop.evaluation import ObjectResult, Report
from maskloop.masks import encode_coco
from pipelines.collect import collect
from pipelines.errors import SettingsError, SnapshotError
from pipelines.latency import Latency
from pipelines.snapshot import Snapshot, write_snapshot
from pipelines.stages import evaluate, prepare, train
from pipelines.stages.params import read_params
from tests.pipelines.conftest import REPOSITORY
from tests.pipelines.fake_project import FakeProject, png

SMALL = {
    "prepare": {"rendered": 4},
    "train": {"steps": 1, "batch": 1, "size": 64},
    "evaluate": {"max_clicks": 1, "objects": 2, "general_objects": 2, "latency_clicks": 1},
    "gate": {},
}


@pytest.fixture
def root(tmp_path):
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    small = {stage: values | SMALL[stage] for stage, values in params.items()}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(small))
    (tmp_path / "data").mkdir()
    write_snapshot(tmp_path, Snapshot())
    return tmp_path


def read(root):
    return pd.concat([pd.read_parquet(root / f"data/prepared/{split}.parquet") for split in prepare.SPLITS])


def test_split_of__share_and_stability():
    digests = [f"{random.Random(seed).getrandbits(256):064x}" for seed in range(2000)]
    share = sum(prepare.split_of(digest, 20) == "test" for digest in digests) / 2000
    assert share == pytest.approx(0.2, abs=0.03)
    assert prepare.split_of("00000013" + "0" * 56, 20) == "test"
    assert prepare.split_of("00000014" + "0" * 56, 20) == "train"


def test_prepare__an_image_stays_in_its_split_whatever_is_added(root, monkeypatch):
    seed = list(prepare.seed_images(4))
    monkeypatch.setattr(prepare, "seed_images", lambda _: seed[-4:])
    prepare.main(root)
    before = read(root).set_index("image_id")["split"]
    monkeypatch.setattr(prepare, "seed_images", lambda _: seed)
    write_snapshot(root, collect(FakeProject(), root, Snapshot()).snapshot)
    prepare.main(root)
    after = read(root).set_index("image_id")["split"]
    assert len(after) > len(before)
    assert (after[before.index] == before).all()
    assert after.index.is_unique


def test_prepare__labelled_images_are_read_back_as_drawn(root):
    snapshot = collect(FakeProject(), root, Snapshot()).snapshot
    write_snapshot(root, snapshot)
    prepare.main(root)
    rows = read(root)
    labelled = rows[rows["source"] == "labelled"]
    assert [sorted(item["category"] for item in objects) for objects in labelled["objects"]] in (
        [["Cell", "Cell", "Debris"], ["Cell"]],
        [["Cell"], ["Cell", "Cell", "Debris"]],
    )
    samples = open_dataset("parquet", root / "data/prepared")
    areas = {(sample.image_id, int(sample.mask.sum())) for sample in samples}
    for row in labelled.itertuples():
        assert {(row.image_id, item["area"]) for item in row.objects} <= {
            (name.split("#")[0], area) for name, area in areas
        }


@pytest.mark.parametrize(("split", "kept"), [("train", "labelled"), ("test", "rendered")])
def test_prepare__labelled_seed_image(root, monkeypatch, split, kept):
    """Corrections replace the seed's masks in training; in the test set the seed's masks stay."""
    seed = next(iter(prepare.seed_images(1)))
    data = next(data for data in map(png, range(100)) if prepare.split_of(_digest(data), 20) == split)
    image = type(seed)("twin", "rendered", data, (("worm", _corner(48, 64)),))
    monkeypatch.setattr(prepare, "seed_images", lambda _: [image])
    project = FakeProject()
    project.tasks = project.tasks[1:]
    project.images = dict.fromkeys(project.images, data)
    write_snapshot(root, collect(project, root, Snapshot()).snapshot)
    prepare.main(root)
    (row,) = read(root).itertuples()
    assert (row.split, row.source, len(row.objects)) == (split, kept, 1)


def test_prepare__stored_image_is_lost(root):
    write_snapshot(root, collect(FakeProject(), root, Snapshot()).snapshot)
    shutil.rmtree(root / "data/images")
    with pytest.raises(SnapshotError, match="dvc checkout"):
        prepare.main(root)


def test_train_and_evaluate(root, checkpoint):
    shutil.copytree(checkpoint, root / "checkpoints/default")
    prepare.main(root)
    train.main(root)
    candidate = load_checkpoint(root / "models/candidate")
    assert candidate.sha256 != load_checkpoint(checkpoint).sha256
    assert candidate.metadata["start"] == load_checkpoint(checkpoint).sha256
    assert sorted(path.name for path in (root / "models/candidate").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    assert json.loads((root / "reports/training.json").read_text())["steps"] > 0
    assert (root / "reports/log.csv").is_file()
    evaluate.main(root)
    scores = json.loads((root / "reports/metrics.json").read_text())
    assert {model: values["objects"] for model, values in scores.items()} == {"champion": 2, "challenger": 2}
    assert not [name for values in scores.values() for name in values if "seconds" in name], "no times"
    assert len(pd.read_csv(root / "reports/objects.csv")) == 2
    general = [Report.read(root / f"reports/general_{model}.json") for model in ("challenger", "champion")]
    assert [len(report.objects) for report in general] == [2, 2]
    assert {item.source for report in general for item in report.objects} <= {"rendered", "sample"}
    latency = Latency.read(root / "reports/latency.json")
    assert min(latency.challenger, latency.champion, latency.ratio) > 0
    assert latency.clicks >= 1


def write_set(path, rows):
    """A set of images, each of a source and with so many objects."""
    worm = {"rle": encode_coco(_corner(8, 8))["counts"], "category": "worm", "area": 64}
    frame = pd.DataFrame(rows, columns=["image_id", "source", "objects"])
    frame["objects"] = [[worm] * count for count in frame["objects"]]
    frame["image"] = [png(number, 8, 8) for number in range(len(rows))]
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.assign(split="test", height=8, width=8).to_parquet(path)


CHOICE = {"per_image": 2, "objects": 5, "general_objects": 3}


def chosen(samples):
    return [sample.image_id for sample in samples]


def test_test_objects__labelled_first_and_one_of_each_image_before_the_second(tmp_path):
    rows = [("a", "rendered", 2), ("b", "labelled", 3), ("c", "labelled", 1), ("d", "sample", 1)]
    write_set(tmp_path / evaluate.TEST_SET, rows)
    assert chosen(evaluate.test_objects(tmp_path, CHOICE)) == ["a", "b", "b#1", "c", "d"]
    assert chosen(evaluate.test_objects(tmp_path, CHOICE | {"objects": 2})) == ["b", "c"]
    assert chosen(evaluate.test_objects(tmp_path, CHOICE | {"objects": 9})) == [
        *("a", "a#1", "b", "b#1", "c", "d")
    ]
    assert {sample.source for sample in evaluate.test_objects(tmp_path, CHOICE | {"objects": 2})} == {
        "labelled"
    }


def test_general_objects__of_its_own_file_or_the_seeds_test_images(tmp_path):
    write_set(tmp_path / evaluate.TEST_SET, [("a", "rendered", 3), ("b", "labelled", 3), ("d", "sample", 1)])
    assert chosen(evaluate.general_objects(tmp_path, CHOICE)) == ["a", "a#1", "d"]
    write_set(tmp_path / evaluate.GENERAL_SET, [("x", "labelled", 1), ("y", "coco", 1)])
    assert chosen(evaluate.general_objects(tmp_path, CHOICE)) == ["x", "y"]


def test_write_reports__figures(tmp_path):
    def report(*ious):
        return Report(
            "", "", {"name": "centre"}, tuple(result(f"image-{i}", iou) for i, iou in enumerate(ious)), 2
        )

    def result(image_id, iou):
        return ObjectResult(image_id, "Cell", 8, 8, 9, iou, (1.0, 1.0), (Click(1, 1), Click(2, 2)), 0.5, {})

    challenger = report((0.5, 0.95), (0.9, 0.92))
    champion = report((0.5, 0.86), (0.8, 0.92))
    both = {"champion": champion, "challenger": challenger}
    evaluate.write_reports(tmp_path, both, both)
    scores = json.loads((tmp_path / "metrics.json").read_text())
    assert (scores["challenger"]["noc90"], scores["champion"]["noc90"]) == (1.5, 2)
    assert (scores["challenger"]["nof90"], scores["champion"]["nof90"]) == (0, 1)
    # one number each, which is what DVC and MLflow take
    assert scores["challenger"]["general_noc90"] == 1.5
    assert {type(value) for values in scores.values() for value in values.values()} == {int, float}
    curve = json.loads((tmp_path / "noc_curve.json").read_text())
    assert {"clicks": 2, "model": "challenger", "miou": pytest.approx(0.935)} in curve
    assert len(curve) == 4
    objects = pd.read_csv(tmp_path / "objects.csv")
    assert list(objects["champion_failed90"]) == [True, False]
    assert list(objects["challenger_noc90"]) == [2, 1]
    for name in ("noc_curve.png", "click_histogram.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert Report.read(tmp_path / "challenger.json").noc(0.9) == 1.5


@pytest.mark.parametrize("text", ["", "train: 3", "prepare: {}", "{"])
def test_read_params__no_such_section(tmp_path, text):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(SettingsError, match="no usable section"):
        read_params(tmp_path, "train")


def _digest(data):
    import hashlib

    return hashlib.sha256(data).hexdigest()


def _corner(height, width):
    import numpy as np

    mask = np.zeros((height, width), bool)
    mask[:20, :20] = True
    return mask
