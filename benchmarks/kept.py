"""Result files that are measured once, so that an interrupted benchmark goes on where it stopped."""

from collections.abc import Callable
from pathlib import Path

from maskloop.errors import EvaluationError
from maskloop.results import Report


def kept(file: Path, version: str, objects: int, measure: Callable[[], Report]) -> Report:
    """The report in a file, or what is measured and written to it; the file appears whole or not at all.

    Args:
        file: result file.
        version: of the segmenter that it must be of.
        objects: how many it must be of.
        measure: makes the report.

    Raises:
        EvaluationError: the file is of another segmenter or of other objects.
    """
    if file.is_file():
        report = Report.read(file)
        if (report.model, len(report.objects)) != (version, objects):
            raise EvaluationError(
                f"{file} is of {report.model} on {len(report.objects)} objects, wanted is {version} on"
                f" {objects}; give another --out"
            )
        return report
    report = measure()
    fresh = file.with_suffix(".part")
    report.write(fresh)
    fresh.replace(file)
    return report
