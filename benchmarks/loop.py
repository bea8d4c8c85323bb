"""Does the loop pay? Clicks a mask against masks labelled, in a domain that the checkpoint has never seen.

    python -m benchmarks.loop threads --out runs/threads
    python -m benchmarks.loop ../shared/data/nuclei-00.parquet --replay ../shared/data --out runs/nuclei

A simulated annotator labels through a real Label Studio: it clicks, the backend answers, what is good is
submitted, and what stays bad after ten clicks is submitted as drawn by hand. After every round the masks
are collected and prepared and the model is fine-tuned, all by the code of a retrain, and measured on pictures
that nobody labelled. Every strategy has a project and a chain of models of its own; `none` never retrains.
A run that was cut off goes on after its last finished round.
"""

import argparse
import json
import random
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.domains import Domain, open_domain, spread
from maskloop.datasets import open_dataset
from maskloop.evaluation import Report, evaluate
from maskloop.images import decode_image
from maskloop.predictor import Predictor
from maskloop.selection import rank
from pipelines.data.collect import collect
from pipelines.data.snapshot import Snapshot, read_snapshot, write_snapshot
from pipelines.files import write_atomically
from pipelines.label_studio.client import LabelStudio
from pipelines.label_studio.interface import build_interface
from pipelines.label_studio.project import LabelStudioProject
from pipelines.stack import catalog, project
from pipelines.stack.config import REPOSITORY, Ports, StackConfig
from pipelines.stack.labeler import Labeler, Labelled
from pipelines.stack.project import LABEL, uploaded_name
from pipelines.stack.services import Service, Services, answers
from pipelines.stages import prepare, train

NONE = "none"
STRATEGIES = (NONE, "random", "entropy", "gain")


@dataclass(frozen=True)
class Plan:
    """What is run.

    masks: labelled in each round.
    objects: held-out ones that models are measured on.
    candidates: pictures that a round chooses from, drawn at random from the unlabelled.
    good: IoU from which the annotator submits what its clicks made.
    """

    domain: Domain
    rounds: int
    masks: int
    objects: int
    candidates: int
    replay: Path | None
    out: Path
    steps: int | None
    good: float


def main() -> None:
    arguments = _arguments()
    plan = Plan(
        domain=open_domain(arguments.domain, arguments.per_image),
        rounds=arguments.rounds,
        masks=arguments.masks,
        objects=arguments.objects,
        candidates=arguments.candidates,
        replay=arguments.replay and arguments.replay.resolve(),
        out=arguments.out.resolve(),
        steps=arguments.steps,
        good=arguments.good,
    )
    config = StackConfig(plan.out / "stack", ports=_ports(plan.out))
    with Services() as services:
        services.start(catalog.label_studio(config))
        with LabelStudio(config.label_studio_url, config.secrets.token) as client:
            for strategy in arguments.strategies:
                Loop(plan, strategy, config, client).run()
    if arguments.general:
        measure_general(plan, arguments.strategies, arguments.general, arguments.general_objects)


