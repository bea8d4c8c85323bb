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
from typer.main import get_command
from typer.testing import CliRunner

from maskloop.errors import ClickError, MaskloopError
from maskloop.evaluation import Report
from maskloop.model import CSFPN
from maskloop.recipes import read_recipe
from pipelines.cli import app
from pipelines.cli.costs import parse_size, read_config, variants
from pipelines.cli.predicting import parse_click

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
    click = parse_click(text)
    assert (click.row, click.col, click.positive) == expected


@pytest.mark.parametrize("text", ["", "3", "3;4", "3,4,x", "-3,4"])
def test_parse_click__not_a_click(text: str) -> None:
    with pytest.raises(ClickError, match=r"is not X,Y; write 120,80 for a positive"):
        parse_click(text)


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
    assert "nan" not in result.output  # one image has no interval
    content = json.loads(file.read_text())
    assert {"dataset", "model", "annotator", "max_clicks"} <= set(content)
    assert content["dataset"] == "davis"
    report = content["figures"]
    promised = {
        "objects",
        "noc85",
        "noc90",
        "noc95",
        "nof90",
        "iou_at_click",
        "seconds_per_click",
    }
    assert promised <= set(report)
    assert (report["objects"], len(report["iou_at_click"])) == (1, 20)
    # a plain red square on grey must not be hard for a checkpoint that we ship
    assert report["iou_at_click"][4] > 0.8
    assert f"90 %   {report['noc90']:6.2f}" in result.output
    assert "davis: 1 objects, up to 20 clicks, annotator centre" in result.output


def test_evaluate__protocol_and_noise_are_told_in_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.test_training import write_discs

    monkeypatch.chdir(ROOT)
    shard, file = write_discs(tmp_path), tmp_path / "result.json"
    options = ["--limit", "1", "--max-clicks", "2", "--protocol", "ritm", "--noise", "3", "--seed", "5"]
    options += ["--model", "checkpoints/small"]  # the default begins with a look at the whole image
    result = CliRunner().invoke(
        app, ["evaluate", "parquet", str(shard), *options, "--split", "train", "--json", str(file)]
    )
    assert result.exit_code == 0, result.output
    found = Report.read(file)
    assert found.model.endswith("+ritm")
    assert (found.dataset, found.max_clicks) == ("discs:train", 2)
    assert found.annotator == {"name": "noisy", "pixels": 3, "seed": 5}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--annotator", "realistic", "--noise", "3"], "miss by themselves"),
        (["--model", "grabcut", "--protocol", "ritm"], "is for checkpoints"),
        (["--protocol", "fast"], "unknown protocol 'fast'"),
    ],
)
def test_evaluate__options_that_do_not_go_together(
    options: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(app, ["evaluate", "davis", "nowhere", *options])
    assert message in str(result.exception)


@pytest.mark.parametrize("command", sorted(get_command(app).commands))  # type: ignore[attr-defined]
def test_help__of_every_command(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_model_info__adds_up(tmp_path: Path) -> None:
    recipe = tmp_path / "small.yaml"
    recipe.write_text("{steps: 3, model: {channels: 12, hires_channels: 8, heads: 1}}")
    result = CliRunner().invoke(
        app, ["model-info", str(recipe), "--size", "64x96", "--repeats", "0", "--markdown"]
    )
    assert result.exit_code == 0, result.output
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in result.output.splitlines()
        if line.startswith("|")
    ][2:]
    assert [row[0] for row in rows][:3] == ["stem", "click_embedding", "encoder"]
    network = CSFPN(read_config(str(recipe)))
    total = sum(parameter.numel() for parameter in network.parameters())
    assert rows[-1][:2] == ["total", f"{total / 1e6:.3f}"]
    assert sum(float(row[2]) for row in rows[:-1]) == pytest.approx(float(rows[-1][2]), abs=0.05)


def test_read_config__checkpoint_and_variants() -> None:
    assert read_config(str(ROOT / "checkpoints" / "default")).hires == "hsgn"
    assert not read_config("bs").sgn
    assert {"small", "bs+sgn+hsgn", "efficientnet_lite0-paper"} <= set(variants())
    with pytest.raises(MaskloopError, match="no variant; variants are small, bs,"):
        read_config("vgg")


@pytest.mark.parametrize("text", ["", "320", "320x", "16x480", "320*480"])
def test_parse_size__not_a_size(text: str) -> None:
    with pytest.raises(MaskloopError, match="write 320x480"):
        parse_size(text)


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
    "text, message", [("{depth: 3}", "unknown field 'depth'"), ("{steps: 0}", "steps is 0")]
)
def test_train__bad_recipe(tmp_path: Path, text: str, message: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    result = CliRunner().invoke(
        app, ["train", str(tmp_path), "--config", str(recipe), "--out", str(tmp_path / "run")]
    )
    assert message in str(result.exception)


def test_recipes__every_committed_one_fits() -> None:
    recipes = [path for path in (ROOT / "recipes").glob("*.yaml") if not path.stem.startswith("ablation")]
    assert recipes
    for recipe in recipes:
        read_recipe(recipe)
