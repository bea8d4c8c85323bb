from pathlib import Path

import pytest

from maskloop.errors import CheckpointError, TrainingError
from maskloop.model import ModelConfig
from maskloop.recipes import read_recipe
from maskloop.training import TrainingConfig

RECIPES = Path(__file__).parents[1] / "recipes"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.yaml"


def test_read_recipe__both_parts(file: Path) -> None:
    file.write_text("steps: 7\nbetas: [0.5, 0.9]\nmodel:\n  channels: 24\n  heads: 1\n")
    recipe = read_recipe(file)
    assert recipe.training == TrainingConfig(steps=7, betas=(0.5, 0.9))
    assert recipe.model == ModelConfig(channels=24, heads=1)


@pytest.mark.parametrize("text", ["", "model:\n"])
def test_read_recipe__nothing_said_is_the_default(file: Path, text: str) -> None:
    file.write_text(text)
    recipe = read_recipe(file)
    assert (recipe.training, recipe.model) == (TrainingConfig(), ModelConfig())


@pytest.mark.parametrize(
    "text, message",
    [
        ("depth: 3", r"mine.yaml has the unknown field 'depth'; TrainingConfig has name, stage, "),
        ("model: {depth: 3}", r"mine.yaml has the unknown field 'depth'; ModelConfig has encoder, "),
        ("model: hrnet18", r"section 'model' of .*mine.yaml is 'hrnet18'; write one `field: value` a line"),
        ("- steps", r"the recipe of .*mine.yaml is \['steps'\]"),
        ("steps: [", r"mine.yaml is not YAML"),
        ("steps: 0", r"steps is 0"),
        ("learning_rate: 5e-4", r"learning_rate in .*mine.yaml is the text '5e-4'; write a number, such as"),
        ("steps: [3]", r"a value in .*mine.yaml is of the wrong kind"),
    ],
)
def test_read_recipe__mistakes(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(TrainingError, match=message):
        read_recipe(file)


def test_read_recipe__no_such_file(file: Path) -> None:
    with pytest.raises(TrainingError, match=r"cannot read the recipe .*mine.yaml: No such file"):
        read_recipe(file)


def test_read_recipe__impossible_network(file: Path) -> None:
    file.write_text("model: {encoder: lenet}")
    with pytest.raises(CheckpointError, match="unknown encoder 'lenet'"):
        read_recipe(file)


# an ablation is read by pipelines.ablation, and tested there
TRAINING = [file for file in sorted(RECIPES.glob("*.yaml")) if not file.stem.startswith("ablation")]


@pytest.mark.parametrize("recipe", TRAINING, ids=lambda file: file.stem)
def test_recipes__every_committed_one_fits(recipe: Path) -> None:
    assert read_recipe(recipe).training.name == recipe.stem


def test_recipes__paper() -> None:
    """The figures of the official code: batch 32, 55 epochs of 30,000 views, a tenth at epochs 50 and 53."""
    training = read_recipe(RECIPES / "paper_hrnet18.yaml").training
    epoch = 30_000 // training.batch
    assert (training.steps, training.milestones) == (55 * epoch, (50 * epoch, 53 * epoch))
    assert (training.learning_rate, training.betas, training.weight_decay) == (5e-4, (0.9, 0.999), 0.0)
    assert (training.encoder_rate, training.propagation_rate) == (0.1, 0.1)
