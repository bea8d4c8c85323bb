"""Files of a journal: a folder of segments, each written by one process.

A segment `clicks-<number>.log` is only ever appended to. Its number is larger than those of all segments
before it, and its writer keeps it locked, so that a reader knows which segments may still grow; the kernel
lifts the lock of a writer that was killed. Segments are created and listed under a lock of the folder.
"""

import fcntl
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from maskloop.errors import JournalError
from maskloop.journal.entry import MAX_LINE, Entry, decode_entry

logger = logging.getLogger(__name__)

_NAME = re.compile(r"clicks-(\d{16,18})\.log")
_POSITION = re.compile(r"\d{1,18}(,\d{1,18}:\d{1,18}){0,1000}")


@dataclass(frozen=True)
class Reading:
    """What was read: the entries, and how many lines were damaged and are left out."""

    entries: tuple[Entry, ...]
    damaged: int


@dataclass(frozen=True)
class _Segment:
    """`closed`: nobody will write to it any more."""

    number: int
    path: Path
    closed: bool


@dataclass(frozen=True)
class _Position:
    """How far a reader got: segments up to `passed` are done, but those that were still open."""

    passed: int = 0
    open: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "_Position":
        if not text:
            return cls()
        if not _POSITION.fullmatch(text):
            raise JournalError(
                f"{text[:80]!r} is no position of a journal: give the one of the answer before, or none."
            )
        passed, *parts = text.split(",")
        pairs = (part.split(":") for part in parts)
        return cls(int(passed), {int(number): int(offset) for number, offset in pairs})

    def __str__(self) -> str:
        parts = [f"{number}:{offset}" for number, offset in sorted(self.open.items())]
        return ",".join([str(self.passed), *parts])

    def start(self, segment: _Segment) -> int | None:
        """Where to go on reading a segment, in bytes; None if it is done."""
        if segment.number > self.passed:
            return 0
        return self.open.get(segment.number)


def create_segment(folder: Path) -> int:
    """Make the folder's next segment; returns its descriptor, for appending, with the segment locked.

    Raises:
        OSError: the folder cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder, fcntl.LOCK_EX):
        newest = max((number for number, _ in _listed(folder)), default=0)
        # by the clock, so that numbers go on when somebody emptied the folder
        number = max(time.time_ns() // 1000, newest + 1)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
        descriptor = os.open(folder / f"clicks-{number}.log", flags, 0o640)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
    return descriptor


def read_entries(folder: Path) -> Reading:
    """All entries, segment by segment. It may be called while others write.

    Raises:
        JournalError: there is no such folder, or it cannot be read.
    """
    readings = [_read_segment(segment) for segment in _survey(folder)]
    entries = tuple(entry for reading in readings for entry in reading.entries)
    return Reading(entries, sum(reading.damaged for reading in readings))


def read_after(folder: Path, position: str = "", limit: int = 2**20) -> tuple[bytes, str]:
    """The whole lines that follow a position, and the position after them. Others may write meanwhile.

    Args:
        folder: of the journal.
        position: what the call before returned; empty at first.
        limit: bytes that are wanted at most; `MAX_LINE` are given at least, if there are as many.

    Returns:
        Lines, empty when there is nothing new, and the position to go on from.

    Raises:
        JournalError: there is no such folder, it cannot be read, or the position is none.
    """
    place = _Position.parse(position)
    room = max(limit, MAX_LINE)
    parts: list[bytes] = []
    passed, unfinished = place.passed, dict(place.open)
    for segment in _survey(folder):
        start = place.start(segment)
        if start is None:
            continue
        if not room:
            break
        data = _read(segment.path, start, room)
        lines = _whole_lines(data)
        ended = segment.closed and len(data) < room
        parts.append(lines)
        passed = max(passed, segment.number)
        if ended:
            unfinished.pop(segment.number, None)
            _note_torn(segment, start + len(lines), len(data) - len(lines))
        else:
            unfinished[segment.number] = start + len(lines)
        room = 0 if len(data) == room else room - len(lines)
    return b"".join(parts), str(_Position(passed, unfinished))


def decode_lines(data: bytes, path: Path) -> Reading:
    """Read lines of which some may be damaged: those are left out, counted, and logged with their place."""
    entries, damaged, offset = [], 0, 0
    for line in data.splitlines(keepends=True):
        try:
            if line != b"\n":  # closes a line that a full disk cut off
                entries.append(decode_entry(line))
        except JournalError as error:
            damaged += 1
            logger.warning("%s, byte %d: %s; it is left out", path, offset, error)
        offset += len(line)
    return Reading(tuple(entries), damaged)


def _read_segment(segment: _Segment) -> Reading:
    data = _read(segment.path, 0, -1)
    lines = data[: data.rfind(b"\n") + 1]
    reading = decode_lines(lines, segment.path)
    torn = len(data) - len(lines)
    if not (torn and segment.closed):  # what is being written now is not damaged
        return reading
    _note_torn(segment, len(lines), torn)
    return Reading(reading.entries, reading.damaged + 1)


def _whole_lines(data: bytes) -> bytes:
    """All up to the last newline; what has none and is too long for a line is given too, to get past it."""
    end = data.rfind(b"\n") + 1
    return data[:end] if end or len(data) < MAX_LINE else data


def _note_torn(segment: _Segment, offset: int, size: int) -> None:
    if size:
        logger.warning(
            "%s, byte %d: the last %d bytes are no whole line, as its writer was cut off; they are left out",
            segment.path,
            offset,
            size,
        )


def _survey(folder: Path) -> list[_Segment]:
    """The segments there are, oldest first."""
    try:
        with _locked(folder, fcntl.LOCK_SH):
            return [_Segment(number, path, _is_closed(path)) for number, path in sorted(_listed(folder))]
    except OSError as error:
        raise _unreadable(folder, error) from error


def _listed(folder: Path) -> Iterator[tuple[int, Path]]:
    for path in folder.iterdir():
        if match := _NAME.fullmatch(path.name):
            yield int(match[1]), path


def _is_closed(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)  # lifts the lock
    return True


def _read(path: Path, start: int, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(size)
    except OSError as error:
        raise _unreadable(path, error) from error


@contextmanager
def _locked(folder: Path, kind: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)


def _unreadable(path: Path, error: OSError) -> JournalError:
    return JournalError(
        f"The journal {path} cannot be read: {error.strerror}. Give the folder that MASKLOOP_JOURNAL names."
    )
