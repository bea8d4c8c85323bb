"""What a report is made of: result files and ablations, told apart by what they say they are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maskloop.errors import EvaluationError
from maskloop.evaluation import Report
from pipelines import ablation


def read_inputs(files: Sequence[Path]) -> tuple[list[Report], dict[str, Any] | None]:
    """Read result files, and an ablation if one is among them.

    Raises:
        EvaluationError: a file is neither, or there are two ablations.
    """
    tables = [file for file in files if ablation.is_ablation(file)]
    if len(tables) > 1:
        raise EvaluationError(f"{tables[0]} and {tables[1]} are both ablations; a page has room for one")
    reports = [Report.read(file) for file in files if file not in tables]
    return reports, ablation.read(tables[0]) if tables else None
