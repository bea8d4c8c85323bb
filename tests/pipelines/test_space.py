import shutil

import pytest

from pipelines.errors import SpaceError
from pipelines.space import COPIES, MEGABYTE, check_space


def disk_with(monkeypatch, free_mb):
    usage = shutil._ntuple_diskusage(10**12, 0, free_mb * MEGABYTE)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)


def test_check_space__room(tmp_path, monkeypatch):
    disk_with(monkeypatch, 100)
    check_space(tmp_path, 100)


def test_check_space__no_room_names_the_remedy(tmp_path, monkeypatch):
    disk_with(monkeypatch, 99)
    with pytest.raises(SpaceError, match=r"has 99 MB free, a retrain wants 100: .* MASKLOOP_SPARE_MB"):
        check_space(tmp_path, 100)


def test_check_space__data_counts_as_often_as_it_is_written(tmp_path, monkeypatch):
    (tmp_path / "data/images").mkdir(parents=True)
    (tmp_path / "data/images/one.png").write_bytes(bytes(2 * MEGABYTE))
    disk_with(monkeypatch, 100 + 2 * COPIES)
    check_space(tmp_path, 100)
    with pytest.raises(SpaceError):
        check_space(tmp_path, 101)
