"""The format of the click journal, and reading it."""

import logging
import os
from dataclasses import fields, replace
from hashlib import sha256

import numpy as np
import pytest

from maskloop.clicks import Click
from maskloop.errors import JournalError
from maskloop.journal import (
    MAX_LINE,
    Entry,
    create_segment,
    decode_entry,
    encode_entry,
    mask_sha256,
    read_after,
    read_entries,
)
from tests.journal_entries import ENTRY, entry

EMPTY = replace(
    ENTRY,
    project=None,
    task=None,
    region=None,
    label=None,
    clicks=(),
    box=None,
    image_sha256=None,
    mask_sha256=None,
    iou=None,
    outcome="nothing",
)


def write(folder, *lines: bytes) -> int:
    """A new segment with these bytes; it stays open as long as its descriptor."""
    descriptor = create_segment(folder)
    os.write(descriptor, b"".join(lines))
    return descriptor


def read_all(folder, limit=2**20) -> bytes:
    parts, position = [], ""
    while True:
        lines, position = read_after(folder, position, limit)
        if not lines:
            return b"".join(parts)
        parts.append(lines)


@pytest.mark.parametrize(
    "original", [ENTRY, EMPTY, replace(ENTRY, label="Zelle \u00e4\U0001f9eb\ud800\n\u2028")]
)
def test_entry__comes_back_as_it_was(original):
    line = encode_entry(original)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_entry(line) == original


def test_entry__numbers_of_numpy_are_plain_and_rounded():
    values = replace(
        ENTRY,
        clicks=(Click(np.float64(1.23456), np.float32(2), positive=np.True_),),
        box=tuple(np.arange(4)),
        area=np.int64(5),
        iou=np.float32(0.123456),
        milliseconds=np.float64(1.26),
    )
    found = decode_entry(encode_entry(values))
    assert found.clicks == (Click(1.23, 2.0, True),)
    assert (found.box, found.area, found.iou, found.milliseconds) == ((0, 1, 2, 3), 5, 0.1235, 1.3)


def test_entry__a_field_of_a_later_version_is_passed_over():
    import zlib

    body = encode_entry(ENTRY)[9:-1].replace(b'{"time"', b'{"weather":"fine","time"')
    assert decode_entry(b"%08x %b\n" % (zlib.crc32(body), body)) == ENTRY


@pytest.mark.parametrize("region", ["anna@example.com", "/data/upload/x.png", "a b", "x" * 65, ""])
def test_entry__a_region_id_that_is_no_identifier_is_left_out(region):
    assert decode_entry(encode_entry(replace(ENTRY, region=region))).region is None


def test_entry__every_damaged_byte_is_noticed():
    line = encode_entry(ENTRY)
    for place in range(len(line) - 1):
        damaged = line[:place] + bytes([line[place] ^ 1]) + line[place + 1 :]
        with pytest.raises(JournalError, match="checksum"):
            decode_entry(damaged)
    for length in range(len(line) - 1):
        with pytest.raises(JournalError):
            decode_entry(line[:length])


@pytest.mark.parametrize("body", [b"[]", b"{}", b"12", b"nothing", b"\xff"])
def test_entry__a_right_checksum_of_something_else_is_damage(body):
    import zlib

    with pytest.raises(JournalError, match="no entry"):
        decode_entry(b"%08x %b\n" % (zlib.crc32(body), body))


def test_entry__holds_these_fields_and_no_others():
    """A field more is one to think about: nothing of a person, no token, no address may be written."""
    assert [field.name for field in fields(Entry)] == [
        "time",
        "project",
        "task",
        "region",
        "refined",
        "label",
        "shape",
        "clicks",
        "box",
        "height",
        "width",
        "image_sha256",
        "mask_sha256",
        "area",
        "iou",
        "model",
        "weights_sha256",
        "milliseconds",
        "predict_milliseconds",
        "outcome",
    ]


def test_prompts__a_box_is_one():
    assert ENTRY.prompts == 3
    assert EMPTY.prompts == 0


def test_mask_sha256__tells_size_and_pixels():
    mask = np.array([[True, False, True]])
    assert mask_sha256(mask) == sha256(b"1x3\n" + bytes([0b10100000])).hexdigest()
    assert mask_sha256(mask) != mask_sha256(mask.T)
    assert mask_sha256(mask) != mask_sha256(np.pad(mask, ((0, 0), (0, 1))))
    assert mask_sha256(np.asfortranarray(np.eye(5, 9, dtype=bool))) == mask_sha256(np.eye(5, 9, dtype=bool))


def test_read_entries__damage_costs_the_damaged_line_alone(tmp_path, caplog):
    lines = [encode_entry(entry(minute)) for minute in range(6)]
    damaged = lines[1].replace(b"Cell", b"cell")
    glued = lines[3][:100] + lines[4]
    os.close(write(tmp_path, lines[0], damaged, lines[2], glued, lines[5]))
    with caplog.at_level(logging.WARNING):
        reading = read_entries(tmp_path)
    assert reading.entries == (entry(0), entry(2), entry(5))
    assert reading.damaged == 2
    assert f"byte {len(lines[0])}:" in caplog.text


