"""Evaluation in shards: other processes, here or on other machines, measure parts of one dataset.

A shard is a range of the dataset's objects, and no image lies in two. The results of all shards, one after
the other, are those of a single process.
"""

import os
import secrets
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import torch

from maskloop.annotators import Annotator, CentreAnnotator
from maskloop.datasets import Samples, open_dataset
from maskloop.errors import EvaluationError
from maskloop.evaluation import Segmenter, evaluate
from maskloop.predictor import Predictor
from maskloop.results import MAX_CLICKS, Report, image_of
from maskloop.rivals import open_segmenter


@dataclass(frozen=True)
class Evaluation:
    """An evaluation as plain values, which any process can carry out, wholly or in part.

    `dataset`, `root`, `split` and `limit` are those of `open_dataset`, `model` and `protocol` those of
    `open_model`, the others those of `evaluate`. Paths must hold the same files wherever a part is done.
    """

    dataset: str
    root: Path
    model: str | Path
    protocol: str | None = None
    split: str | None = None
    limit: int | None = None
    max_clicks: int = MAX_CLICKS
    annotator: Annotator = field(default_factory=CentreAnnotator)
    batch: int = 1
    stop: float | None = None
    name: str = ""
    identity: str = field(default_factory=lambda: secrets.token_hex(8))
    """A process opens model and dataset once for an evaluation, and anew for the next."""

    def shards(self, count: int) -> list[range]:
        """At most `count` ranges of objects, of about the same length, with whole images.

        Raises:
            DatasetError: the dataset cannot be read.
            EvaluationError: `count` is no number of shards.
        """
        if count < 1:
            raise EvaluationError(f"an evaluation cannot be split into {count} shards; give 1 or more")
        samples = _samples(self)
        ends = [_image_start(samples, len(samples) * number // count) for number in range(count + 1)]
        return [range(start, end) for start, end in pairwise(ends) if start < end]

    def run(self, shard: range | None = None, progress: bool = True) -> Report:
        """Measure one shard, or all objects.

        Raises:
            EvaluationError: the dataset ends before the shard does.
            MaskloopError: what else stands in the way: see `open_dataset`, `open_model` and `evaluate`.
        """
        segmenter, samples = _segmenter(self), _samples(self)
        if shard is not None:
            if shard.stop > len(samples):
                raise EvaluationError(
                    f"objects {shard.start} to {shard.stop} of {str(self.root)!r} were asked for, which holds"
                    f" {len(samples)} here: bring the same files to every machine"
                )
            samples = samples[shard.start : shard.stop]
        return evaluate(
            segmenter,
            samples,
            self.max_clicks,
            progress,
            self.annotator,
            self.batch,
            self.stop,
            self.name or self.dataset,
        )


def open_model(model: str | Path, protocol: str | None = None) -> Segmenter:
    """The checkpoint in a folder, or what a text names: see `rivals.open_segmenter`.

    Raises:
        CheckpointError: there is no such model.
        EvaluationError: a protocol was given for another model than a checkpoint.
    """
    if isinstance(model, Path):
        return Predictor.load(model, protocol=protocol)
    if protocol is None:
        return open_segmenter(model)
    if not Path(model).is_dir():
        raise EvaluationError(
            f"--protocol {protocol} is for checkpoints, and {model!r} is no folder of one; leave it out"
        )
    return Predictor.load(Path(model), protocol=protocol)


def evaluate_in_processes(
    evaluation: Evaluation, shards: int, processes: int, done: Callable[[int, int], None] | None = None
) -> Report:
    """Measure all objects in processes of this machine, which share its cores.

    Args:
        evaluation: what is measured.
        shards: parts that the processes take one by one; more than processes even out what each has to do.
        processes: that run at a time.
        done: told after each shard how many objects are done, of how many.

    Raises:
        EvaluationError: a number that leaves nothing to do, or a process that was ended, perhaps for want of
            memory; and what `Evaluation.run` raises.
    """
    if processes < 1:
        raise EvaluationError(f"{processes} processes measure nothing; give 1 or more")
    ranges = evaluation.shards(shards)
    threads = max(1, (os.cpu_count() or 1) // processes)
    # fresh processes: threads that hold locks do not survive a fork
    pool: Executor = ProcessPoolExecutor(
        processes, get_context("spawn"), initializer=torch.set_num_threads, initargs=(threads,)
    )
    reports: list[Report] = []
    with pool:
        for report in pool.map(evaluation.run, ranges, [False] * len(ranges)):
            reports.append(report)
            if done is not None:
                done(ranges[len(reports) - 1].stop, ranges[-1].stop)
    return Report.merge(reports)


def _image_start(samples: Samples, place: int) -> int:
    """The first place from `place` on where an image begins; only samples thereabouts are read."""
    if place in {0, len(samples)}:
        return place
    image = image_of(samples[place - 1].image_id)
    while place < len(samples) and image_of(samples[place].image_id) == image:
        place += 1
    return place


@lru_cache(maxsize=1)
def _samples(evaluation: Evaluation) -> Samples:
    return open_dataset(evaluation.dataset, evaluation.root, evaluation.split, evaluation.limit)


@lru_cache(maxsize=1)
def _segmenter(evaluation: Evaluation) -> Segmenter:
    return open_model(evaluation.model, evaluation.protocol)
