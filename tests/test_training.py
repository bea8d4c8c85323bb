"""Training on a handful of rendered discs: it learns, and a resumed run equals one that never stopped."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from maskloop.checkpoint import load_checkpoint, save_checkpoint
from maskloop.corpus import Corpus
from maskloop.errors import DatasetError, TrainingError
from maskloop.masks import encode_coco
from maskloop.model import CSFPN, ModelConfig
from maskloop.simulation import first_clicks
from maskloop.training import Run, TrainingConfig, train
from maskloop.training.interactions import Interaction
from maskloop.training.log import read_log
from maskloop.training.processes import Processes
from maskloop.training.run import Step
from maskloop.views import View

SMALL = ModelConfig(channels=12, hires_channels=8, heads=1)


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_discs(tmp_path_factory.mktemp("shards"))


def write_discs(folder: Path) -> Path:
    """A shard of six photos of bright discs on noise."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(6):
        image = random.integers(0, 120, (96, 112, 3), dtype=np.uint8)
        mask = np.zeros((96, 112), np.uint8)
        cv2.circle(mask, (int(random.integers(30, 80)), int(random.integers(30, 65))), 22, 1, -1)
        image[mask > 0] += 130
        objects = [{"rle": encode_coco(mask > 0)["counts"], "category": "disc", "area": int(mask.sum())}]
        row = {"image_id": str(number), "source": "discs", "split": "train", "height": 96, "width": 112}
        rows.append({**row, "image": cv2.imencode(".png", image)[1].tobytes(), "objects": objects})
    file = folder / "discs.parquet"
    pd.DataFrame(rows).to_parquet(file)
    return file


def small_model() -> CSFPN:
    torch.manual_seed(1)
    return CSFPN(SMALL)


def settings(steps: int, **others: object) -> TrainingConfig:
    return TrainingConfig(
        name="discs", steps=steps, batch=2, size=64, warmup=1, save_every=2, average=0.5, **others
    )


class Stopped(Exception):
    pass


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums over several threads need not repeat bit for bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def figures(out: Path) -> list[dict[str, str]]:
    """The log without what each step took."""
    return [
        {name: value for name, value in row.items() if name != "seconds"} for row in read_log(out / "log.csv")
    ]


@pytest.mark.parametrize(
    "others",
    [
        {},
        {"precision": "bfloat16", "schedule": "steps", "milestones": (1, 3), "freeze_statistics": False},
        {"stage": "fine"},
    ],
    ids=["coarse", "bfloat16", "fine"],
)
def test_train__resumed_run_equals_uninterrupted(
    shard: Path, tmp_path: Path, others: dict[str, object]
) -> None:
    corpus, config = Corpus.read(shard), settings(4, **others)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(with_dropout(small_model()), corpus, whole, config, progress=False)

    def stop_after_3(run: Run, batch: View) -> Step:
        done = original_advance(run, batch)
        if run.step == 4:
            raise Stopped  # step 3 is logged, but only step 2 was saved
        return done

    original_advance = Run.advance
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "advance", stop_after_3)
        with pytest.raises(Stopped):
            train(with_dropout(small_model()), corpus, parts, config, progress=False)
    torch.rand(7)  # whatever happened to torch's own random numbers meanwhile
    train(with_dropout(small_model()), corpus, parts, config, progress=False)
    assert load_checkpoint(parts).sha256 == load_checkpoint(whole).sha256
    assert figures(parts) == figures(whole)
    assert [row["step"] for row in figures(parts)] == ["1", "2", "3", "4"]


def with_dropout(model: CSFPN) -> CSFPN:
    """Some decoders drop channels, by torch's own random numbers."""
    model.head.register_forward_pre_hook(
        lambda module, inputs: (torch.nn.functional.dropout(inputs[0], 0.3, module.training), inputs[1])
    )
    return model


def test_train__learns(shard: Path, tmp_path: Path) -> None:
    config = TrainingConfig(
        name="discs", steps=40, batch=4, size=64, warmup=5, learning_rate=3e-3, encoder_rate=1.0
    )
    train(small_model(), Corpus.read(shard), tmp_path, config, progress=False)
    losses = [float(row["loss"]) for row in read_log(tmp_path / "log.csv")]
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])


