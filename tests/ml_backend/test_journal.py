"""The journal of clicks as the service writes it: under load, on a full disk, and when it is killed."""

import itertools
import json
import logging
import multiprocessing
import os
import random
import resource
import signal
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest

from maskloop.clicks import Click
from maskloop.journal import MAX_LINE, decode_lines, encode_entry, read_after, read_entries
from ml_backend import journal as module
from ml_backend.journal import Journal
from tests.journal_entries import ENTRY, entry

CLICKS = tuple(Click(row / 3, 7.5) for row in range(60))


def append_forever(folder, project, acknowledge):
    """What a process does that is going to be killed: after each entry it says so."""
    journal = Journal(folder, segment_bytes=20_000)
    for number in itertools.count():
        journal.append(entry(project=project, task=number, clicks=CLICKS[: number % 60]))
        acknowledge.send_bytes(b"")


@pytest.fixture
def journal(tmp_path):
    opened = Journal(tmp_path / "journal", retry_seconds=0)
    yield opened
    opened.close()


@contextmanager
def disk_of(size: int):
    """No file may grow beyond this many bytes: a write that crosses it is cut off, as by a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_append__is_read_at_once_and_after_closing(journal, tmp_path):
    journal.append(entry(0))
    journal.append(entry(1))
    assert read_entries(tmp_path / "journal").entries == (entry(0), entry(1))
    journal.close()
    assert read_entries(tmp_path / "journal").entries == (entry(0), entry(1))
    assert (journal.written, journal.lost, journal.failing) == (2, 0, False)


def test_append__starts_a_segment_when_one_is_full_and_when_a_process_starts(tmp_path):
    line = len(encode_entry(entry(0)))
    for _ in range(2):
        journal = Journal(tmp_path, segment_bytes=3 * line)
        for minute in range(4):
            journal.append(entry(minute))
        journal.close()
    sizes = [path.stat().st_size for path in sorted(tmp_path.iterdir())]
    assert sizes == [3 * line, line, 3 * line, line]
    assert len(read_entries(tmp_path).entries) == 8


def test_append__from_many_threads_mixes_no_lines(journal, tmp_path):
    def write(task):
        for minute in range(200):
            journal.append(entry(minute, task=task))

    threads = [threading.Thread(target=write, args=(task,)) for task in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reading = read_entries(tmp_path / "journal")
    assert reading.damaged == 0
    for task in range(4):
        expected = [entry(minute, task=task) for minute in range(200)]
        assert [found for found in reading.entries if found.task == task] == expected


def test_append__a_full_disk_costs_the_entry_is_said_once_and_ends(journal, tmp_path, caplog):
    line = len(encode_entry(ENTRY))
    journal.append(entry(0))
    with caplog.at_level(logging.WARNING), disk_of(2 * line - 100):
        for minute in range(1, 6):
            journal.append(entry(minute))
        assert (journal.written, journal.lost, journal.failing) == (1, 5, True)
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "MASKLOOP_JOURNAL" in caplog.text
    journal.append(entry(6))
    journal.append(entry(7))
    assert not journal.failing
    reading = read_entries(tmp_path / "journal")
    assert reading.entries == (entry(0), entry(6), entry(7))
    assert reading.damaged == 1  # the line that was cut off
    lines, _ = read_after(tmp_path / "journal")
    assert decode_lines(lines, tmp_path).entries == reading.entries


def test_append__a_folder_that_cannot_be_made_is_tried_again(tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    journal = Journal(blocked / "journal", retry_seconds=0)
    for minute in range(3):
        journal.append(entry(minute))
    assert (journal.written, journal.lost) == (0, 3)
    assert caplog.text.count("cannot be written") == 1
    blocked.unlink()
    journal.append(entry(3))
    journal.close()
    assert read_entries(blocked / "journal").entries == (entry(3),)


def test_append__after_a_failure_the_disk_is_left_alone_for_a_while(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    journal = Journal(blocked / "journal", retry_seconds=60)
    journal.append(entry(0))
    blocked.unlink()
    journal.append(entry(1))
    journal.close()
    assert journal.lost == 2
    assert not blocked.exists()


def test_append__a_segment_that_was_deleted_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SYNC_SECONDS", 0.02)
    journal = Journal(tmp_path)
    journal.append(entry(0))
    next(tmp_path.iterdir()).unlink()
    until = time.monotonic() + 5
    while not list(tmp_path.iterdir()) and time.monotonic() < until:
        time.sleep(0.02)
        journal.append(entry(1))
    journal.close()
    assert read_entries(tmp_path).entries[-1] == entry(1)


def test_append__an_entry_too_long_for_a_line_is_left_out(journal, tmp_path, caplog):
    journal.append(replace(ENTRY, label="x" * MAX_LINE))
    journal.append(entry(1))
    assert (journal.written, journal.lost) == (1, 1)
    assert "too long" in caplog.text
    assert read_entries(tmp_path / "journal").entries == (entry(1),)


def test_sync__happens_within_a_second_and_at_the_end(tmp_path, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: (synced.append(os.fstat(descriptor)), real(descriptor))
    )
    monkeypatch.setattr(module, "SYNC_SECONDS", 0.05)
    journal = Journal(tmp_path)
    journal.append(entry(0))
    until = time.monotonic() + 5
    while len(synced) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert len(synced) == 2  # the file, and the folder that has its name
    time.sleep(0.2)
    assert len(synced) == 2  # nothing new, nothing to do
    journal.append(entry(1))
    journal.close()
    assert len(synced) == 3


def test_sync__a_disk_that_fails_is_said_once_and_stops_no_clicks(tmp_path, monkeypatch, caplog):
    def fail(descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    monkeypatch.setattr(module, "SYNC_SECONDS", 0.02)
    journal = Journal(tmp_path)
    journal.append(entry(0))
    time.sleep(0.2)
    journal.append(entry(1))
    journal.close()
    assert (journal.written, journal.lost) == (2, 0)
    assert caplog.text.count("does not reach the disk") == 1


def test_append__waits_for_no_disk(tmp_path, monkeypatch):
    """While the disk takes its time to flush, clicks are not held up."""
    started = threading.Event()

    def slow(descriptor):
        started.set()
        time.sleep(0.5)

    monkeypatch.setattr(os, "fsync", slow)
    monkeypatch.setattr(module, "SYNC_SECONDS", 0.01)
    journal = Journal(tmp_path)
    journal.append(entry(0))
    assert started.wait(5)
    begun = time.perf_counter()
    journal.append(entry(1))
    assert time.perf_counter() - begun < 0.25
    journal.close()


def test_journal__killed_at_random_moments_keeps_what_was_acknowledged(tmp_path):
    """Two processes write to one folder and are killed, again and again, while this one reads along."""
    random.seed(4)
    processes = multiprocessing.get_context("forkserver")  # torch is imported once, not by every process
    processes.set_forkserver_preload([__name__])
    position, collected = "", b""
    for round_ in range(20):
        writers = [start_writer(processes, tmp_path, 2 * round_ + index) for index in range(2)]
        for _, acknowledged in writers:
            acknowledged.recv_bytes()  # it is up, and has written
        lines, position = read_after(tmp_path, position)
        collected += lines
        time.sleep(random.uniform(0, 0.06))
        for process, _ in writers:
            process.kill()
        for process, _ in writers:
            process.join()
        reading = read_entries(tmp_path)
        for index, (process, acknowledged) in enumerate(writers):
            count = 1 + count_messages(acknowledged)
            assert process.exitcode == -signal.SIGKILL
            written = [found.task for found in reading.entries if found.project == 2 * round_ + index]
            assert written == list(range(len(written)))
            assert count <= len(written) <= count + 1
    while lines:
        lines, position = read_after(tmp_path, position)
        collected += lines
    assert sorted(map(encode_entry, reading.entries)) == sorted(collected.splitlines(keepends=True))


def start_writer(processes, folder, project):
    receiving, sending = processes.Pipe(duplex=False)
    process = processes.Process(target=append_forever, args=(folder, project, sending), daemon=True)
    process.start()
    sending.close()
    return process, receiving


def count_messages(connection) -> int:
    count = 0
    with connection, suppress(EOFError):
        while True:
            connection.recv_bytes()
            count += 1
    return count


def test_journal__holds_nothing_of_a_person(tmp_path, wire):
    """A request full of tokens, addresses and names leaves none of them in the journal."""
    body = wire("predict_interactive_3_keypoints_one_negative")
    secrets = plant_secrets(body)
    results = body["params"]["context"]["result"]
    journal = Journal(tmp_path)
    journal.append(
        replace(
            ENTRY,
            task=body["tasks"][0]["id"],
            region=secrets["email"],  # an id that a request brings along may be anything
            label=next(value for key, value in results[0]["value"].items() if key.endswith("labels"))[0],
            clicks=tuple(Click(item["value"]["y"], item["value"]["x"]) for item in results),
        )
    )
    journal.close()
    written = b"".join(path.name.encode() + path.read_bytes() for path in tmp_path.iterdir()).decode()
    assert written.count("\n") == 1
    for secret in (*secrets.values(), "http", "://", "@", "/data/", "upload", os.uname().nodename):
        assert secret not in written


def plant_secrets(body) -> dict[str, str]:
    """What a Label Studio may send along with a task, and a client beside it."""
    secrets = {
        "email": "anna.smith@example.com",
        "name": "Anna Smith",
        "token": "0123456789abcdef0123456789abcdef01234567",
        "image": "https://bucket.example.com/photo.png?X-Amz-Signature=abcdef",
    }
    task = body["tasks"][0]
    task["data"] = dict.fromkeys(task["data"], secrets["image"])
    task["updated_by"] = [{"email": secrets["email"], "first_name": secrets["name"]}]
    body["params"] |= {"login": secrets["email"], "password": secrets["token"]}
    assert all(secret in json.dumps(body) for secret in secrets.values())
    return secrets
