"""Batches of training views."""

from typing import Protocol

from torch import Generator

from maskloop.training.clock import Clock
from maskloop.training.config import TrainingConfig
from maskloop.views import Scene, View, augment, draw_view, stack_views


class Scenes(Protocol):
    """Where training images come from, such as `maskloop.corpus.Corpus`."""

    def __len__(self) -> int: ...

    def draw(self, generator: Generator) -> Scene:
        """A random image with its objects."""
        ...


def draw_batch(
    scenes: Scenes, config: TrainingConfig, generator: Generator, device: str, clock: Clock | None = None
) -> View:
    """A batch of augmented views."""
    clock = clock or Clock()
    with clock.time("draw"):
        views: list[View] = []
        while len(views) < config.batch:
            view = draw_view(scenes.draw(generator), config.size, generator)
            if view is not None:
                views.append(view)
        batch = stack_views(views)
    with clock.time("augment"):
        return augment(batch.to(device), generator)
