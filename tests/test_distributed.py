"""Two processes on this machine, started by torchrun, train as one would."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor

from maskloop.checkpoint import load_checkpoint
from maskloop.errors import TrainingError
from maskloop.model import CSFPN, ModelConfig
from maskloop.training import Run, TrainingConfig, train
from maskloop.training.interactions import Interaction, start_interaction
from maskloop.training.log import read_log
from maskloop.training.processes import Processes, device_of_process, join_processes
from maskloop.views import Scene, View

pytestmark = pytest.mark.xdist_group("distributed")  # in one process, so that torchrun starts once

ROOT = Path(__file__).parents[1]
BATCH = 4


class Discs:
    """Bright discs on noise, and how many were drawn."""

    def __init__(self) -> None:
        self.drawn: list[Tensor] = []

    def __len__(self) -> int:
        return 1

    def draw(self, generator: Generator) -> Scene:
        noise = torch.randint(0, 120, (3, 80, 80), generator=generator)
        row, col = (int(place) for place in torch.randint(30, 50, (2,), generator=generator))
        grid = torch.arange(80)
        mask = (grid[:, None] - row) ** 2 + (grid[None] - col) ** 2 < 20**2
        self.drawn.append(noise)
        return Scene((noise + 130 * mask).to(torch.uint8), mask[None])


def config(steps: int, **others: object) -> TrainingConfig:
    fields = {
        "batch": BATCH,
        "size": 64,
        "save_every": 2,
        "schedule": "steps",
        "milestones": (1,),
        "warmup": 0,
    }
    return TrainingConfig(name="discs", steps=steps, **{**fields, **others})


def small_model(seed: int = 1) -> CSFPN:
    torch.manual_seed(seed)
    return CSFPN(ModelConfig(channels=12, hires_channels=8, heads=1))


def whole_batch() -> Interaction:
    """Two small objects, then two large ones: what is learned from one half is not what the other teaches."""
    generator = Generator().manual_seed(5)
    grid = torch.arange(64) - 32
    target = torch.stack([grid[:, None] ** 2 + grid**2 < radius**2 for radius in (5, 7, 28, 30)]).long()
    image = 0.4 * torch.rand(BATCH, 3, 64, 64, generator=generator) + 0.5 * target[:, None]
    view = View(image, target, torch.zeros_like(target, dtype=torch.bool))
    return start_interaction(view, TrainingConfig(), generator)


def part(batch: Interaction, rank: int, count: int) -> Interaction:
    own = slice(rank * BATCH // count, (rank + 1) * BATCH // count)
    view = View(batch.view.image[own], batch.view.target[own], batch.view.others[own])
    return Interaction(view, batch.previous[own], batch.clicks[own])


def gradients(batch: Interaction, processes: Processes) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Gradients of one step, each part normalised by the running statistics, so that parts add up."""
    run = Run(small_model(seed=processes.rank), config(1, gradient_clip=None), "cpu", processes)
    run._set_training = run.model.eval
    done = run.learn(batch)
    named = run.model.named_parameters()
    return {name: item.grad.contiguous() for name, item in named if item.grad is not None}, asdict(done)


def launched(out: Path) -> None:
    """What each of the two processes does."""
    processes, device = join_processes("cpu")
    rank, count = processes.rank, processes.count
    found, done = gradients(part(whole_batch(), rank, count), processes)
    save_file(found, out / f"gradients-{rank}.safetensors")
    (out / f"step-{rank}.json").write_text(json.dumps(done))
    scenes, model = Discs(), small_model(seed=rank)
    train(model, scenes, out / "whole", config(4), progress=False, device=device)
    save_file({"drawn": torch.stack(scenes.drawn)}, out / f"scenes-{rank}.safetensors")
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, out / f"model-{rank}.safetensors")
    for steps in (2, 4):
        train(small_model(seed=rank), Discs(), out / "parts", config(steps), progress=False)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, "-m", "tests.test_distributed", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out


def test_learn__gradients_of_two_halves_are_those_of_the_whole(out: Path) -> None:
    wanted, done = gradients(whole_batch(), Processes())
    half, _ = gradients(part(whole_batch(), 0, 2), Processes())
    for rank in (0, 1):
        found = load_file(out / f"gradients-{rank}.safetensors")
        assert set(found) == set(wanted)
        assert distance(found, wanted) < 1e-4
        assert json.loads((out / f"step-{rank}.json").read_text()) == pytest.approx(done, rel=1e-4)
    assert distance(half, wanted) > 0.1


def distance(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    """Of two gradients, as a share of the second one's length."""
    difference = torch.cat([(first[name] - second[name]).flatten() for name in second])
    return float(difference.norm() / torch.cat([value.flatten() for value in second.values()]).norm())


def test_train__processes_end_with_equal_weights(out: Path) -> None:
    first, second = (load_file(out / f"model-{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    start = small_model(seed=0).state_dict()
    assert not torch.equal(first["head.layers.1.weight"], start["head.layers.1.weight"])
    assert not torch.equal(first["decoder.blocks.0.norm.running_mean"], torch.zeros(12))


def test_train__processes_share_the_batch(out: Path) -> None:
    first, second = (load_file(out / f"scenes-{rank}.safetensors")["drawn"] for rank in (0, 1))
    assert len(first) == len(second) == 4 * BATCH // 2
    assert not any(torch.equal(one, other) for one in first for other in second)


def test_train__first_process_writes(out: Path) -> None:
    files = {"config.json", "log.csv", "model.safetensors", "resume.safetensors", "training.json"}
    assert {file.name for file in (out / "whole").iterdir()} == files
    assert [row["step"] for row in read_log(out / "whole" / "log.csv")] == ["1", "2", "3", "4"]
    report = json.loads((out / "whole" / "training.json").read_text())
    assert (report["processes"], report["samples"]) == (2, 4 * BATCH)


def test_train__two_processes_resume(out: Path) -> None:
    assert load_checkpoint(out / "parts").sha256 == load_checkpoint(out / "whole").sha256


def test_train__resumed_by_another_number_of_processes(out: Path) -> None:
    with pytest.raises(TrainingError, match="written with processes 2, this run has 1; go on as it was"):
        train(small_model(), Discs(), out / "whole", config(6), progress=False)


def test_processes__batch_that_cannot_be_shared() -> None:
    with pytest.raises(TrainingError, match="batch is 3, but 2 processes share it; give a multiple of 2"):
        Processes(0, 2).part_of(3)


if __name__ == "__main__":
    launched(Path(sys.argv[1]))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_device_of_process__none_here() -> None:
    with pytest.raises(TrainingError, match="no device 'cuda' for torch here; train with --device cpu"):
        device_of_process("cuda")