def test_train__metadata_is_in_the_checkpoint(shard: Path, tmp_path: Path) -> None:
    train(small_model(), Corpus.read(shard), tmp_path, settings(2), {"start": "nothing"}, progress=False)
    metadata = load_checkpoint(tmp_path).metadata
    assert (metadata["start"], metadata["steps_done"], metadata["images"]) == ("nothing", 2, 6)


@pytest.mark.parametrize(("instructions", "precision"), [("AVX2", "float32"), ("AVX512", "bfloat16")])
def test_train__bfloat16_where_the_processor_has_it(
    instructions: str, precision: str, shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: instructions)
    train(small_model(), Corpus.read(shard), tmp_path, settings(1, precision="bfloat16"), progress=False)
    assert json.loads((tmp_path / "training.json").read_text())["precision"] == precision


def test_train__report(shard: Path, tmp_path: Path) -> None:
    train(small_model(), Corpus.read(shard), tmp_path, settings(2), progress=False)
    train(small_model(), Corpus.read(shard), tmp_path, settings(3), progress=False)
    report = json.loads((tmp_path / "training.json").read_text())
    assert (report["steps"], report["resumed_at"], report["samples"], report["processes"]) == (3, 2, 2, 1)
    assert report["samples_per_second"] == pytest.approx(2 / report["seconds"], rel=0.05)
    assert list(report["time_shares"]) == ["draw", "augment", "clicks", "gradient", "optimiser", "average"]
    assert sum(report["time_shares"].values()) == pytest.approx(1, abs=1e-3)
    losses = [float(row["loss"]) for row in read_log(tmp_path / "log.csv")]
    assert len(losses) == 3
    assert report["loss_last"] == pytest.approx(np.mean(losses), abs=1e-6)
    assert 10 < report["peak_memory_mib"] < 100_000
    assert report["versions"]["torch"] == torch.__version__


def test_train__nothing_left_to_do_keeps_the_report(shard: Path, tmp_path: Path) -> None:
    train(small_model(), Corpus.read(shard), tmp_path, settings(1), progress=False)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    train(small_model(), Corpus.read(shard), tmp_path, settings(1), progress=False)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_train__starting_anew_begins_a_new_log(shard: Path, tmp_path: Path) -> None:
    train(small_model(), Corpus.read(shard), tmp_path, settings(2), progress=False)
    train(small_model(), Corpus.read(shard), tmp_path, settings(1), resume=False, progress=False)
    assert [row["step"] for row in figures(tmp_path)] == ["1"]


