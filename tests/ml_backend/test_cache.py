from concurrent.futures import ThreadPoolExecutor

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
    assert (cache.size, len(cache)) == (30, 2)


def test_cache__put_twice_keeps_the_newer_and_counts_it_once():
    cache = ArrayCache(capacity=30)
    cache.put("a", image_of(5))
    newer = image_of(6)
    cache.put("a", newer)
    assert cache.get("a") is newer
    assert cache.size == 18


def test_cache__value_larger_than_the_cache_leaves_the_others():
    cache = ArrayCache(capacity=30)
    cache.put("a", image_of(5))
    cache.put("b", image_of(11))
    assert cache.get("b") is None
    assert cache.get("a") is not None
    cache.put("a", image_of(11))
    assert (cache.get("a"), cache.size) == (None, 0)


def test_cache__of_no_bytes_keeps_nothing():
    cache = ArrayCache(capacity=0)
    cache.put("a", image_of(1))
    assert cache.get("a") is None


def test_cache__threads():
    cache = ArrayCache(capacity=3 * 50)
    keys = range(20)

    def use(seed: int) -> None:
        for key in np.random.default_rng(seed).choice(keys, 2000).tolist():
            value = cache.get(key)
            assert value is None or value.shape == (1, key + 1, 3)
            cache.put(key, image_of(key + 1))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(8)))
    held = [value.nbytes for key in keys if (value := cache.get(key)) is not None]
    assert cache.size == sum(held) <= cache.capacity
    assert len(cache) == len(held)
