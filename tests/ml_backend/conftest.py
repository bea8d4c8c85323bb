"""Fixtures of the service: captured requests, a Label Studio that serves images, and a small model."""

import io
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from maskloop.checkpoint import save_checkpoint
from maskloop.model import CSFPN, ModelConfig
from maskloop.predictor import Prediction, Predictor
from maskloop.protocols import PROTOCOLS
from ml_backend.champion import Champion, Served
from tests.ml_backend.fake_label_studio import FakeLabelStudio, serve_label_studio

WIRE = Path(__file__).parent / "wire"


@pytest.fixture
def wire() -> Callable[[str], Any]:
    """The body of a request captured from Label Studio 1.23.2."""
    return lambda name: json.loads((WIRE / f"{name}.json").read_text())["body"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def label_studio() -> Iterator[FakeLabelStudio]:
    with serve_label_studio() as server:
        yield server


def encode(image: np.ndarray, format: str = "PNG", orientation: int = 1) -> bytes:
    """An image file of (H, W, 3) pixels; the EXIF orientation tells how a viewer has to turn it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format=format, exif=exif)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """48 x 64 pixels: a bright disc on a dark slope."""
    rows, cols = np.ogrid[:48, :64]
    disc = (rows - 20) ** 2 + (cols - 21) ** 2 <= 100
    gray = np.where(disc, 220, np.broadcast_to(cols, (48, 64)))
    return np.repeat(gray.astype(np.uint8)[..., None], 3, axis=2)


def save_random_checkpoint(directory: Path, seed: int, bias: float = 0.0) -> str:
    """A checkpoint of random weights. Returns its sha256.

    Args:
        directory: the folder it is written to.
        seed: of the weights.
        bias: is added to every logit: 1000 gives every pixel the same probability.
    """
    torch.manual_seed(seed)
    model = CSFPN(ModelConfig())
    torch.nn.init.constant_(model.head.layers[-1].bias, bias)
    return save_checkpoint(model, directory, name="random", metadata={"seed": seed})


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("checkpoint")
    save_random_checkpoint(directory, seed=0)
    return directory


class DiscPredictor(Predictor):
    """Draws a disc of radius 4 at each positive click, takes one away at each negative, and fills a box.

    It answers in no time, and its mask tells every prompt that it was given, to the pixel.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.sha256 = "d15c" * 16
        self.version = "disc"
        self.passes = PROTOCOLS["single"].passes
        self._seconds = seconds

    def prepare(self, image):
        return image

    def warm_up(self) -> None:
        """There is nothing to warm."""

    def predict(self, image, clicks, previous=None, box=None) -> Prediction:
        time.sleep(self._seconds)
        return Prediction(0.9 * draw_discs(image.shape[:2], clicks, box).astype(np.float32))

    def predict_batch(self, requests) -> list[Prediction]:
        return [self.predict(one.image, one.clicks, one.previous, one.box) for one in requests]


def draw_discs(shape: tuple[int, int], clicks, box=None) -> np.ndarray:
    """The mask that `DiscPredictor` answers."""
    mask = np.zeros(shape, bool)
    if box is not None:
        mask[box[0] : box[2], box[1] : box[3]] = True
    rows, cols = np.ogrid[: shape[0], : shape[1]]
    for click in clicks:
        disc = (rows - click.row) ** 2 + (cols - click.col) ** 2 <= 16
        mask = mask | disc if click.positive else mask & ~disc
    return mask


class StillChampion(Champion):
    """Serves one predictor, and follows nothing."""

    def __init__(self, predictor: Predictor, version: str = "disc-1") -> None:
        self._served = Served(predictor, version)
        self._registry = None
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True
