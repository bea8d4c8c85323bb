"""How many clicks an image will take."""

import json
from pathlib import Path

import numpy as np
import pytest

from maskloop.errors import SelectionError
from maskloop.selection import SIGNALS, Calibration, Profile, fit
from tests.selection.striped import READS_CONFIDENCE, profile_of


def drawn(count, seed=0):
    """Profiles of random signals, and clicks that follow two of them."""
    probes = np.random.default_rng(seed).normal(size=(count, 6, len(SIGNALS))).astype(np.float32)
    clicks = 8 + 4 * probes[:, :, 1].mean(axis=1) - 3 * probes[:, :, 4].mean(axis=1)
    return [Profile(one, 0.0, np.zeros(2, np.float32)) for one in probes], clicks


def test_fit__finds_what_clicks_follow():
    calibration = fit(*drawn(200))
    unseen, clicks = drawn(50, seed=1)
    expected = calibration.expected_clicks(unseen)
    assert np.corrcoef(expected, clicks)[0, 1] > 0.95
    assert np.abs(expected - clicks).mean() < 0.5  # of a spread of 2


def test_fit__signals_that_tell_nothing_give_the_mean():
    profiles, _ = drawn(60)
    clicks = np.random.default_rng(5).uniform(1, 20, 60)
    expected = fit(profiles, clicks).expected_clicks(drawn(50, seed=1)[0])
    assert np.abs(expected - clicks.mean()).mean() < clicks.std() / 2


def test_fit__constant_signal():
    profiles = [profile_of(clicks, (0, 0)) for clicks in np.linspace(2, 12, 30)]
    calibration = fit(profiles, np.linspace(2, 12, 30))
    assert calibration.expected_clicks([profile_of(7, (0, 0))])[0] == pytest.approx(7, abs=0.3)


def test_fit__too_few_images():
    profiles, clicks = drawn(19)
    with pytest.raises(SelectionError, match="19 labelled images are too few"):
        fit(profiles, clicks)


def test_expected_clicks__within_what_can_be():
    few, many = READS_CONFIDENCE.expected_clicks([profile_of(-50, (0, 0)), profile_of(250, (0, 0))])
    assert (few, many) == (1, 20)


def test_calibration__written_and_read(tmp_path):
    calibration = fit(*drawn(40), model="default-456d5fa9")
    calibration.write(tmp_path / "calibration.json")
    assert Calibration.read(tmp_path / "calibration.json") == calibration


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"mean": 1}'])
def test_calibration__damaged(tmp_path, text):
    (tmp_path / "calibration.json").write_text(text)
    with pytest.raises(SelectionError, match="damaged"):
        Calibration.read(tmp_path / "calibration.json")


def test_calibration__missing_or_of_other_signals(tmp_path):
    with pytest.raises(SelectionError, match="cannot read"):
        Calibration.read(tmp_path / "none.json")
    fit(*drawn(40)).write(tmp_path / "calibration.json")
    values = json.loads((tmp_path / "calibration.json").read_text())
    (tmp_path / "calibration.json").write_text(json.dumps(values | {"signals": ["colour"]}))
    with pytest.raises(SelectionError, match="other signals"):
        Calibration.read(tmp_path / "calibration.json")


def test_default__fits_the_default_checkpoint():
    calibration = Calibration.default()
    checkpoint = json.loads((Path(__file__).parents[2] / "checkpoints/default/config.json").read_text())
    assert calibration.model == f"{checkpoint['name']}-{checkpoint['sha256'][:8]}"
    assert calibration.images >= 40
