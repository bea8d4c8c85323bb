"""Cost: how many clicks the objects of an image will take, predicted from its profile.

A weighted sum of what the probes of a profile told, fitted on images whose clicks are known: a simulated
annotator labelled them, or people did. Each signal weighs as much as it goes along with the clicks, and one
factor scales the sum (partial least squares with one component): signals that say the same support each
other, so a few dozen images are enough, where a regression on each signal would follow chance. It is fitted
for one checkpoint; for one fine-tuned from it the order of images stays meaningful sooner than the number of
clicks.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maskloop.errors import SelectionError
from maskloop.results import MAX_CLICKS
from maskloop.selection.profiles import SIGNALS, Profile

Array = npt.NDArray[np.float64]

LEAST_IMAGES = 20
"""With fewer there is nothing to fit the weights by."""
FARTHEST = 3.0
"""Spreads from the mean beyond which a feature counts no more: other domains have features never fitted."""


@dataclass(frozen=True)
class Calibration:
    """Weights that turn a profile's features into clicks.

    signals: names of the features.
    mean, spread: of each feature over the images of the fit; weights: of the features after that; clicks: the
    mean number of clicks.
    images: how many it was fitted on.
    model: version of the checkpoint whose profiles and clicks these were.
    """

    mean: tuple[float, ...]
    spread: tuple[float, ...]
    weights: tuple[float, ...]
    clicks: float
    images: int
    model: str = ""
    signals: tuple[str, ...] = SIGNALS

    def __post_init__(self) -> None:
        lengths = {len(self.mean), len(self.spread), len(self.weights), len(SIGNALS)}
        if self.signals != SIGNALS or len(lengths) > 1:
            raise SelectionError(
                f"the calibration for {self.model!r} is of other signals than these: {', '.join(SIGNALS)}; "
                "fit it anew"
            )

    def expected_clicks(self, profiles: Sequence[Profile]) -> Array:
        """(N,), clicks to a good mask of an object in each image, 1..20."""
        if not profiles:
            return np.zeros(0)
        features = _scaled(_features(profiles), np.array(self.mean), np.array(self.spread))
        return np.clip(self.clicks + features @ np.array(self.weights), 1, MAX_CLICKS)

    def write(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Calibration":
        """Read what `write` wrote; SelectionError when it is missing, damaged or of other signals."""
        try:
            return cls._parse(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise SelectionError(f"cannot read the calibration {str(path)!r}: {error.strerror}") from error

    @classmethod
    @cache
    def default(cls) -> "Calibration":
        """The one fitted for `checkpoints/default` on photos (docs/prioritizing.md says how)."""
        return cls._parse(files("maskloop.selection").joinpath("calibration.json").read_text("utf-8"))

    @classmethod
    def _parse(cls, text: str) -> "Calibration":
        try:
            values: dict[str, Any] = json.loads(text)
            lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
            return cls(**values | lists)
        except (ValueError, TypeError, AttributeError) as error:
            raise SelectionError(f"the calibration is damaged ({error!r}); fit it anew") from error


def fit(profiles: Sequence[Profile], clicks: Sequence[float] | Array, model: str = "") -> Calibration:
    """Fit a calibration.

    Args:
        profiles: of images that the checkpoint was not trained on; on those that it was, it is surer.
        clicks: what an object of each image took, on average.
        model: version of the checkpoint.

    Raises:
        SelectionError: too few images.
    """
    if len(profiles) < LEAST_IMAGES:
        raise SelectionError(
            f"{len(profiles)} labelled images are too few to fit clicks by; give {LEAST_IMAGES} or more"
        )
    features, target = _features(profiles), np.asarray(clicks, np.float64)
    mean, spread = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6)
    scaled, centred = _scaled(features, mean, spread), target - target.mean()
    weights = scaled.T @ centred
    sums = scaled @ weights
    weights *= (sums @ centred) / max(float(sums @ sums), 1e-9)
    return Calibration(
        mean=_rounded(mean),
        spread=_rounded(spread),
        weights=_rounded(weights),
        clicks=float(target.mean()),
        images=len(profiles),
        model=model,
    )


def _rounded(values: Array) -> tuple[float, ...]:
    return tuple(round(float(value), 6) for value in values)


def _features(profiles: Sequence[Profile]) -> Array:
    return np.stack([profile.features for profile in profiles]).astype(np.float64)


def _scaled(features: Array, mean: Array, spread: Array) -> Array:
    return np.clip((features - mean) / spread, -FARTHEST, FARTHEST)
