"""A cache of arrays, bounded by bytes."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Generic, TypeVar

import numpy.typing as npt

Array = TypeVar("Array", bound=npt.NDArray[Any])


class ArrayCache(Generic[Array]):
    """The arrays used last, as many as fit into a number of bytes. One thread at a time may use it."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._arrays: OrderedDict[Hashable, Array] = OrderedDict()
        self.size = 0

    def get(self, key: Hashable) -> Array | None:
        array = self._arrays.get(key)
        if array is not None:
            self._arrays.move_to_end(key)
        return array

    def put(self, key: Hashable, array: Array) -> None:
        """Keep an array, unless it is larger than the whole cache."""
        if key in self._arrays or array.nbytes > self._capacity:
            return
        self._arrays[key] = array
        self.size += array.nbytes
        while self.size > self._capacity:
            _, oldest = self._arrays.popitem(last=False)
            self.size -= oldest.nbytes
