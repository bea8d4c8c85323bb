"""The stages as plain functions, with an untrained checkpoint and next to no work."""

import json
import shutil
from collections import Counter
from itertools import cycle

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from torch import Generator

from maskloop.checkpoint import load_checkpoint
from maskloop.clicks import Click
from maskloop.corpus import Corpus
from maskloop.datasets import open_dataset
from maskloop.evaluation import ObjectResult, Report
from maskloop.masks import encode_coco
from pipelines.data.collect import collect
from pipelines.data.findings import Finding, write_findings
from pipelines.data.prepared import Picture, PreparedSet
from pipelines.data.replay import Replayed
from pipelines.data.shards import Row, write_shards
from pipelines.data.snapshot import Snapshot, write_snapshot
from pipelines.data.split import split_of
from pipelines.errors import SettingsError, SnapshotError
from pipelines.promotion.latency import Latency
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
    small = {stage: values | SMALL.get(stage, {}) for stage, values in params.items()}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(small))
    (tmp_path / "data").mkdir()
    write_snapshot(tmp_path, Snapshot())
    return tmp_path


def read(root):
    return pd.concat([pd.read_parquet(root / f"data/prepared/{split}.parquet") for split in prepare.SPLITS])


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
    data = next(data for data in map(png, range(100)) if split_of(_digest(data), 20) == split)
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


def label(root, digest, size, *versions):
    """One mask, or several versions of it, on a stored image."""
    mask = _corner(*size)
    rows = [
        Row(
            1,
            1,
            1,
            f"region-{number}",
            time,
            1,
            "Cell",
            *size,
            encode_coco(mask)["counts"],
            digest,
            "{}",
            clicks=clicks,
        )
        for number, (time, clicks) in enumerate(versions)
    ]
    return write_shards(root, "0001", rows)


def store(root, data):
    (root / "data/images").mkdir(parents=True, exist_ok=True)
    (root / f"data/images/{_digest(data)}.png").write_bytes(data)
    return _digest(data)


def set_params(root, **values):
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["prepare"] |= values
    (root / "params.yaml").write_text(yaml.safe_dump(params))


def test_prepare__clicks_of_people(root, monkeypatch):
    monkeypatch.setattr(prepare, "seed_images", lambda _: [])
    digest = store(root, png(3))
    shards = label(root, digest, (48, 64), ("2026", "[[5, 7.5, 1], [40, 3, 0]]"), ("2026", "[]"))
    write_snapshot(root, Snapshot(version=1, shards=shards))
    set_params(root, test_percent=0)
    prepare.main(root)
    (scene,) = (Corpus.read(root / "data/prepared/train.parquet").draw(Generator()) for _ in range(1))
    assert [clicks.tolist() for clicks in scene.clicks] == [[[5, 7.5, 1], [40, 3, -1]], []]
    assert int(scene.masks[0].sum()) == 400


def test_prepare__findings_are_left_out(root, monkeypatch):
    monkeypatch.setattr(prepare, "seed_images", lambda _: [])
    digest = store(root, png(3))
    shards = label(root, digest, (48, 64), ("2026", "[]"), ("2026", "[]"))
    findings = write_findings(root, "0001", [Finding(1, 1, 1, "region-0", "2026", "sliver", "thin", 1.0)])
    write_snapshot(root, Snapshot(version=1, shards=shards, findings=findings))
    set_params(root, test_percent=0)
    prepare.main(root)
    (row,) = read(root).itertuples()
    assert len(row.objects) == 1
    report = json.loads((root / "reports/prepared.json").read_text())
    assert report["left_out"] == {"masks": {"sliver": 1}, "images": {}}
    assert report["train"] == {"images": 1, "objects": 1, "sources": {"labelled": 1}}


def write_set(path, split, *datas, sources=("coco",)):
    """Images of the sources in turn."""
    size = {"height": 48, "width": 64}
    item = {"rle": encode_coco(_corner(48, 64))["counts"], "category": "thing", "area": 400}
    rows = [
        {"image_id": f"{n}", "source": source, "image": data, "objects": [item]}
        for n, (data, source) in enumerate(zip(datas, cycle(sources)))
    ]
    pd.DataFrame([row | size | {"split": split} for row in rows]).to_parquet(path)


