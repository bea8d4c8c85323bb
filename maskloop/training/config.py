"""The settings of a training run."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from maskloop.errors import TrainingError

CHOICES = {
    "stage": ("coarse", "fine"),
    "precision": ("float32", "bfloat16"),
    "schedule": ("cosine", "steps"),
}


@dataclass(frozen=True)
class TrainingConfig:
    """A run; every field is a line of params.yaml or of a recipe."""

    name: str = "default"
    stage: str = "coarse"
    """`coarse`: one network, shown whole views and zoomed ones. `fine`: a second network for the zoomed
    region, which starts as a copy of the first; the first is kept as it is. In a prompted cascade `fine` is
    with the masks that the look makes of the views, `coarse` without the look, which is kept either way."""
    steps: int = 1000
    batch: int = 8
    """Views a step, over all processes."""
    size: int = 192
    """Side of the square views in pixels as the network sees them; the look is at views of twice that."""
    learning_rate: float | None = None
    """Peak; without it 5e-4, in the fine stage 5e-5: with the 5e-7 of the official code the fine network
    could hardly leave the coarse one."""
    encoder_rate: float = 0.4
    """Learning rate of the encoder as a multiple of the others'."""
    propagation_rate: float = 1.0
    """Learning rate of SGN and HSGN as a multiple, their gammas left out; 0.1 in the official code."""
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-4
    """AdamW's; with 0 it is plain Adam."""
    gradient_clip: float | None = 10.0
    """Largest norm of the gradient; longer ones are shortened to it. None: never."""
    schedule: str = "cosine"
    """`cosine`: down to a fiftieth. `steps`: a tenth after each milestone."""
    milestones: tuple[int, ...] = ()
    """Numbers of steps, for the schedule `steps`."""
    warmup: int = 50
    """Steps of linear warm-up."""
    precision: str = "float32"
    """`bfloat16` computes the network in bfloat16 where that is safe; weights and loss stay float32."""
    average: float = 0.98
    """Decay of the moving average of weights, which is what is saved; 0: the weights themselves."""
    freeze_statistics: bool = True
    """Keep the encoder's batch-norm statistics: small batches would only blur them."""
    one_click: float = 0.8
    """Share of items that start from one click inside the object; the others start from random clicks."""
    external_masks: float = 0.2
    """Share of items whose previous mask comes from elsewhere and whose first click corrects it."""
    rounds: tuple[float, ...] = (0.5, 0.2, 0.15, 0.15)
    """Probability of 0, 1, 2, ... rounds of simulated clicks before a step; the first click matters most."""
    real_clicks: float = 0.5
    """Share of items that start from clicks of people, among those that have some; the rest is simulated."""
    seed: int = 0
    save_every: int = 100
    shares: Mapping[str, float] = field(default_factory=dict)
    """Relative share of each source; empty: by size."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "save_every"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise TrainingError(f"{name} is {getattr(self, name)!r}; it must be {' or '.join(known)}")
        if self.size < 64:
            raise TrainingError(f"size is {self.size}; views need at least 64 pixels a side")
        if not 0 <= self.average < 1:
            raise TrainingError(f"average is {self.average}; it must be from 0 to below 1")
        for name in ("one_click", "external_masks", "real_clicks"):
            if not 0 <= getattr(self, name) <= 1:
                raise TrainingError(f"{name} is {getattr(self, name)}; it is a share, from 0 to 1")
        if not self.rounds or min(self.rounds) < 0 or not math.isclose(sum(self.rounds), 1, abs_tol=1e-6):
            raise TrainingError(
                f"rounds are {list(self.rounds)}; give the probability of 0, 1, 2, ... rounds, 1 together"
            )
        if self.gradient_clip is not None and not self.gradient_clip > 0:
            raise TrainingError(f"gradient_clip is {self.gradient_clip}; give a positive norm, or null")
        if (self.schedule == "steps") != bool(self.milestones):
            raise TrainingError(
                f"the schedule is {self.schedule!r} with milestones {list(self.milestones)}; "
                "milestones belong to the schedule 'steps', which needs some"
            )
        if any(later <= earlier for earlier, later in pairwise((0, *self.milestones))):
            raise TrainingError(f"milestones are {list(self.milestones)}; they must be positive and rise")

    @property
    def peak_rate(self) -> float:
        """The learning rate after the warm-up."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 5e-5 if self.stage == "fine" else 5e-4
