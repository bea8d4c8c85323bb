"""Trails: the clicks that led to a mask that was kept, looked up in the copies of the journal.

A journal is long and a collect asks for few of its tasks. So its lines are searched for their task first,
and only those that are asked for are read.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from maskloop.clicks import Click
from maskloop.errors import JournalError
from maskloop.journal import Entry, decode_entry, mask_sha256
from maskloop.runs import Runs
from pipelines.clicks.collecting import collect_clicks, copies, open_source
from pipelines.clicks.sessions import Session, follow_sessions

# A label may hold these characters, too, but its quotation marks are escaped.
_TASK = re.compile(rb'^[0-9a-f]{8} .*?"task":(\d+)[,}].*$', re.MULTILINE)


@dataclass(frozen=True)
class Trail:
    """How a mask came about.

    taken: the answer that was kept, or that somebody drew on.
    edited: somebody drew on it.
    steps: of each session that led to the mask, by its number, the last request up to the one taken.
    """

    taken: Entry
    edited: bool
    steps: dict[int, Entry]

    @property
    def clicks(self) -> list[Click]:
        """All clicks in the order they were made."""
        return [click for step in self.steps.values() for click in step.clicks]


def follow_trail(region: str, mask: str, sessions: Sequence[Session]) -> Trail:
    """The trail of a region.

    A refined region has the same id in several sessions. The mask kept tells which answer was the last that
    was taken: later ones were rejected. If it is none of them, somebody drew on the last.

    Args:
        region: its id.
        mask: `mask_sha256` of the mask kept.
        sessions: of its task, oldest first; one at least answered with the region.
    """
    answers = sorted(
        (entry for session in sessions for entry in session if entry.region == region),
        key=lambda entry: entry.time,
    )
    same = [entry for entry in answers if entry.mask_sha256 == mask]
    taken = same[-1] if same else answers[-1]
    steps = {}
    for number, session in enumerate(sessions):
        for entry in session:
            if entry.region == region and entry.time <= taken.time:
                steps[number] = entry
    return Trail(taken, not same, steps)


class Trails:
    """The trails of regions, task by task. It holds where the lines of each task are, and no more."""

    def __init__(self, folder: Path) -> None:
        """`folder` is that of `collect_clicks`; there may be nothing in it."""
        self._places: dict[int, list[tuple[Path, int, int]]] = {}
        for path in copies(folder):
            for line in _TASK.finditer(path.read_bytes()):
                self._places.setdefault(int(line[1]), []).append((path, line.start(), len(line[0])))
        self._task, self._sessions = 0, list[Session]()

    def clicks(self, task: int, region: str, mask: Runs) -> list[Click]:
        """The clicks that led to a region of a task, whose mask is the one kept; none if it is not known."""
        if task not in self._places:
            return []
        if task != self._task:
            self._task, self._sessions = task, follow_sessions(dict.fromkeys(self._entries(task)))
        if all(entry.region != region for session in self._sessions for entry in session):
            return []
        return follow_trail(region, mask_sha256(mask.mask()), self._sessions).clicks

    def _entries(self, task: int) -> Iterator[Entry]:
        for path, start, size in self._places[task]:
            with path.open("rb") as file:
                file.seek(start)
                try:
                    entry = decode_entry(file.read(size))
                except JournalError:  # `read_clicks` counts and logs it
                    continue
            if entry.task == task:
                yield entry


def collect_trails(journal: str, folder: Path, warn: Callable[[str], None]) -> Trails:
    """The trails of a journal as it is now. If it cannot be read, that is no reason to collect no masks.

    Args:
        journal: its folder, or the address of the service that keeps it; empty where there is none.
        folder: of the copies.
        warn: told why the journal cannot be read; the trails are then of what was copied before.
    """
    if journal:
        try:
            collect_clicks(open_source(journal), folder)
        except JournalError as error:
            warn(f"the newest clicks stay unknown: {error}")
    return Trails(folder)
