"""What the champion does without a registry; `test_champion_mlflow.py` follows a real one."""

import logging

import numpy as np
import pytest

from maskloop.errors import CheckpointError
from maskloop.predictor import Prediction, Predictor
from ml_backend.champion import Champion, check_predictor
from ml_backend.registry import Registry
from tests.ml_backend.fake_label_studio import serve_label_studio


def test_served__default_without_a_registry(checkpoint):
    champion = Champion(checkpoint, None, poll_seconds=0.1)
    champion.start()
    sha256 = champion.served.predictor.sha256
    assert champion.served.version == f"random-{sha256[:8]}"
    champion.stop()


def test_init__no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match=r"cannot read .*config"):
        Champion(tmp_path, None, poll_seconds=1)


def test_poll__registry_down_is_logged_once(checkpoint, caplog):
    with serve_label_studio() as server:
        url = server.url
    champion = Champion(checkpoint, Registry(url, "maskloop"), poll_seconds=1)
    with caplog.at_level(logging.WARNING):
        champion.poll()
        champion.poll()
    assert champion.served.version.startswith("random-")
    (record,) = caplog.records
    assert f"registry at {url} is not reached" in record.message
    champion.stop()


def test_poll__something_else_than_a_registry(checkpoint, label_studio, caplog):
    champion = Champion(checkpoint, Registry(label_studio.url, "maskloop"), poll_seconds=1)
    champion.poll()
    assert "answers HTTP 401 when asked for maskloop@champion" in caplog.text
    assert champion.served.version.startswith("random-")
    champion.stop()


class Answering(Predictor):
    """A predictor with a fixed answer to the golden click."""

    def __init__(self, probability: np.ndarray) -> None:
        self.probability = probability

    def predict(self, image, clicks, previous=None, box=None) -> Prediction:
        return Prediction(self.probability)


def test_check_predictor__any_trained_or_random_model(checkpoint):
    check_predictor(Predictor.load(checkpoint))


@pytest.mark.parametrize(
    "probability",
    [
        np.full((96, 128), np.nan),
        np.full((96, 128), 0.5),
        np.linspace(0, 2, 96 * 128).reshape(96, 128),
        np.linspace(0, 1, 128 * 96).reshape(128, 96),
    ],
    ids=["not finite", "constant", "beyond 1", "turned"],
)
def test_check_predictor__no_sensible_answer(probability):
    with pytest.raises(CheckpointError, match="golden click"):
        check_predictor(Answering(probability.astype(np.float32)))
