"""Version: a registered checkpoint, as MLflow describes it."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Version:
    """A registered checkpoint. `tags` hold sha256, git_sha, dvc_lock_md5, snapshot, noc85, noc90, reason,
    and what came of it: decision, promoted, rolled_back. `created` is in seconds of the epoch.
    """

    number: int
    run_id: str
    source: str
    tags: Mapping[str, str]
    created: float = 0.0

    @property
    def served_as(self) -> str:
        """The model version that the backend's answers carry while this one is served."""
        return f"maskloop-v{self.number}"
