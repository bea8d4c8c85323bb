"""The champion: the model that is served, following the registry's alias without a restart.

A new champion is loaded beside the old one, its digest verified and a golden click answered, before the
reference moves; it is warmed up too.
Whatever fails on the way leaves the old model serving. Nothing downloaded is kept on disk.
"""

import logging
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from maskloop.clicks import Click
from maskloop.errors import CheckpointError, MaskloopError
from maskloop.predictor import Predictor
from ml_backend.errors import RegistryError
from ml_backend.registry import ModelVersion, Registry

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """A predictor and the name that its answers carry."""

    predictor: Predictor
    version: str
    since: float = field(default_factory=time.time)
    """Seconds of the epoch."""

    @property
    def protocol(self) -> str:
        """How the network is run at a click, in words."""
        return " + ".join(self.predictor.passes)


class Champion:
    """Holds what is served, and asks the registry for a successor every few seconds."""

    def __init__(self, default: Path, registry: Registry | None, poll_seconds: float) -> None:
        """Load the default checkpoint, which is served until the registry names another.

        Raises:
            CheckpointError: the default checkpoint cannot be served.
        """
        predictor = Predictor.load(default)
        check_predictor(predictor)
        predictor.warm_up()
        self._served = Served(predictor, predictor.version)
        self._registry = registry
        self._poll_seconds = poll_seconds
        self._followed: ModelVersion | None = None
        self._rejected: ModelVersion | None = None
        self._last_problem = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="champion", daemon=True)

    @property
    def served(self) -> Served:
        """What answers now. Take it once per request: the next reading may give another model."""
        return self._served

    def start(self) -> None:
        """Ask the registry once, so that the first answer is the champion's already, then follow it."""
        if self._registry is None:
            return
        self.poll()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        if self._registry is not None:
            self._registry.close()

    def poll(self) -> None:
        """Serve the champion of this moment. What goes wrong is logged once, not at each poll."""
        try:
            self._update()
            self._last_problem = ""
        except Exception as error:  # the old model must outlive whatever a new one or a full disk raises
            problem = str(error) or type(error).__name__
            if problem != self._last_problem:
                expected = isinstance(error, MaskloopError)
                logger.warning("Still serving %s. %s", self._served.version, problem, exc_info=not expected)
            self._last_problem = problem

    def _follow(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            self.poll()

    def _update(self) -> None:
        if self._registry is None:
            return
        version = self._registry.champion()
        if version is None or version in (self._followed, self._rejected):
            return
        try:
            predictor = self._fetch(self._registry, version)
        except (RegistryError, OSError):  # these may pass: the next poll tries again
            raise
        except Exception as error:
            self._rejected = version
            raise CheckpointError(f"Version {version.number} is not served: {error}") from error
        self._served = Served(predictor, f"maskloop-v{version.number}")
        self._followed, self._rejected = version, None
        logger.info("Serving %s by %s, sha256 %s", self._served.version, predictor.engine, version.sha256)

    def _fetch(self, registry: Registry, version: ModelVersion) -> Predictor:
        with tempfile.TemporaryDirectory(prefix="maskloop-") as folder:
            directory = Path(folder)
            registry.download(version, directory)
            predictor = Predictor.load(directory, sha256=version.sha256)
        check_predictor(predictor)
        predictor.warm_up()
        return predictor


def check_predictor(predictor: Predictor) -> None:
    """Answer a golden click: a bright disc on a dark slope, clicked in its centre.

    Raises:
        CheckpointError: the answer has another shape, is not finite, leaves 0..1, or is constant.
    """
    height, width = 96, 128
    rows, cols = np.ogrid[:height, :width]
    slope = np.broadcast_to(cols // 2, (height, width))
    disc = (rows - 48) ** 2 + (cols - 64) ** 2 <= 20**2
    image = np.repeat(np.where(disc, 220, slope).astype(np.uint8)[..., None], 3, axis=2)
    probability = predictor.predict(image, [Click(row=48, col=64)]).probability
    if probability.shape != (height, width) or not np.isfinite(probability).all():
        raise CheckpointError("The golden click gives numbers that are not finite: the model is not served.")
    low, high = float(probability.min()), float(probability.max())
    if not 0 <= low < high <= 1:
        raise CheckpointError(
            f"The golden click gives probabilities {low} to {high}: the model is not served."
        )
