"""The README's own words are run, so that they stay true."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import coffee
from typer.main import get_command
from typer.testing import CliRunner

from pipelines.cli import app
from tests.test_training import write_discs

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.split("#")[0].strip() for kind, block in BLOCKS if kind == "bash" for line in block.splitlines()
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the README supposes it: a photo, a data set, the recipes and the checkpoint."""
    Image.fromarray(coffee()).save(tmp_path / "photo.jpg")
    (tmp_path / "data" / "prepared").mkdir(parents=True)
    write_discs(tmp_path / "data" / "prepared").rename(tmp_path / "data" / "prepared" / "test.parquet")
    (tmp_path / "checkpoints").symlink_to(ROOT / "checkpoints")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_predict_command(folder: Path) -> None:
    run_command("maskloop predict ")
    assert np.array(Image.open("mask.png")).shape == coffee().shape[:2]


def test_evaluate_and_report_commands(folder: Path) -> None:
    evaluations = [command for command in COMMANDS if command.startswith("maskloop evaluate ")]
    assert len(evaluations) == 2
    for command in evaluations:
        run_command(command, "--limit", "1", "--max-clicks", "2")
    run_command("maskloop report ")
    page = (folder / "report.html").read_text()
    assert "default-" in page
    assert "grabcut" in page.lower()


def test_model_info_command(folder: Path) -> None:
    run_command("maskloop model-info ", "--repeats", "0")


def test_python_block(folder: Path) -> None:
    names: dict[str, object] = {}
    exec(next(block for kind, block in BLOCKS if kind == "python"), names)
    assert names["second"].mask.shape == coffee().shape[:2]  # type: ignore[attr-defined]


def test_every_maskloop_command_exists() -> None:
    known = set(get_command(app).commands)  # type: ignore[attr-defined]
    named = {command.split()[1] for command in COMMANDS if command.startswith("maskloop ")}
    assert named
    assert named <= known


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {word for command in COMMANDS for word in re.findall(r"make ([a-z-]+)", command)}
    assert named
    assert named <= targets


def test_every_linked_file_exists() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (ROOT / link).is_file()] == []


def run_command(start: str, *more: str) -> None:
    command = next(command for command in COMMANDS if command.startswith(start))
    result = CliRunner().invoke(app, [*shlex.split(command)[1:], *more])
    assert result.exit_code == 0, result.output
