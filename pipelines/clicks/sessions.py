"""Sessions: the requests that led to one mask.

A request of Label Studio holds all prompts of its mask so far, and each answer has an id of its own. So what
belongs together is told by the prompts: the same first click, exact to a fraction of a pixel, or the same
box, in the same task under the same label. Taking back or moving a later click stays in the session; moving
the only click starts another.
"""

from collections.abc import Hashable, Iterable, Iterator

from maskloop.journal import Entry

Session = list[Entry]
"""Entries in the order of time, at least one."""


def follow_sessions(entries: Iterable[Entry]) -> list[Session]:
    """Divide entries into sessions, oldest first. Entries without prompts belong to none."""
    sessions: list[Session] = []
    known: dict[Hashable, Session] = {}
    for entry in sorted(entries, key=lambda entry: entry.time):
        keys = list(_keys(entry))
        if not keys:
            continue
        session = next((known[key] for key in keys if key in known), None)
        if session is None:
            session = []
            sessions.append(session)
        session.append(entry)
        known |= dict.fromkeys(keys, session)
    return sessions


def _keys(entry: Entry) -> Iterator[Hashable]:
    """What another request of the session has in common with this one, the surest first."""
    place = (entry.project, entry.task, entry.label)
    if entry.clicks:
        yield (*place, entry.clicks[0])
    if entry.box is not None:
        yield (*place, entry.box)