def test_read_entries__random_bytes_are_skipped(tmp_path):
    noise = np.random.default_rng(0).bytes(3 * MAX_LINE)
    os.close(write(tmp_path, encode_entry(entry(0)), noise, b"\n", encode_entry(entry(1)), noise))
    reading = read_entries(tmp_path)
    assert reading.entries == (entry(0), entry(1))
    assert reading.damaged > 1


def test_read_entries__a_torn_end_counts_only_when_nobody_writes_on(tmp_path):
    line = encode_entry(entry(0))
    descriptor = write(tmp_path, line, line[:50])
    assert (len(read_entries(tmp_path).entries), read_entries(tmp_path).damaged) == (1, 0)
    os.close(descriptor)
    assert (len(read_entries(tmp_path).entries), read_entries(tmp_path).damaged) == (1, 1)


def test_read_entries__no_folder_names_the_setting(tmp_path):
    with pytest.raises(JournalError, match="MASKLOOP_JOURNAL"):
        read_entries(tmp_path / "missing")


def test_create_segment__numbers_go_up_though_the_clock_goes_back(tmp_path, monkeypatch):
    os.close(create_segment(tmp_path))
    first = next(tmp_path.iterdir()).name
    monkeypatch.setattr("time.time_ns", lambda: 1_600_000_000_000_000_000)
    os.close(create_segment(tmp_path))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names[0] == first
    assert len(names) == 2


def test_read_after__goes_on_where_it_stopped(tmp_path):
    lines = [encode_entry(entry(minute)) for minute in range(4)]
    descriptor = write(tmp_path, *lines[:2])
    found, position = read_after(tmp_path)
    assert found == b"".join(lines[:2])
    assert read_after(tmp_path, position) == (b"", position)
    os.write(descriptor, lines[2] + lines[3][:30])
    found, position = read_after(tmp_path, position)
    assert found == lines[2]
    os.write(descriptor, lines[3][30:])
    found, position = read_after(tmp_path, position)
    assert found == lines[3]


def test_read_after__an_older_segment_that_still_grows_is_not_passed(tmp_path):
    lines = [encode_entry(entry(minute)) for minute in range(4)]
    older, newer = write(tmp_path, lines[0]), write(tmp_path, lines[1])
    found, position = read_after(tmp_path)
    assert found == lines[0] + lines[1]
    os.close(newer)
    os.write(older, lines[2])
    found, position = read_after(tmp_path, position)
    assert found == lines[2]
    os.close(older)
    found, position = read_after(tmp_path, position)
    assert found == b""
    assert position.isdecimal()  # of closed segments no offset is kept
    os.close(write(tmp_path, lines[3]))
    assert read_after(tmp_path, position)[0] == lines[3]


def test_read_after__a_torn_end_is_passed_once_its_writer_is_gone(tmp_path):
    line = encode_entry(entry(0))
    descriptor = write(tmp_path, line, line[:50])
    found, position = read_after(tmp_path)
    assert found == line
    os.close(descriptor)
    os.close(write(tmp_path, line))
    assert read_after(tmp_path, position)[0] == line


@pytest.mark.parametrize("limit", [1, MAX_LINE, MAX_LINE + 777, 2**20])
def test_read_after__any_limit_gives_all_lines_once(tmp_path, limit):
    expected = b""
    for segment in range(4):
        lines = [encode_entry(entry(minute, task=segment)) for minute in range(segment * 150)]
        os.close(write(tmp_path, *lines))
        expected += b"".join(lines)
    assert len(expected) > 5 * MAX_LINE
    assert read_all(tmp_path, limit) == expected
    lines, _ = read_after(tmp_path, "", limit)
    assert len(lines) <= max(limit, MAX_LINE)
    assert lines.endswith(b"\n")


def test_read_after__what_never_ends_is_got_past(tmp_path):
    line = encode_entry(entry(0))
    os.close(write(tmp_path, line, b"x" * 3 * MAX_LINE, b"\n", line))
    assert read_all(tmp_path, MAX_LINE).count(line) == 2


def test_read_after__an_emptied_folder_goes_on(tmp_path):
    line = encode_entry(entry(0))
    os.close(write(tmp_path, line))
    _, position = read_after(tmp_path)
    next(tmp_path.iterdir()).unlink()
    assert read_after(tmp_path, position)[0] == b""
    os.close(write(tmp_path, line))
    assert read_after(tmp_path, position)[0] == line


@pytest.mark.parametrize("position", ["x", "-1", "../x", "1,2", "1,2:3,", "9" * 5000, "1:2"])
def test_read_after__a_position_that_is_none(tmp_path, position):
    with pytest.raises(JournalError, match="no position"):
        read_after(tmp_path, position)
