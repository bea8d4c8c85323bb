"""Collecting the journal: from its folder, or from a service on another machine, into a copy of our own.

The copy of each journal is a file of its lines and, beside it, the position up to which it was read. The
position is written last: a collect that was cut off reads some lines again, and equal entries count once.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from maskloop.errors import JournalError
from maskloop.journal import Reading, decode_lines, read_after
from pipelines.files import write_atomically

CLICKS = Path(".maskloop/clicks")
"""Where the copies lie, below the repository that retrains."""

POSITION_HEADER = "X-Journal-Position"
"""Header of `GET /journal` with the position to go on from."""

_LINES, _POSITION = "clicks.log", "position"


class Source(Protocol):
    """A journal, wherever it is. `name` tells it from other journals and holds no secret."""

    @property
    def name(self) -> str: ...
    def read_after(self, position: str) -> tuple[bytes, str]: ...


class FolderSource:
    """The journal in a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.name = str(folder.resolve())

    def read_after(self, position: str) -> tuple[bytes, str]:
        return read_after(self._folder, position)


class ServiceSource:
    """The journal of a running service, by its route `GET /journal`."""

    def __init__(self, url: str, user: str = "", password: str = "") -> None:
        self.name = url.rstrip("/")
        self._login = (user, password) if user else None

    def read_after(self, position: str) -> tuple[bytes, str]:
        """Raises JournalError when the service does not answer, refuses, or keeps no journal."""
        import httpx

        try:
            reply = httpx.get(
                f"{self.name}/journal", params={"after": position}, auth=self._login, timeout=60
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise JournalError(
                f"{self.name} does not answer ({error}): start the service, or correct the address."
            ) from error
        following = reply.headers.get(POSITION_HEADER)
        if reply.status_code != httpx.codes.OK or following is None:
            raise JournalError(
                f"{self.name}/journal answered {reply.status_code}{_remedy(reply.status_code)}"
            )
        return reply.content, following


def open_source(journal: str, environment: Mapping[str, str] = os.environ) -> Source:
    """The journal that a folder or a service's address names.

    A service is asked with the user and password of `MASKLOOP_BASIC_USER` and `MASKLOOP_BASIC_PASSWORD`.

    Raises:
        JournalError: the address holds a password, which would end up in logs.
    """
    parts = urlsplit(journal)
    if parts.scheme not in {"http", "https"}:
        return FolderSource(Path(journal))
    if "@" in parts.netloc:
        raise JournalError(
            f"The address of {parts.hostname} holds a user or password: "
            "set MASKLOOP_BASIC_USER and MASKLOOP_BASIC_PASSWORD instead."
        )
    return ServiceSource(
        journal, environment.get("MASKLOOP_BASIC_USER", ""), environment.get("MASKLOOP_BASIC_PASSWORD", "")
    )


def collect_clicks(source: Source, folder: Path) -> int:
    """Append what is new in a journal to its copy under `folder`; returns the number of new lines.

    Raises:
        JournalError: the journal cannot be read.
    """
    copy = folder / hashlib.sha256(source.name.encode()).hexdigest()[:12]
    place = copy / _POSITION
    position = place.read_text(encoding="ascii") if place.exists() else ""
    new = 0
    while True:
        lines, following = source.read_after(position)
        if lines:
            _append(copy / _LINES, lines)
        if following != position:
            write_atomically(place, following.encode("ascii"))
        if not lines:
            return new
        new += lines.count(b"\n")
        position = following


def read_clicks(folder: Path) -> Reading:
    """The entries of all copies under `folder`, each once, in the order of time."""
    readings = [decode_lines(path.read_bytes(), path) for path in copies(folder)]
    entries = dict.fromkeys(entry for reading in readings for entry in reading.entries)
    return Reading(
        tuple(sorted(entries, key=lambda entry: entry.time)), sum(reading.damaged for reading in readings)
    )


def copies(folder: Path) -> list[Path]:
    """The files of lines that were collected, in a fixed order."""
    return sorted(folder.glob(f"*/{_LINES}"))


def _append(path: Path, lines: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b", buffering=0) as file:
        if file.seek(0, os.SEEK_END) and _last_byte(file.fileno()) != b"\n":
            lines = b"\n" + lines  # the collect before was cut off within a line
        file.write(lines)
        os.fsync(file.fileno())


def _last_byte(descriptor: int) -> bytes:
    return os.pread(descriptor, 1, os.fstat(descriptor).st_size - 1)


def _remedy(status: int) -> str:
    if status in (401, 403):
        return ": check MASKLOOP_BASIC_USER and MASKLOOP_BASIC_PASSWORD."
    if status == 404:
        return ": set MASKLOOP_JOURNAL for the service, so that it keeps one."
    return ": is this the address of maskloop's service? See its log."
