"""The ablation of the recipe's choices, on rendered discs."""

from pathlib import Path

import pandas as pd
import pytest

from benchmarks.recipe_ablation import VARIANTS, Ablation, budget, expected_minutes, run, variants
from maskloop.checkpoint import save_checkpoint
from maskloop.datasets import open_dataset
from maskloop.errors import EvaluationError, TrainingError
from maskloop.recipes import read_recipe
from maskloop.training import TrainingConfig
from tests.test_training import settings, small_model, write_discs

RECIPE = Path(__file__).parents[1] / "recipes" / "default.yaml"


@pytest.fixture
def ablation(tmp_path: Path) -> Ablation:
    shard = write_discs(tmp_path)
    save_checkpoint(small_model(), tmp_path / "start", "small", {})
    return Ablation(
        shard, tmp_path / "start", open_dataset("parquet", shard, limit=2), "discs", tmp_path / "out"
    )


def test_variants__each_changes_one_thing() -> None:
    base = read_recipe(RECIPE).training
    found = variants(base)
    assert next(iter(found)) == "base" and found["base"] == base
    assert set(VARIANTS) - set(found) == {"up to three rounds", "float32"}, "these are the base's own"
    for name, values in VARIANTS.items():
        assert len(values) == 1, name


def test_variants__unknown_name() -> None:
    with pytest.raises(TrainingError, match="unknown variant 'more luck'; there are another seed, "):
        variants(TrainingConfig(), ["more luck"])


def test_budget__short_run_has_a_short_warm_up() -> None:
    config = budget(read_recipe(RECIPE).training, 150, None, 128)
    assert (config.steps, config.warmup, config.batch, config.size) == (150, 25, 12, 128)


def test_expected_minutes__by_hand() -> None:
    small, large = TrainingConfig(steps=10, batch=2, size=100), TrainingConfig(steps=10, batch=2, size=200)
    assert expected_minutes([small, large], 0.6, 30) == pytest.approx((20 * 0.6 + 80 * 0.6 + 60) / 60)


def test_run__one_line_each_and_kept(ablation: Ablation, tmp_path: Path) -> None:
    configs = variants(settings(2), ["half from one click"])
    first = list(run(ablation, configs, tmp_path / "out"))
    assert first[0].startswith("2 variants to train and measure: about ")
    assert [line.split("|")[1].strip() for line in first[2:]] == ["start", "base", "half from one click"]
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    assert list(table["variant"]) == ["start", "base", "half from one click"]
    assert table["noc90_against_base"].notna().tolist() == [False, False, True]
    files = {
        file: file.stat().st_mtime_ns for file in tmp_path.glob("out/*/*") if file.name != "settings.json"
    }
    again = list(run(ablation, configs, tmp_path / "out"))
    assert again == first[1:]
    assert {file: file.stat().st_mtime_ns for file in files} == files


def test_run__other_settings_in_the_folder(ablation: Ablation, tmp_path: Path) -> None:
    list(run(ablation, {"base": settings(1)}, tmp_path / "out"))
    with pytest.raises(TrainingError, match=r"base was made with other settings .*; give another --out"):
        list(run(ablation, {"base": settings(2)}, tmp_path / "out"))


def test_run__result_of_another_network(ablation: Ablation, tmp_path: Path) -> None:
    ablation.before()
    save_checkpoint(small_model(), tmp_path / "start", "other", {})
    with pytest.raises(EvaluationError, match=r"start.json is of small-\w+ on 2 objects, wanted is other-"):
        ablation.before()
