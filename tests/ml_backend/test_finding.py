"""What is made of an image before the first click is kept, for one model at a time and within bounds."""

import numpy as np
import pytest
import torch

from maskloop.checkpoint import load_checkpoint, save_checkpoint
from maskloop.model import CSFPN, ModelConfig
from maskloop.predictor import Predictor
from ml_backend import finding
from ml_backend.champion import Champion, Served
from ml_backend.finding import Finder
from ml_backend.images import LoadedImage
from ml_backend.telemetry import Telemetry

CONFIG = ModelConfig(channels=12, hires_channels=8, long_side=64, cascade="prompted", overview_side=96)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two models with a look, as if one had followed the other."""
    served = []
    for seed in range(2):
        folder = tmp_path_factory.mktemp("model")
        torch.manual_seed(seed)
        save_checkpoint(CSFPN(CONFIG), folder, "tiny", {})
        served.append(Served(Predictor(load_checkpoint(folder), engine="torch"), f"maskloop-v{seed}"))
    return served


@pytest.fixture
def finder(models, tmp_path):
    save_checkpoint(CSFPN(ModelConfig(channels=12, hires_channels=8, long_side=64)), tmp_path, "tiny", {})
    return Finder(Champion(tmp_path, None, 1), Telemetry(str), 0)


def image(name):
    return LoadedImage(np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8), name)


def test_prepare__once_for_each_model(finder, models):
    photo = image("a")
    first = finder._prepare(models[0], photo)
    assert finder._prepare(models[0], image("a")) is first
    second = finder._prepare(models[1], photo)
    assert not torch.equal(second.features.values, first.features.values)
    assert finder._prepare(models[1], photo) is second, "or each click would look at the image again"


def test_prepare__no_more_than_fit(finder, models, monkeypatch):
    monkeypatch.setattr(finder._prepared, "capacity", 2 * finder._prepare(models[0], image("a")).nbytes)
    kept = {name: finder._prepare(models[0], image(name)) for name in "bc"}
    assert finder._prepared.size <= finder._prepared.capacity < finding.PREPARED_BYTES
    assert finder._prepare(models[0], image("c")) is kept["c"]
    assert len(finder._prepared) == 2
