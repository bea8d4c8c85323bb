"""A cache in memory, bounded by bytes."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """An array, or what is made of arrays: it tells how many bytes it holds."""

    @property
    def nbytes(self) -> int: ...


Value = TypeVar("Value", bound=Sized)


class ArrayCache(Generic[Value]):
    """The values used last, as many as fit into a number of bytes. Threads may share it."""

    def __init__(self, capacity: int) -> None:
        """
        Args:
            capacity: bytes; 0 keeps nothing.
        """
        self.capacity = capacity
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes held now, at most `capacity`."""
        return self._size

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable) -> Value | None:
        """The value of a key, which is then the last that goes."""
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def put(self, key: Hashable, value: Value) -> None:
        """Keep a value, in place of an older one of the key, unless it is larger than the whole cache."""
        with self._lock:
            self._drop(key)
            if value.nbytes > self.capacity:
                return
            self._values[key] = value
            self._size += value.nbytes
            while self._size > self.capacity:
                self._drop(next(iter(self._values)))

    def _drop(self, key: Hashable) -> None:
        value = self._values.pop(key, None)
        if value is not None:
            self._size -= value.nbytes
