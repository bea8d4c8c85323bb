"""Cross-validation with a training of two steps on sample photos: who is asked about which mask."""

from dataclasses import replace

import numpy as np
import pytest

from maskloop.masks import polygon_to_mask
from maskloop.training import TrainingConfig
from pipelines.collect import store_image
from pipelines.errors import SettingsError
from pipelines.quality import QualityConfig
from pipelines.quality.folds import Folds, training_of
from pipelines.quality.labelled import Labelled
from pipelines.samples import load_samples
from tests.pipelines.conftest import REPOSITORY
from tests.pipelines.quality.masks import row

TRAINING = TrainingConfig(steps=1, batch=1, size=64, warmup=1, save_every=1)


@pytest.fixture
def items(tmp_path):
    """One object of each of three photos."""
    made = []
    for photo in load_samples()[:3]:
        image = store_image(tmp_path, photo.image_bytes)
        rings = [np.asarray(ring) for ring in photo.objects[0].rings]
        mask = polygon_to_mask(rings, image.height, image.width)
        made.append(Labelled(row(mask, region_id=photo.name, image_sha256=image.sha256), 1))
    return made


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
