import json
from pathlib import Path

import pytest

from pipelines.data.snapshot import PATH, Shard, Snapshot, read_snapshot, write_snapshot
from pipelines.errors import SnapshotError


def test_snapshot__reads_what_it_wrote(tmp_path):
    (tmp_path / "data").mkdir()
    snapshot = Snapshot(3, "2026-11-22T07:00:07.605832Z", 7, (Shard("part-0003-0.parquet", "ab", 7),), (4, 5))
    write_snapshot(tmp_path, snapshot)
    assert read_snapshot(tmp_path) == snapshot


def test_snapshot__the_committed_one_is_empty():
    assert read_snapshot(Path()) == Snapshot()


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"shards": [{"wrong": 1}], "retry": []})])
def test_read_snapshot__damaged(tmp_path, text):
    (tmp_path / "data").mkdir()
    (tmp_path / PATH).write_text(text)
    with pytest.raises(SnapshotError, match="git checkout"):
        read_snapshot(tmp_path)


def test_read_snapshot__missing(tmp_path):
    with pytest.raises(SnapshotError, match="cannot be read"):
        read_snapshot(tmp_path)