def test_prepare__replayed_images_and_general_ones(root, tmp_path):
    """A fixed draw of them; whatever is like an image that is measured on is left out of training."""
    general, base = png(50), [png(number) for number in range(60, 66)]
    write_set(tmp_path / "general.parquet", "test", general)
    write_set(tmp_path / "base.parquet", "train", general, *base)
    set_params(root, base="base.parquet", base_images=7, general=str(tmp_path / "general.parquet"))
    prepare.main(root)
    rows = pd.read_parquet(root / "data/prepared/train.parquet")
    assert sorted(rows["image"][rows["source"] == "base"]) == sorted(base)
    assert list(pd.read_parquet(root / "data/prepared/general.parquet")["image"]) == [general]
    left_out = json.loads((root / "reports/prepared.json").read_text())["left_out"]["images"]
    assert left_out == {prepare.LIKE_TEST: 1}
    set_params(root, base_images=3)
    prepare.main(root)
    drawn = pd.read_parquet(root / "data/prepared/train.parquet")
    assert set(drawn["image"][drawn["source"] == "base"]) == set(
        sorted([general, *base], key=_digest)[:3]
    ) - {general}


def test_replayed__as_many_of_each_source(tmp_path):
    """A large set of one-object images would drown the others, and teach that clicks do not matter."""
    datas = [png(number) for number in range(12)]
    write_set(
        tmp_path / "base.parquet", "train", *datas, sources=("duts", "duts", "duts", "duts", "coco", "bsds")
    )
    names = [picture.name for picture in Replayed(tmp_path, "base.parquet", 8).pictures()]
    assert Counter(name.split("-")[0] for name in names) == {"duts": 4, "coco": 2, "bsds": 2}


def test_prepare__general_is_the_seed_s_test_images(root):
    prepare.main(root)
    test, general = (pd.read_parquet(root / f"data/prepared/{name}.parquet") for name in ("test", "general"))
    assert list(test["image_id"]) == list(general["image_id"]) and len(test)


def test_prepare__labelled_image_like_a_general_one(root, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "seed_images", lambda _: [])
    data = png(3)
    write_snapshot(root, Snapshot(version=1, shards=label(root, store(root, data), (48, 64), ("2026", "[]"))))
    write_set(tmp_path / "general.parquet", "val", data)
    set_params(root, test_percent=0, general="general.parquet")
    prepare.main(root)
    assert pd.read_parquet(root / "data/prepared/train.parquet").empty
    left_out = json.loads((root / "reports/prepared.json").read_text())["left_out"]["images"]
    assert left_out == {prepare.LIKE_GENERAL: 1}


@pytest.mark.parametrize("name", ["base", "general"])
def test_prepare__no_set_at_the_path(root, tmp_path, name):
    set_params(root, **{name: "nowhere"})
    with pytest.raises(SettingsError, match=f"prepare.{name} of params.yaml is .*nowhere"):
        prepare.main(root)
    write_set(tmp_path / "other.parquet", "train" if name == "general" else "test", png(1))
    set_params(root, **{name: "other.parquet"})
    with pytest.raises(SettingsError, match="no image is of a split that is wanted"):
        prepare.main(root)


def test_prepared_set__in_groups(tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.data.prepared.ROWS_PER_GROUP", 4)
    monkeypatch.setattr("pipelines.data.prepared.BYTES_PER_GROUP", 100)
    with PreparedSet(tmp_path / "set.parquet", "train") as prepared:
        for size in (1, 1, 1, 1, 60, 60, 1):
            prepared.add(Picture("a", "base", bytes(size), 1, 1, []))
    file = pq.ParquetFile(tmp_path / "set.parquet")
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [4, 2, 1]
    assert prepared.summary() == {"images": 7, "objects": 0, "sources": {"base": 7}}


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


def write_objects(path, rows):
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
    write_objects(tmp_path / evaluate.TEST_SET, rows)
    assert chosen(evaluate.test_objects(tmp_path, CHOICE)) == ["a", "b", "b#1", "c", "d"]
    assert chosen(evaluate.test_objects(tmp_path, CHOICE | {"objects": 2})) == ["b", "c"]
    assert chosen(evaluate.test_objects(tmp_path, CHOICE | {"objects": 9})) == [
        *("a", "a#1", "b", "b#1", "c", "d")
    ]
    assert {sample.source for sample in evaluate.test_objects(tmp_path, CHOICE | {"objects": 2})} == {
        "labelled"
    }


def test_general_objects__of_its_own_file_or_the_seeds_test_images(tmp_path):
    write_objects(
        tmp_path / evaluate.TEST_SET, [("a", "rendered", 3), ("b", "labelled", 3), ("d", "sample", 1)]
    )
    assert chosen(evaluate.general_objects(tmp_path, CHOICE)) == ["a", "a#1", "d"]
    write_objects(tmp_path / evaluate.GENERAL_SET, [("x", "labelled", 1), ("y", "coco", 1)])
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
