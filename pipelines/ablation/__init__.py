"""The ablation of the paper's Table 2: five networks under one budget, measured on the same objects.

A row differs from the next in `sgn` and `hires` alone. For one seed all rows start from the same values
wherever they have the same parameters (those of a checkpoint, or the encoder's of ImageNet), see the same
views and the same simulated randomness. A run, one row with one seed, is a folder: checkpoint, log, what it
was made with, and its result file. A finished run is not made again, an interrupted one is taken up where it
stopped.
"""

from pipelines.ablation.config import ROWS, AblationConfig, Start, read_ablation
from pipelines.ablation.runs import ablate, first_model
from pipelines.ablation.table import is_ablation, read, summarise

__all__ = [
    "ROWS",
    "AblationConfig",
    "Start",
    "ablate",
    "first_model",
    "is_ablation",
    "read",
    "read_ablation",
    "summarise",
]
