"""Training with iterative click simulation, on one device or many, resumable at every saved step."""

from maskloop.training.batches import Scenes, draw_batch
from maskloop.training.config import TrainingConfig
from maskloop.training.loop import train
from maskloop.training.run import Run

__all__ = ["Run", "Scenes", "TrainingConfig", "draw_batch", "train"]
