"""The command's parts that need no server, on the committed checkpoint."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import coffee
from typer.testing import CliRunner

from maskloop.errors import ClickError, MaskloopError
from pipelines.cli import _parse_click, app

ROOT = Path(__file__).parents[1]


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(ROOT)
    Image.fromarray(coffee()).save(tmp_path / "coffee.png")
    return tmp_path / "coffee.png"


@pytest.mark.parametrize(
    "text, expected",
    [("320,180", (180, 320, True)), ("40, 60,-", (60, 40, False)), ("1.5,2,+", (2, 1.5, True))],
)
def test_parse_click(text: str, expected: tuple[float, float, bool]) -> None:
    click = _parse_click(text)
    assert (click.row, click.col, click.positive) == expected


@pytest.mark.parametrize("text", ["", "3", "3;4", "3,4,x", "-3,4"])
def test_parse_click__not_a_click(text: str) -> None:
    with pytest.raises(ClickError, match=r"is not X,Y; write 120,80 for a positive"):
        _parse_click(text)


def test_predict__writes_the_mask_under_the_click(photo: Path) -> None:
    out = photo.with_name("mask.png")
    result = CliRunner().invoke(app, ["predict", str(photo), "--click", "250,170", "--out", str(out)])
    assert result.exit_code == 0, result.output
    mask = np.array(Image.open(out))
    assert mask.shape == coffee().shape[:2]
    assert set(np.unique(mask)) == {0, 255}
    assert mask[170, 250] == 255


def test_predict__click_outside_the_photo(photo: Path) -> None:
    result = CliRunner().invoke(app, ["predict", str(photo), "--click", "900,10", "--out", "mask.png"])
    assert isinstance(result.exception, MaskloopError)
    assert "outside the image" in str(result.exception)


def test_main__errors_are_one_line(photo: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pipelines.cli",
        "predict",
        "nothing.png",
        "--click",
        "1,1",
        "--out",
        "mask.png",
    ]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "nothing.png" in done.stderr
    assert "Traceback" not in done.stderr


def test_evaluate__json_has_the_promised_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for folder in ("img", "gt"):
        (tmp_path / folder).mkdir()
    mask = np.zeros((80, 100), np.uint8)
    mask[20:60, 30:80] = 7
    image = np.full((80, 100, 3), 40, np.uint8)
    image[mask > 0] = (200, 60, 60)
    Image.fromarray(image).save(tmp_path / "img" / "a.jpg")
    Image.fromarray(mask).save(tmp_path / "gt" / "a.png")
    file = tmp_path / "report.json"
    result = CliRunner().invoke(app, ["evaluate", "davis", str(tmp_path), "--json", str(file)])
    assert result.exit_code == 0, result.output
    report = json.loads(file.read_text())
    promised = {
        "dataset",
        "objects",
        "noc85",
        "noc90",
        "noc95",
        "nof90",
        "iou_at_click",
        "seconds_per_click",
        "checkpoint",
    }
    assert promised <= set(report)
    assert (report["dataset"], report["objects"], len(report["iou_at_click"])) == ("davis", 1, 20)
    # a plain red square on grey must not be hard for a checkpoint that we ship
    assert report["iou_at_click"][4] > 0.8


def test_train__resumes_from_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.test_training import write_discs

    monkeypatch.chdir(ROOT)
    data = write_discs(tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("{name: mine, steps: 1, batch: 2, size: 64, save_every: 1}\n")
    out = tmp_path / "run"
    command = [
        "train",
        str(data),
        "--config",
        str(recipe),
        "--out",
        str(out),
        "--start",
        "checkpoints/default",
    ]
    assert CliRunner().invoke(app, command).exit_code == 0
    assert json.loads((out / "config.json").read_text())["training"]["steps_done"] == 1
    recipe.write_text("{name: mine, steps: 2, batch: 2, size: 64, save_every: 1}\n")
    assert CliRunner().invoke(app, command).exit_code == 0
    assert json.loads((out / "config.json").read_text())["training"]["steps_done"] == 2


@pytest.mark.parametrize(
    "text, message", [("{depth: 3}", "does not fit TrainingConfig"), ("{steps: 0}", "steps is 0")]
)
def test_train__bad_recipe(tmp_path: Path, text: str, message: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    result = CliRunner().invoke(
        app, ["train", str(tmp_path), "--config", str(recipe), "--out", str(tmp_path / "run")]
    )
    assert message in str(result.exception)


def test_recipes__every_committed_one_fits() -> None:
    from pipelines.cli import _training_config

    recipes = [path for path in (ROOT / "recipes").glob("*.yaml") if not path.stem.startswith("ablation")]
    assert recipes
    for recipe in recipes:
        _training_config(recipe)
