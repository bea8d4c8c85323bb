import numpy as np

from ml_backend.cache import ArrayCache


def image_of(pixels: int) -> np.ndarray:
    return np.zeros((1, pixels, 3), np.uint8)


def test_cache__drops_the_array_not_used_for_longest():
    cache = ArrayCache(capacity=30)
    cache.put("a", image_of(5))
    cache.put("b", image_of(5))
    assert cache.get("a") is not None
    cache.put("c", image_of(5))
    assert cache.get("b") is None
    assert cache.get("a") is not None
    assert cache.size == 30


def test_cache__put_twice_counts_once():
    cache = ArrayCache(capacity=30)
    cache.put("a", image_of(5))
    cache.put("a", image_of(5))
    assert cache.size == 15
