"""Cross-validation with a training of one step: who is asked about which mask."""

from dataclasses import replace

import pytest

from maskloop.training import TrainingConfig
from pipelines.data.collect import store_image
from pipelines.errors import SettingsError
from pipelines.quality import QualityConfig
from pipelines.quality.folds import Folds, training_of
from pipelines.quality.labelled import Labelled
from tests.pipelines.conftest import REPOSITORY
from tests.pipelines.fake_project import png
from tests.pipelines.quality.masks import row, square

TRAINING = TrainingConfig(steps=1, batch=1, size=64, warmup=1, save_every=1)


@pytest.fixture
def items(tmp_path):
    """One object on each of three images."""
    images = [store_image(tmp_path, png(seed, 60, 80)).sha256 for seed in range(3)]
    return [Labelled(row(square(10, 10), image_sha256=image), 1) for image in images]


def test_folds__every_mask_is_shown_to_a_model_of_the_other_images(tmp_path, items, checkpoint, monkeypatch):
    trained = []
    original = Folds._train
    monkeypatch.setattr(
        Folds, "_train", lambda self, root, others: trained.append(others) or original(self, root, others)
    )
    folds = Folds(checkpoint, 2, TRAINING)
    answers = folds.ask(tmp_path, items, QualityConfig(model_clicks=1))
    assert [answer.item for answer in answers] == items
    assert sum(map(len, trained)) == len(items)
    for others in trained:
        images = {item.row.image_sha256 for item in others}
        assert 0 < len(images) < len(items)


def test_folds__one_leaves_nothing_to_train_on(checkpoint):
    with pytest.raises(SettingsError, match="5 are usual"):
        Folds(checkpoint, 1, TRAINING)


def test_training_of__is_that_of_a_retrain():
    training = training_of(REPOSITORY)
    assert training == replace(training, name="fold", save_every=training.steps)
    assert training.steps > 1
