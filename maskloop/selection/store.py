"""Store: profiles that were made before, by image and model, so that a ranking costs only what is new.

One SQLite file, which may be deleted at any time. Each profile is written at once, so a run that was cut off
loses one at most.
"""

import json
import math
import sqlite3
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from maskloop.errors import SelectionError
from maskloop.selection.profiles import SIGNALS, ProbeConfig, Profile

SCHEMA = """
CREATE TABLE IF NOT EXISTS profiles (
    model TEXT, image TEXT, probes BLOB, entropy REAL, descriptor BLOB, PRIMARY KEY (model, image)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS images (reference TEXT PRIMARY KEY, image TEXT) WITHOUT ROWID;
"""


class ProfileStore:
    """Profiles by one model under one configuration; others may be in the same file."""

    def __init__(self, path: Path, model: str, config: ProbeConfig | None = None) -> None:
        """Open the file, or make it.

        Args:
            path: of the file.
            model: sha256 of the weights.
            config: of the probes; profiles made with another one are not these.

        Raises:
            SelectionError: it cannot be opened, or is something else.
        """
        made_by = json.dumps([model, asdict(config or ProbeConfig()), SIGNALS])
        self._model = sha256(made_by.encode()).hexdigest()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(path, timeout=60)
            self._file.executescript(SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise SelectionError(
                f"profiles cannot be kept in {str(path)!r} ({error}); delete it, or name another file"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def get(self, image: str) -> Profile | None:
        """The profile of the image with this sha256. One without probes was made of what is labelled."""
        query = "SELECT probes, entropy, descriptor FROM profiles WHERE model = ? AND image = ?"
        row = self._file.execute(query, (self._model, image)).fetchone()
        try:
            probes = np.frombuffer(row[0], np.float32).reshape(-1, len(SIGNALS))
            entropy = math.nan if row[1] is None else float(row[1])  # SQLite has no NaN
            return Profile(probes, entropy, np.frombuffer(row[2], np.float16).astype(np.float32))
        except (TypeError, ValueError):  # there is none, or it is damaged: it is made anew
            return None

    def put(self, image: str, profile: Profile) -> None:
        """Keep a profile."""
        values = (profile.probes.tobytes(), profile.entropy, profile.descriptor.astype(np.float16).tobytes())
        with self._file:
            self._file.execute(
                "INSERT OR REPLACE INTO profiles VALUES (?, ?, ?, ?, ?)", (self._model, image, *values)
            )

    def image(self, reference: str) -> str | None:
        """The sha256 of the image that an address named when it was fetched last."""
        row = self._file.execute("SELECT image FROM images WHERE reference = ?", (reference,)).fetchone()
        return None if row is None else str(row[0])

    def remember(self, reference: str, image: str) -> None:
        """Remember what an address names, so that it need not be fetched again."""
        with self._file:
            self._file.execute("INSERT OR REPLACE INTO images VALUES (?, ?)", (reference, image))
