"""Where the time of a training run goes."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


class Clock:
    """Adds up the seconds spent in named parts."""

    def __init__(self, device: str = "cpu", now: Callable[[], float] = time.perf_counter) -> None:
        self._waits = torch.device(device).type == "cuda"
        self._now = now
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def time(self, part: str) -> Iterator[None]:
        """Count what happens inside as this part."""
        started = self._now()
        yield
        if self._waits:
            # kernels run on after their call returns, and would be counted as whatever comes next
            torch.cuda.synchronize()
        self.seconds[part] += self._now() - started

    def shares(self) -> dict[str, float]:
        """Each part's share of the time that was counted."""
        whole = sum(self.seconds.values()) or 1.0
        return {part: round(seconds / whole, 4) for part, seconds in self.seconds.items()}
