"""`maskloop evaluate` and `maskloop report`."""

import math
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskloop.errors import EvaluationError
from pipelines.cli.options import CHECKPOINT, CheckpointOption, DatasetArgument, RootArgument, dataset_name

if TYPE_CHECKING:
    from maskloop.annotators import Annotator
    from maskloop.results import Report


class Clicking(StrEnum):
    """Who clicks."""

    CENTRE = "centre"
    REALISTIC = "realistic"


def evaluate(
    dataset: DatasetArgument,
    root: RootArgument,
    checkpoint: CheckpointOption = CHECKPOINT,
    model: Annotated[
        str | None,
        typer.Option(
            help="what is measured instead of --checkpoint: grabcut, mobile_sam, mobile_sam:FILE, sam:FILE, "
            "a checkpoint's folder, or any of these with +cascade_psp:FILE"
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="passes of a checkpoint at each click: single, csfpn, focus, ritm, ..."),
    ] = None,
    annotator: Annotated[
        Clicking, typer.Option(help="clicks the centre of the larger error, or somewhere in it as people do")
    ] = Clicking.CENTRE,
    noise: Annotated[int, typer.Option(min=0, help="pixels that each click misses by, at most")] = 0,
    seed: Annotated[int, typer.Option(help="of the randomness in clicks")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="objects that advance together")] = 1,
    max_clicks: Annotated[int, typer.Option(min=1, help="clicks an object")] = 20,
    stop: Annotated[
        float | None,
        typer.Option(min=0.5, max=0.99, help="IoU at which an object is done, where only clicks count"),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="only the first objects")] = None,
    split: Annotated[str | None, typer.Option(help="part of the dataset; all without it")] = None,
    processes: Annotated[int, typer.Option(min=1, help="that measure parts of the dataset")] = 1,
    shards: Annotated[
        int | None, typer.Option(min=1, help="parts of the dataset; four for each process without it")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="result file that is written, for `maskloop report`")
    ] = None,
) -> None:
    """Measure the number of clicks (NoC) that a simulated annotator needs."""
    from maskloop.sharding import Evaluation, evaluate_in_processes

    evaluation = Evaluation(
        dataset,
        root,
        checkpoint if model is None else model,
        protocol,
        split,
        limit,
        max_clicks,
        _annotator(annotator, noise, seed),
        batch,
        stop,
        dataset_name(dataset, root, split),
    )
    if processes == 1 and shards is None:
        found = evaluation.run()
    else:
        found = evaluate_in_processes(evaluation, shards or 4 * processes, processes, _say_progress)
    if json_file is not None:
        found.write(json_file)
    typer.echo("\n".join(_summary(found)))


def report(
    files: Annotated[
        list[Path],
        typer.Argument(help="what `maskloop evaluate` and `maskloop ablate` wrote", metavar="JSON"),
    ],
    out: Annotated[Path, typer.Option(help="page that is written")] = Path("report.html"),
    data: Annotated[
        tuple[str, Path] | None,
        typer.Option(metavar="DATASET ROOT", help="dataset of the results, for pictures of its objects"),
    ] = None,
    split: Annotated[str | None, typer.Option(help="part of that dataset")] = None,
    plots: Annotated[
        Path | None, typer.Option(help="folder that the plots are written to as SVG and PNG")
    ] = None,
) -> None:
    """Write one HTML page with our figures beside the published ones."""
    from maskloop.datasets import open_dataset
    from pipelines.report import compare, read_inputs, write_page, write_plots

    reports, ablation = read_inputs(files)
    samples = {}
    if data is not None:
        name, root = data
        filed = dataset_name(name, root, split)
        known = sorted({found.dataset for found in reports})
        if filed not in known:
            raise EvaluationError(f"no result is of {filed!r}; they are of {', '.join(map(repr, known))}")
        samples[filed] = open_dataset(name, root, split=split)
    write_page(reports, out, ablation, samples)
    typer.echo(f"page written to {out}")
    if plots is not None:
        for file in write_plots(compare(reports), plots):
            typer.echo(f"plot written to {file}")


def _say_progress(done: int, total: int) -> None:
    typer.echo(f"{done} of {total} objects", err=True)


def _annotator(clicking: Clicking, noise: int, seed: int) -> "Annotator":
    from maskloop.annotators import CentreAnnotator, NoisyAnnotator, RealisticAnnotator

    if clicking is Clicking.REALISTIC:
        if noise:
            raise EvaluationError("--noise is for the annotator centre; realistic clicks miss by themselves")
        return RealisticAnnotator(seed)
    return NoisyAnnotator(noise, seed) if noise else CentreAnnotator()


def _summary(found: "Report") -> Iterator[str]:
    """What was measured, for the screen."""
    from maskloop.intervals import interval

    clicking = ", ".join(f"{name} {value}" for name, value in found.annotator.items() if name != "name")
    yield (
        f"{found.model} on {found.dataset}: {len(found.objects)} objects, up to {found.max_clicks} clicks,"
        f" annotator {found.annotator['name']}{f' ({clicking})' if clicking else ''}"
    )
    yield ""
    yield "IoU     clicks   95 % interval    not solved"
    for percent in found.thresholds:
        mean = interval(found, f"noc{percent}")
        # a single image cannot tell an interval
        ends = "-" if math.isnan(mean.low) else f"[{mean.low:.2f}, {mean.high:.2f}]"
        yield f"{percent} %   {mean.mean:6.2f}   {ends:<16} {found.failures(percent / 100):>4}"
    yield ""
    curve = found.iou_at_click()
    shown = [number for number in (1, 2, 3, 5, 10, 20) if number <= len(curve)]
    yield "mean IoU:     " + ", ".join(f"{100 * curve[number - 1]:.1f} % @{number}" for number in shown)
    if found.stop is None:
        yield f"boundary IoU: {100 * found.boundary_iou():.1f} % after the last click"
    bins = ", ".join(f"{name}: {count}" for name, count in found.histogram(0.9).items())
    yield f"clicks to 90 %: {bins}"
    to_90 = found.seconds_per_click(until=0.9)
    yield f"seconds a click: {found.seconds_per_click():.3f}, of those to 90 %: {to_90:.3f}"
