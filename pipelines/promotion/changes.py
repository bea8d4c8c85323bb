"""Changes of the champion: which version served since when, and who decided it, for what reason.

A change is written down before the alias `champion` moves, under the next free number. It happened if the
alias moved; the last one of a list may have been cut off before, and the next change takes its number.
"""

import getpass
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Literal, Self

from pipelines.errors import RegistryError

Kind = Literal["first", "promotion", "rollback"]
PREFIX = "champion."
"""Tags of the registered model that hold changes: `champion.0001`, `champion.0002`, …"""


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def minute(time: str) -> str:
    """A time for the screen: `2026-11-25 12:30`, in UTC as all times here."""
    return time[:16].replace("T", " ")


def user() -> str:
    """Who runs this, as far as the machine knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


@dataclass(frozen=True)
class Change:
    """Version `after` serves instead of version `before`; 0 where none served. `at` is ISO 8601 in UTC.

    forced: the gate had said no, or nothing.
    """

    kind: Kind
    before: int
    after: int
    because: str = ""
    by: str = field(default_factory=user)
    at: str = field(default_factory=now)
    forced: bool = False

    def __str__(self) -> str:
        what = f"version {self.after} promoted"
        if self.kind == "rollback":
            what = f"rolled back from version {self.before} to {self.after}"
        reason = f": {self.because}" if self.because else ""
        return f"{minute(self.at)} {what} by {self.by}{reason}"


@dataclass(frozen=True)
class Standing:
    """Who holds which alias, and the changes that led there, oldest first, all read at one moment."""

    aliases: Mapping[str, int] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()

    @classmethod
    def read(cls, aliases: Mapping[str, int], tags: Mapping[str, str]) -> Self:
        """From the aliases and tags of the registered model.

        Raises:
            RegistryError: a tag holds no change.
        """
        changes = [_parse(name, tags[name]) for name in sorted(tags) if name.startswith(PREFIX)]
        if changes and changes[-1].before == aliases.get("champion", 0):  # the alias never moved
            changes.pop()
        return cls(aliases, tuple(changes))

    @property
    def champion(self) -> int:
        """0 where none serves."""
        return self.aliases.get("champion", 0)

    @property
    def since(self) -> str:
        """When the champion began to serve; empty where that was not written down."""
        return self.changes[-1].at if self.changes and self.changes[-1].after == self.champion else ""

    def replaced(self) -> int:
        """The version that the champion was promoted over; 0 where there was none.

        A champion that a rollback brought back was promoted earlier, over the one before it.
        """
        promoted = [c for c in self.changes if c.after == self.champion and c.kind != "rollback"]
        if promoted:
            return promoted[-1].before
        previous = self.aliases.get("previous", 0)  # promoted before changes were written down
        return 0 if previous == self.champion else previous

    def brought_back_from(self) -> Change | None:
        """The rollback that made the champion serve, if nothing changed since."""
        last = self.changes[-1] if self.changes else None
        return last if last and last.kind == "rollback" and last.after == self.champion else None

    def rolled_back(self, number: int) -> Change | None:
        """The rollback that took this version out of service, unless it was promoted again."""
        concerned = [c for c in self.changes if number in (c.before, c.after)]
        last = concerned[-1] if concerned else None
        return last if last and last.kind == "rollback" and last.before == number else None

    def has_served(self, number: int) -> bool:
        served = {one for change in self.changes for one in (change.before, change.after)}
        return number in served | {self.aliases.get("previous"), self.champion}

    def next_tag(self) -> str:
        return f"{PREFIX}{len(self.changes) + 1:04d}"


def encode(change: Change) -> str:
    return json.dumps(asdict(change))


def _parse(name: str, text: str) -> Change:
    try:
        return Change(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise RegistryError(
            f"The tag {name} of the registered model holds no change ({error}): delete it in MLflow."
        ) from error
