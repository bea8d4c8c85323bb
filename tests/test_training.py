"""Training on a handful of rendered discs: it learns, and a resumed run equals one that never stopped."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from maskloop.checkpoint import load_checkpoint
from maskloop.corpus import Corpus
from maskloop.errors import DatasetError, TrainingError
from maskloop.masks import encode_coco
from maskloop.model import CSFPN, ModelConfig
from maskloop.training import TrainingConfig, train
from maskloop.training.log import read_log

SMALL = ModelConfig(channels=12, hires_channels=8, heads=1)


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_discs(tmp_path_factory.mktemp("shards"))


def write_discs(folder: Path) -> Path:
    """A shard of six photos of bright discs on noise."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(6):
        image = random.integers(0, 120, (96, 112, 3), dtype=np.uint8)
        mask = np.zeros((96, 112), np.uint8)
        cv2.circle(mask, (int(random.integers(30, 80)), int(random.integers(30, 65))), 22, 1, -1)
        image[mask > 0] += 130
        objects = [{"rle": encode_coco(mask > 0)["counts"], "category": "disc", "area": int(mask.sum())}]
        row = {"image_id": str(number), "source": "discs", "split": "train", "height": 96, "width": 112}
        rows.append({**row, "image": cv2.imencode(".png", image)[1].tobytes(), "objects": objects})
    file = folder / "discs.parquet"
    pd.DataFrame(rows).to_parquet(file)
    return file


def small_model() -> CSFPN:
    torch.manual_seed(1)
    return CSFPN(SMALL)


def settings(steps: int) -> TrainingConfig:
    return TrainingConfig(name="discs", steps=steps, batch=2, size=64, warmup=1, save_every=2, average=0.5)


def test_train__resumed_run_equals_uninterrupted(shard: Path, tmp_path: Path) -> None:
    corpus = Corpus.read(shard)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(small_model(), corpus, whole, settings(4), progress=False)

    class Stopped(Exception):
        pass

    def stop_after_3(run, *arguments: object) -> float:
        loss = original_advance(run, *arguments)
        if run.step == 4:
            raise Stopped  # step 3 is logged, but only step 2 was saved
        return loss

    from maskloop.training import Run

    original_advance = Run.advance
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "advance", stop_after_3)
        with pytest.raises(Stopped):
            train(small_model(), corpus, parts, settings(4), progress=False)
    train(small_model(), corpus, parts, settings(4), progress=False)
    assert load_checkpoint(parts).sha256 == load_checkpoint(whole).sha256
    assert (parts / "log.csv").read_text() == (whole / "log.csv").read_text()


def test_train__learns(shard: Path, tmp_path: Path) -> None:
    config = TrainingConfig(
        name="discs", steps=40, batch=4, size=64, warmup=5, learning_rate=3e-3, encoder_rate=1.0
    )
    train(small_model(), Corpus.read(shard), tmp_path, config, progress=False)
    losses = [float(row["loss"]) for row in read_log(tmp_path / "log.csv")]
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])


def test_train__metadata_is_in_the_checkpoint(shard: Path, tmp_path: Path) -> None:
    train(small_model(), Corpus.read(shard), tmp_path, settings(2), {"start": "nothing"}, progress=False)
    metadata = load_checkpoint(tmp_path).metadata
    assert (metadata["start"], metadata["steps_done"], metadata["images"]) == ("nothing", 2, 6)


def test_corpus__split_and_sources(shard: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no row of split 'val'"):
        Corpus.read(shard, split="val")
    with pytest.raises(DatasetError, match="no Parquet shard"):
        Corpus.read(tmp_path)
    with pytest.raises(DatasetError, match="no row of split 'train' and sources cells"):
        Corpus.read(shard, shares={"cells": 1.0})


@pytest.mark.parametrize("field", ["steps", "batch", "save_every"])
def test_training_config__impossible_values(field: str) -> None:
    with pytest.raises(TrainingError, match=f"{field} is 0; it must be at least 1"):
        TrainingConfig(**{field: 0})


def test_training_core__runs_with_torch_and_numpy_alone() -> None:
    """On a bare accelerator machine there is no OpenCV, pandas, Pillow or pycocotools."""
    script = """
import sys
for name in ("cv2", "pandas", "PIL", "pycocotools", "pyarrow"):
    sys.modules[name] = None
import torch
from maskloop.model import CSFPN, ModelConfig
from maskloop.training import Run, TrainingConfig, draw_batch
from maskloop.views import Scene

class Squares:
    def __len__(self):
        return 1

    def draw(self, generator):
        masks = torch.zeros(1, 80, 90, dtype=torch.bool)
        masks[:, 20:60, 20:60] = True
        return Scene((masks * 200).expand(3, -1, -1).to(torch.uint8), masks)

config = TrainingConfig(batch=2, size=64)
run = Run(CSFPN(ModelConfig(channels=12, hires_channels=8)), config, "cpu")
print(run.advance(draw_batch(Squares(), config, run.generator, "cpu")).loss)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 0