class Loop:
    """The rounds of one strategy, in a project and a folder of its own."""

    def __init__(self, plan: Plan, strategy: str, config: StackConfig, client: LabelStudio) -> None:
        self.plan, self.strategy, self.config, self.client = plan, strategy, config, client
        self.folder = plan.out / strategy
        self.pictures = {picture.name: picture for picture in plan.domain.pictures}
        self.project = self._project()

    def run(self) -> None:
        self._measured(0, [])
        for number in range(1, self.plan.rounds + 1):
            if self._result(number).exists():
                continue
            labelled = self._label(number)
            if self.strategy != NONE:
                self._learn(number)
            self._measured(number, labelled)

    def model(self, number: int) -> Path:
        """The model after this round; that of round 0 is the shipped one."""
        if self.strategy == NONE or not number:
            return REPOSITORY / "checkpoints/default"
        return self.folder / f"model-{number}"

    def _project(self) -> int:
        title = f"{self.plan.domain.name} {self.strategy}"
        found = self.client.project(title)
        if found is None:
            found = self.client.create_project(title=title, label_config=build_interface([LABEL]))
        present = {uploaded_name(task) for task in self.client.tasks(found["id"])}
        for picture in self.pictures.values():
            if picture.file not in present:
                self.client.upload(found["id"], picture.file, picture.data)
        return int(found["id"])

    def _label(self, number: int) -> list[Labelled]:
        """Label `masks` masks with the model of the round before."""
        with _backend(self.config, self.model(number - 1)) as url:
            backend = project.ensure_connection(self.client, self.project, url, "")
            labeler, done = Labeler(self.client, backend, self.plan.good), []
            tasks = {Path(uploaded_name(task)).stem: task for task in self.client.tasks(self.project)}
            known = _kept(self.folder / f"round-{number}.jsonl")
            for name in self._order(number, tasks):
                if len(known) + len(done) >= self.plan.masks:
                    break
                targets = self.pictures[name].masks[: self.plan.masks - len(known) - len(done)]
                fresh = labeler.label_masks(tasks[name]["id"], name, [(LABEL, mask) for mask in targets])
                _keep(self.folder / f"round-{number}.jsonl", fresh)
                done += fresh
        return [*known, *done]

    def _order(self, number: int, tasks: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Names of the pictures that are not labelled, the one to label first in front."""
        free = [name for name, task in sorted(tasks.items()) if not task["annotations"]]
        free = random.Random(number).sample(free, min(self.plan.candidates, len(free)))
        labelled = [self._image(name) for name, task in sorted(tasks.items()) if task["annotations"]]
        ranked = rank(
            Predictor.load(self.model(number - 1)),
            [self._image(name) for name in free],
            strategy="random" if self.strategy == NONE else self.strategy,
            budget=None,
            labelled=labelled,
            calibration=None,
            seed=number,
        )
        return [free[one.index] for one in ranked]

    def _image(self, name: str) -> Any:
        return decode_image(self.pictures[name].data)

    def _learn(self, number: int) -> None:
        """Collect, prepare and train as a retrain does."""
        root = self.folder / "root"
        _write_parameters(root, self.model(number - 1), self.plan)
        if not (root / "data/snapshot.json").exists():
            (root / "data").mkdir(parents=True, exist_ok=True)
            write_snapshot(root, Snapshot())
        server = LabelStudioProject(self.config.label_studio_url, self.config.secrets.token, self.project)
        collected = collect(server, root, read_snapshot(root))
        write_snapshot(root, collected.snapshot)
        times = {}
        for name, stage in (("prepare", prepare.main), ("train", train.main)):
            start = time.monotonic()
            stage(root)
            times[f"{name}_seconds"] = time.monotonic() - start
        shutil.rmtree(self.model(number), ignore_errors=True)
        shutil.copytree(root / "models/candidate", self.model(number))
        write_atomically(self.folder / f"times-{number}.json", json.dumps(times).encode())

    def _measured(self, number: int, labelled: Sequence[Labelled]) -> None:
        """Measure the model of a round on what nobody labelled, and write the round's result."""
        path = self._result(number)
        if path.exists():
            return
        report = self._report(number)
        figures = {
            "domain": self.plan.domain.name,
            "strategy": self.strategy,
            "masks": number * self.plan.masks,
            "noc85": report.noc(0.85),
            "noc90": report.noc(0.90),
            "iou1": report.iou_at_click()[0],
            "iou5": report.iou_at_click()[4],
            "clicks": sum(one.clicks for one in labelled) / len(labelled) if labelled else None,
            "good": sum(one.good for one in labelled) / len(labelled) if labelled else None,
        }
        print(json.dumps(figures), flush=True)
        write_atomically(path, json.dumps(figures).encode())

    def _report(self, number: int) -> Report:
        name = (
            "shipped"
            if self.model(number).parent == REPOSITORY / "checkpoints"
            else f"{self.strategy}-{number}"
        )
        path = self.plan.out / "reports" / f"{name}.json"
        if not path.exists():
            samples = spread(self.plan.domain.held_out, self.plan.objects)
            evaluate(Predictor.load(self.model(number)), samples, dataset=self.plan.domain.name).write(path)
        return Report.read(path)

    def _result(self, number: int) -> Path:
        return self.folder / f"result-{number}.json"


def measure_general(plan: Plan, strategies: Sequence[str], benchmark: Path, objects: int | None) -> None:
    """The last model of each strategy, and the shipped one, on images of every kind."""
    samples = open_dataset("parquet", benchmark).spread(objects)
    models = {"shipped": REPOSITORY / "checkpoints/default"} | {
        strategy: plan.out / strategy / f"model-{plan.rounds}" for strategy in strategies if strategy != NONE
    }
    for name, model in models.items():
        path = plan.out / "reports" / f"general-{name}.json"
        if not path.exists():
            evaluate(Predictor.load(model), samples, dataset=benchmark.stem).write(path)
        report = Report.read(path)
        print(f"{benchmark.stem}, {name}: NoC@85/90 {report.noc(0.85):.2f}/{report.noc(0.9):.2f}", flush=True)


def _write_parameters(root: Path, start: Path, plan: Plan) -> None:
    """The committed parameters; all labelled images train, as the ones to measure on are others."""
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    params["prepare"] |= {"test_percent": 0}
    if plan.replay:
        params["prepare"] |= {"base": str(plan.replay), "rendered": 0}
    params["train"] |= {"start": str(start)} | ({"steps": plan.steps} if plan.steps else {})
    root.mkdir(parents=True, exist_ok=True)
    (root / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


@contextmanager
def _backend(config: StackConfig, model: Path) -> Iterator[str]:
    """The service with one checkpoint and no registry."""
    service = catalog.backend(config, forward_events=False)
    settings = dict(service.environment) | {
        "MASKLOOP_CHECKPOINT": str(model),
        "MASKLOOP_MLFLOW_URL": "",
        "MASKLOOP_WEBHOOK_SECRET": "",
    }
    plain = Service(
        name=f"the backend with {model.name}",
        command=service.command,
        log=service.log,
        ready=lambda: answers(f"{config.backend_url}/ready"),
        environment=settings,
        port=service.port,
    )
    with Services() as services:
        services.start(plain)
        yield config.backend_url


def _ports(out: Path) -> Ports:
    """Label Studio remembers the backend's address, so a run that goes on listens where it did."""
    path = out / "ports.json"
    if not path.exists():
        write_atomically(path, json.dumps(vars(Ports.free())).encode())
    return Ports(**json.loads(path.read_text()))


def _kept(path: Path) -> list[Labelled]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [Labelled(**json.loads(line)) for line in lines]


def _keep(path: Path, labelled: Sequence[Labelled]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.writelines(json.dumps(vars(one)) + "\n" for one in labelled)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("domain", help="`threads`, or a Parquet file with splits `label` and `test`")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=STRATEGIES)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--masks", type=int, default=25, help="a round")
    parser.add_argument("--per-image", type=int, default=5, help="masks an image, at most")
    parser.add_argument(
        "--objects", type=int, default=60, help="held-out objects that models are measured on"
    )
    parser.add_argument(
        "--candidates", type=int, default=40, help="pictures drawn for each round to choose from"
    )
    parser.add_argument("--steps", type=int, help="of training, instead of those of params.yaml")
    parser.add_argument("--good", type=float, default=0.9, help="IoU from which a mask is submitted")
    parser.add_argument("--replay", type=Path, help="Parquet files of the base set")
    parser.add_argument("--general", type=Path, help="Parquet file of the general benchmark")
    parser.add_argument("--general-objects", type=int, help="of it, spread; all if left out")
    return parser.parse_args()


if __name__ == "__main__":
    main()
