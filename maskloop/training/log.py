"""`log.csv`: a line a step."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from maskloop.training.run import Step

COLUMNS = ["step", "loss", "learning_rate", "gradient_norm", "seconds"]


class Log:
    """The open log of a run."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._writer = csv.writer(stream, lineterminator="\n")

    def write(self, step: int, done: Step, seconds: float) -> None:
        """One line: what step number `step` (from 1) did, and how long it took with its data."""
        figures = [f"{done.loss:.6f}", f"{done.learning_rate:.4g}", f"{done.gradient_norm:.4g}"]
        self._writer.writerow([step, *figures, f"{seconds:.3f}"])

    def flush(self) -> None:
        """Let others read what was written so far."""
        self._stream.flush()


@contextmanager
def open_log(file: Path, step: int) -> Iterator[Log]:
    """Open a log to go on after `step`; lines of later steps, made but not saved, are dropped."""
    kept = [row for row in read_log(file) if int(row["step"]) <= step]
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
        yield Log(stream)


def read_log(file: Path) -> list[dict[str, str]]:
    """The lines of a log; none when there is no file, or one of other columns."""
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        return list(reader) if reader.fieldnames == COLUMNS else []
