"""The evaluation flow: a dataset measured in shards, each a task, which a Dask cluster may do at a time."""

from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task, unmapped
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from maskloop.results import MAX_CLICKS, Report
from maskloop.sharding import Evaluation
from pipelines.flows.shards import task_runner


@flow(name="evaluate", task_runner=task_runner())
def evaluate(
    dataset: str,
    root: Path,
    model: str = "checkpoints/default",
    out: Path = Path("reports/evaluation.json"),
    shards: int = 8,
    split: str | None = None,
    limit: int | None = None,
    max_clicks: int = MAX_CLICKS,
    stop: float | None = None,
) -> State[Any]:
    """Measure the clicks that a simulated annotator needs.

    Args:
        dataset: a name of `maskloop.datasets.DATASETS`.
        root: its folder or file, where every process finds it.
        model: a checkpoint's folder, likewise, or a rival (`maskloop.rivals`).
        out: result file that is written, for `maskloop report`.
        shards: parts, of whole images; more than processes even out what each has to do.
        split: part of the dataset; all without it.
        limit: only the first objects.
        max_clicks: clicks an object.
        stop: IoU at which an object is done, where only clicks count.
    """
    # processes of a cluster stand in folders of their own
    source = Path(model).resolve() if Path(model).is_dir() else model
    evaluation = Evaluation(
        dataset, root.resolve(), source, split=split, limit=limit, max_clicks=max_clicks, stop=stop
    )
    report = Report.merge(measure.map(unmapped(evaluation), evaluation.shards(shards)).result())
    report.write(out)
    figures = {f"NoC@{percent}": f"{report.noc(percent / 100):.2f}" for percent in report.thresholds}
    text = f"{report.model} on {len(report.objects)} objects of {report.dataset}: {figures}"
    create_markdown_artifact(f"{text}\n\nResult file: `{out}`", key="evaluate", description=report.model)
    return Completed(message=text)


@task(cache_policy=NO_CACHE, retries=1, task_run_name="objects {shard.start} to {shard.stop}")
def measure(evaluation: Evaluation, shard: range) -> Report:
    """One shard. It depends on nothing but its arguments, so doing it again changes nothing."""
    report = evaluation.run(shard, progress=False)
    get_run_logger().info("objects %d to %d are measured", shard.start, shard.stop)
    return report