def test_train__log_of_an_older_version(shard: Path, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("1,0.5\n2,0.4\n")
    train(small_model(), Corpus.read(shard), tmp_path, settings(1), progress=False)
    assert [row["step"] for row in figures(tmp_path)] == ["1"]


@pytest.mark.parametrize(
    "model, config, message",
    [
        (SMALL, settings(2, stage="fine"), "written with stage coarse, this run has fine"),
        (
            replace(SMALL, heads=2),
            settings(2),
            "written with network .*'heads': 1.* this run has .*'heads': 2",
        ),
    ],
)
def test_train__another_run_in_the_folder(
    shard: Path, tmp_path: Path, model: ModelConfig, config: TrainingConfig, message: str
) -> None:
    train(small_model(), Corpus.read(shard), tmp_path, settings(1), progress=False)
    with pytest.raises(TrainingError, match=message):
        train(CSFPN(model), Corpus.read(shard), tmp_path, config, progress=False)


def test_train__damaged_state(shard: Path, tmp_path: Path) -> None:
    (tmp_path / "resume.safetensors").write_bytes(b"no tensors")
    with pytest.raises(TrainingError, match=r"is damaged .*; remove it to start anew"):
        train(small_model(), Corpus.read(shard), tmp_path, settings(1), progress=False)


def test_train__fine_stage_keeps_the_coarse_network(shard: Path, tmp_path: Path) -> None:
    coarse = {name: value.clone() for name, value in small_model().state_dict().items()}
    config = settings(2, stage="fine", freeze_statistics=False)
    train(small_model(), Corpus.read(shard), tmp_path, config, progress=False)
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint.model.config.cascade == "finetuned"
    kept, learned = checkpoint.model.state_dict(), checkpoint.fine.state_dict()
    assert all(torch.equal(kept[name], value.half().to(value.dtype)) for name, value in coarse.items())
    assert not torch.equal(learned["head.layers.1.weight"], kept["head.layers.1.weight"])
    assert not torch.equal(learned["encoder._bn0.running_mean"], kept["encoder._bn0.running_mean"])


def test_train__coarse_stage_drops_the_fine_network(shard: Path, tmp_path: Path) -> None:
    model = CSFPN(replace(SMALL, cascade="finetuned"))
    train(model, Corpus.read(shard), tmp_path, settings(1), progress=False)
    checkpoint = load_checkpoint(tmp_path)
    assert (checkpoint.fine, checkpoint.model.config.cascade) == (None, "shared")


@pytest.mark.parametrize("stage", ["coarse", "fine"])
def test_train__prompted_network_is_kept(shard: Path, tmp_path: Path, stage: str) -> None:
    def start() -> CSFPN:
        torch.manual_seed(1)
        return CSFPN(replace(SMALL, cascade="prompted", overview_side=96))

    looks = []
    model, out = start(), tmp_path / "out"
    model.prompted.mask_decoder.register_forward_hook(lambda *_: looks.append(1))
    train(model, Corpus.read(shard), out, settings(3, stage=stage), progress=False)
    assert bool(looks) == (stage == "fine")
    save_checkpoint(start(), tmp_path / "start", "start", {})
    begun, trained = (load_checkpoint(folder).model for folder in (tmp_path / "start", out))
    assert trained.config == begun.config
    for name, value in begun.prompted.state_dict().items():
        assert torch.equal(trained.prompted.state_dict()[name], value), name
    weight = "head.layers.1.weight"
    assert not torch.equal(trained.state_dict()[weight], begun.state_dict()[weight])
    run = Run(start(), settings(3, stage=stage))
    assert run.resume(out)
    assert run.step == 3


def test_train__size_that_a_prompted_network_cannot_look_at() -> None:
    model = CSFPN(replace(SMALL, cascade="prompted"))
    with pytest.raises(TrainingError, match=r"size is 68; twice as much is looked at.* a multiple of 8"):
        Run(model, replace(settings(1, stage="fine"), size=68))


def interaction(batch: int = 2) -> Interaction:
    """Bright squares on noise, one click in the middle of each."""
    generator = torch.Generator().manual_seed(3)
    target = torch.zeros(batch, 64, 64, dtype=torch.long)
    target[:, 20:44, 16:40] = 1
    image = 0.4 * torch.rand(batch, 3, 64, 64, generator=generator) + 0.5 * target[:, None]
    view = View(image, target, torch.zeros(batch, 64, 64, dtype=torch.bool))
    return Interaction(view, torch.zeros(batch, 1, 64, 64), first_clicks(target, generator))


def test_learn__loss_that_is_not_finite() -> None:
    run = Run(small_model(), settings(1))
    torch.nn.init.constant_(run.model.auxiliary.bias, float("nan"))
    with pytest.raises(TrainingError, match="the loss is nan at step 0; lower learning_rate and resume"):
        run.learn(interaction())


def test_learn__gradient_that_is_not_finite() -> None:
    run = Run(small_model(), settings(1))
    run.model.auxiliary.weight.register_hook(lambda gradient: gradient * float("inf"))
    before = run.model.head.layers[1].weight.clone()
    with pytest.raises(TrainingError, match=r"the gradient's norm is (inf|nan) at step 0"):
        run.learn(interaction())
    assert torch.equal(run.model.head.layers[1].weight, before)


def test_learn__gradient_is_clipped() -> None:
    norms = []
    for clip in (None, 1e-3):
        run = Run(small_model(), settings(1, gradient_clip=clip))
        reported = run.learn(interaction()).gradient_norm
        gradients = [item.grad for item in run.model.parameters() if item.grad is not None]
        norms.append((reported, float(torch.nn.utils.get_total_norm(gradients))))
    free, clipped = norms
    assert free[0] == clipped[0] == pytest.approx(free[1])
    assert clipped[1] == pytest.approx(1e-3, rel=1e-3)


def test_learn__bfloat16_is_near_float32() -> None:
    exact, rounded = (Run(small_model(), settings(1, precision=name)) for name in ("float32", "bfloat16"))
    seen = []
    rounded.model.head.layers[1].register_forward_hook(
        lambda module, inputs, output: seen.append(output.dtype)
    )
    losses = [run.learn(interaction()).loss for run in (exact, rounded)]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert losses[1] != losses[0]
    assert seen == [torch.bfloat16]
    assert {parameter.dtype for parameter in rounded.model.parameters()} == {torch.float32}


def test_simulate__in_the_precision_of_the_run() -> None:
    run = Run(small_model(), settings(1, precision="bfloat16"))
    seen = []
    last = run.model.head.layers[1]
    last.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    batch = interaction()
    probability = run.stage.predict(batch.view.image, batch.previous, batch.clicks)
    assert seen == [torch.bfloat16]
    assert probability.dtype == torch.float32


def test_run__processes_draw_differently_and_click_equally_often() -> None:
    first, second = (Run(small_model(), settings(1), "cpu", Lone(rank, 2)) for rank in (0, 1))
    assert not torch.equal(first.generator.get_state(), second.generator.get_state())
    assert torch.equal(first.common.get_state(), second.common.get_state())


class Lone(Processes):
    """One of several processes, none of which is there."""

    def copy_first(self, module: torch.nn.Module) -> None:
        pass


def test_corpus__split_and_sources(shard: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no row of split 'val'"):
        Corpus.read(shard, split="val")
    with pytest.raises(DatasetError, match="no Parquet shard"):
        Corpus.read(tmp_path)
    with pytest.raises(DatasetError, match="no row of split 'train' and sources cells"):
        Corpus.read(shard, shares={"cells": 1.0})


@pytest.mark.parametrize(
    "values, message",
    [
        ({"stage": "both"}, "stage is 'both'; it must be coarse or fine"),
        ({"precision": "float16"}, "precision is 'float16'; it must be float32 or bfloat16"),
        ({"average": 1.0}, "average is 1.0; it must be from 0 to below 1"),
        ({"real_clicks": 1.5}, "real_clicks is 1.5; it is a share, from 0 to 1"),
        ({"one_click": -0.1}, "one_click is -0.1; it is a share, from 0 to 1"),
        ({"external_masks": 2}, "external_masks is 2; it is a share, from 0 to 1"),
        ({"rounds": (0.5, 0.4)}, r"rounds are \[0.5, 0.4\]; give the probability of 0, 1, 2, ... rounds, 1"),
        ({"rounds": (1.5, -0.5)}, r"rounds are \[1.5, -0.5\]"),
        ({"rounds": ()}, r"rounds are \[\]"),
        ({"gradient_clip": 0.0}, "gradient_clip is 0.0; give a positive norm, or null"),
        ({"milestones": (5,)}, r"'cosine' with milestones \[5\]; milestones belong to the schedule 'steps'"),
        ({"schedule": "steps"}, r"'steps' with milestones \[\]; .* needs some"),
        ({"schedule": "steps", "milestones": (5, 5)}, r"milestones are \[5, 5\]; they must be positive and"),
    ],
)
def test_training_config__impossible_choices(values: dict[str, object], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        TrainingConfig(**values)


def test_training_config__rate_of_the_stage() -> None:
    assert TrainingConfig().peak_rate == 5e-4
    assert TrainingConfig(stage="fine").peak_rate == 5e-5
    assert TrainingConfig(stage="fine", learning_rate=1e-3).peak_rate == 1e-3


@pytest.mark.parametrize("field", ["steps", "batch", "save_every"])
def test_training_config__impossible_values(field: str) -> None:
    with pytest.raises(TrainingError, match=f"{field} is 0; it must be at least 1"):
        TrainingConfig(**{field: 0})


def test_training_core__runs_with_torch_and_numpy_alone() -> None:
    """On a bare accelerator machine there is no OpenCV, pandas, Pillow or pycocotools."""
    script = """
import sys
for name in ("cv2", "pandas", "PIL", "pycocotools", "pyarrow"):
    sys.modules[name] = None
import torch
from maskloop.model import CSFPN, ModelConfig
from maskloop.training import Run, TrainingConfig, draw_batch
from maskloop.views import Scene

class Squares:
    def __len__(self):
        return 1

    def draw(self, generator):
        masks = torch.zeros(1, 80, 90, dtype=torch.bool)
        masks[:, 20:60, 20:60] = True
        return Scene((masks * 200).expand(3, -1, -1).to(torch.uint8), masks)

config = TrainingConfig(batch=2, size=64)
run = Run(CSFPN(ModelConfig(channels=12, hires_channels=8)), config, "cpu")
print(run.advance(draw_batch(Squares(), config, run.generator, "cpu")).loss)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 0
