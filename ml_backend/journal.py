"""The journal that the service keeps of clicks and answers; `maskloop.journal` reads it.

An entry is one write to a file that only this process appends to, so it survives the death of the process as
soon as `append` returns, and that of the machine about a second later. A disk that is full or missing costs
entries and never a click.
"""

import errno
import logging
import os
import threading
import time
from pathlib import Path

from maskloop.journal import MAX_LINE, Entry, create_segment, encode_entry

logger = logging.getLogger(__name__)

SEGMENT_BYTES = 16 * 2**20
SYNC_SECONDS = 1.0
RETRY_SECONDS = 5.0


class Journal:
    """Appends entries to segments in a folder. Any thread may append.

    written: entries that are in the file.
    lost: entries that could not be written.
    failing: whether the newest one could not.
    """

    def __init__(
        self, folder: Path, segment_bytes: int = SEGMENT_BYTES, retry_seconds: float = RETRY_SECONDS
    ) -> None:
        self.written = 0
        self.lost = 0
        self.failing = False
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._retry_seconds = retry_seconds
        self._retry_at = 0.0
        self._unsynced = False
        self._segment: _Segment | None = None
        self._retired: list[_Segment] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._syncer = threading.Thread(target=self._sync_forever, name="journal", daemon=True)
        self._syncer.start()

    def append(self, entry: Entry) -> None:
        """Write an entry. A disk never makes it raise: what is not written is counted in `lost`."""
        line = encode_entry(entry)
        with self._lock:
            if len(line) > MAX_LINE:
                self.lost += 1
                logger.warning("An entry of %d bytes is too long for the journal: it is left out.", len(line))
                return
            if self.failing and time.monotonic() < self._retry_at:
                self.lost += 1
                return
            try:
                self._write(line)
            except OSError as error:
                self.lost += 1
                self._fail(error)
                return
            self.written += 1
            self._recover()

    def close(self) -> None:
        """Bring everything to the disk. Nothing may be appended afterwards."""
        self._closing.set()
        self._syncer.join()
        with self._lock:
            self._retire()
        self._sync()

    def _write(self, line: bytes) -> None:
        if self._segment is None:
            self._segment = _Segment(self._folder)
        self._segment.write(line)
        if self._segment.size >= self._segment_bytes:
            self._retire()

    def _retire(self) -> None:
        """Let the next entry start a segment; the old one is closed once it is on the disk."""
        if self._segment is not None:
            self._retired.append(self._segment)
            self._segment = None

    def _fail(self, error: OSError) -> None:
        if not self.failing:
            logger.error(
                "The click journal in %s cannot be written: %s. Clicks are answered all the same, and their "
                "entries are lost. Free space there, or let MASKLOOP_JOURNAL name a folder that may be "
                "written; it is tried again every %g s.",
                self._folder,
                error.strerror,
                self._retry_seconds,
            )
        self.failing = True
        self._retry_at = time.monotonic() + self._retry_seconds

    def _recover(self) -> None:
        if self.failing:
            logger.warning("The click journal is written again; %d entries were lost so far.", self.lost)
        self.failing = False

    def _sync_forever(self) -> None:
        while not self._closing.wait(SYNC_SECONDS):
            self._sync()

    def _sync(self) -> None:
        """Bring to the disk what was written; without the lock, as clicks do not wait for that."""
        with self._lock:
            if self._segment is not None and self._segment.is_deleted:
                self._retire()
            retired, self._retired = self._retired, []
            current = self._segment
        for segment in retired:
            self._sync_one(segment)
            segment.close()
        if current is not None:
            self._sync_one(current)

    def _sync_one(self, segment: "_Segment") -> None:
        try:
            segment.sync()
        except OSError as error:
            if not self._unsynced:
                logger.error(  # noqa: TRY400 - the reason is in the message
                    "The click journal in %s does not reach the disk: %s. Entries are lost if the machine "
                    "stops now; check its disk.",
                    self._folder,
                    error.strerror,
                )
            self._unsynced = True
        else:
            self._unsynced = False


class _Segment:
    """A file that this process writes. Only the thread that syncs closes it."""

    def __init__(self, folder: Path) -> None:
        self.size = 0
        self._folder = folder
        self._descriptor = create_segment(folder)
        self._synced = -1
        self._torn = False

    @property
    def is_deleted(self) -> bool:
        return os.fstat(self._descriptor).st_nlink == 0

    def write(self, line: bytes) -> None:
        """Append a line by one write. One that a full disk cut off is ended before the next."""
        data = b"\n" + line if self._torn else line
        written = os.write(self._descriptor, data)
        self.size += written
        self._torn = written < len(data)
        if self._torn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self) -> None:
        size = self.size
        if size == self._synced:
            return
        os.fsync(self._descriptor)
        if self._synced < 0:
            _sync_folder(self._folder)  # the name of a new file is part of its folder
        self._synced = size

    def close(self) -> None:
        os.close(self._descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
