"""Profiles that are kept."""

import sqlite3

import numpy as np
import pytest

from maskloop.errors import SelectionError
from maskloop.selection import ProbeConfig, described, profile
from maskloop.selection.store import ProfileStore
from tests.selection.striped import Striped, image


@pytest.fixture
def path(tmp_path):
    return tmp_path / "kept" / "profiles.sqlite"


def test_store__gives_back_what_it_was_given(path):
    made = profile(Striped(), image(40, (3, 9)))
    with ProfileStore(path, "a" * 64) as store:
        assert store.get("image") is None
        store.put("image", made)
    with ProfileStore(path, "a" * 64) as store:
        kept = store.get("image")
    np.testing.assert_array_equal(kept.probes, made.probes)
    np.testing.assert_array_equal(kept.descriptor, made.descriptor)
    assert kept.entropy == made.entropy


def test_store__described_image_has_no_probes_until_it_is_looked_at(path):
    with ProfileStore(path, "a" * 64) as store:
        store.put("image", described(Striped(), image(40)))
        assert len(store.get("image").probes) == 0
        store.put("image", profile(Striped(), image(40)))
        assert len(store.get("image").probes) > 0


def test_store__other_model_or_probes_are_others(path):
    with ProfileStore(path, "a" * 64) as store:
        store.put("image", profile(Striped(), image(40)))
    with ProfileStore(path, "b" * 64) as store:
        assert store.get("image") is None
    with ProfileStore(path, "a" * 64, ProbeConfig(grid=2)) as store:
        assert store.get("image") is None


def test_store__address_names_what_was_fetched_last(path):
    with ProfileStore(path, "a" * 64) as store:
        assert store.image("/data/1.png") is None
        store.remember("/data/1.png", "first")
        store.remember("/data/1.png", "second")
        assert store.image("/data/1.png") == "second"


def test_store__written_by_two_at_once(path):
    with ProfileStore(path, "a" * 64) as one, ProfileStore(path, "a" * 64) as other:
        for number in range(20):
            one.put(f"one {number}", profile(Striped(), image(10)))
            other.put(f"other {number}", profile(Striped(), image(20)))
        assert all(other.get(f"one {number}") for number in range(20))


def test_store__something_else(tmp_path):
    (tmp_path / "text").write_text("no database, but a text that is long enough to be read as one" * 20)
    with pytest.raises(SelectionError, match="profiles cannot be kept in"):
        ProfileStore(tmp_path / "text", "a" * 64)


def test_store__damaged_row_is_no_profile(path):
    with ProfileStore(path, "a" * 64) as store:
        store.put("image", profile(Striped(), image(10)))
    with sqlite3.connect(path) as file:
        file.execute("UPDATE profiles SET probes = x'00'")
    with ProfileStore(path, "a" * 64) as store:
        assert store.get("image") is None
