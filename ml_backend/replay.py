"""Replay of a click session: each click corrects the mask of the clicks before it, as in evaluation.

A request of Label Studio holds all clicks of a mask but not the masks between them. They are made again from
the clicks alone, so an answer depends on nothing but its request; the cache only spares what was made before.
"""

from collections.abc import Hashable, Sequence

from maskloop.arrays import Image, Plane
from maskloop.clicks import Click
from maskloop.predictor import Box, Prediction, Predictor
from ml_backend.cache import ArrayCache

CACHE_BYTES = 256 * 2**20


class Replay:
    """Predicts masks of click sessions. It is used by one thread, the one that owns the model."""

    def __init__(self, cache_bytes: int = CACHE_BYTES) -> None:
        self._cache: ArrayCache[Plane] = ArrayCache(cache_bytes)

    def predict(
        self, predictor: Predictor, image: Image, name: str, clicks: Sequence[Click], box: Box | None
    ) -> Prediction:
        """The mask after all clicks.

        Args:
            predictor: what answers.
            image: (H, W, 3) uint8 RGB.
            name: of the image; the same name is the same image.
            clicks: in the order they were made.
            box: drawn before the clicks, or None.
        """

        def key(count: int) -> Hashable:
            return predictor.sha256, name, box, tuple(clicks[:count])

        done = len(clicks)
        while done > 0 and self._cache.get(key(done)) is None:
            done -= 1
        probability = self._cache.get(key(done)) if done else None
        # a box is answered before the first click, as it was when it was drawn
        first = done + 1 if done or box is None else 0
        for count in range(first, len(clicks) + 1):
            probability = predictor.predict(image, clicks[:count], probability, box).probability
            self._cache.put(key(count), probability)
        if probability is None:
            raise ValueError("neither a click nor a box was given")
        return Prediction(probability)
