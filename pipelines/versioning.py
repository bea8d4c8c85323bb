"""Versions: a git worktree for every retrain, data under DVC, and the branch that names the newest data.

A person's checkout is never touched or locked: code comes from HEAD, data from the branch
`maskloop/snapshot`, both into a worktree under `.maskloop/worktrees`, which shares the DVC cache.

  retrain/<id>          one run: first the commit of its snapshot, then the commit of its result
  maskloop/snapshot     the newest committed snapshot
  maskloop/trained      the newest snapshot that a challenger was trained and judged on

Several clones may retrain in turn, on one machine or on many: `git config maskloop.remote origin` in each
names the git remote that these branches are then fetched from and pushed to. The bytes go through DVC's.
"""

import fcntl
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pipelines.commands import Log, run
from pipelines.data.snapshot import PATH as SNAPSHOT
from pipelines.data.snapshot import Snapshot, parse_snapshot, write_snapshot
from pipelines.errors import CommandError, SnapshotError

SNAPSHOT_BRANCH = "maskloop/snapshot"
TRAINED_BRANCH = "maskloop/trained"
WORKTREES = Path(".maskloop/worktrees")
DATA = ("data/annotations", "data/images", "data/split", "data/findings")
_IDENTITY = ("-c", "user.name=maskloop", "-c", "user.email=maskloop@localhost", "-c", "commit.gpgsign=false")


@dataclass(frozen=True)
class Worktree:
    """A checkout of its own for one run. `root` is the repository that it belongs to.

    data: the commit of `maskloop/snapshot` whose data it holds; empty when there was none.
    """

    root: Path
    path: Path
    branch: str
    log: Log
    data: str = ""

    def git(self, *arguments: str) -> str:
        return run(["git", *arguments], self.path, _silent).strip()

    def dvc(self, *arguments: str) -> str:
        return run([sys.executable, "-m", "dvc", *arguments], self.path, self.log)

    @property
    def commit_id(self) -> str:
        return self.git("rev-parse", "HEAD")

    def commit(self, message: str, paths: Sequence[str]) -> str:
        """Commit `paths`, where they changed, and return the id of the newest commit."""
        present = [path for path in paths if (self.path / path).exists()]
        self.git("add", "--", *present)
        if self.git("status", "--porcelain", "--untracked-files=no"):
            # a person's hooks are for a person's commits
            self.git(*_IDENTITY, "commit", "--quiet", "--no-verify", "-m", message)
        return self.commit_id

    def commit_snapshot(self, snapshot: Snapshot) -> str:
        """Put the collected files under DVC, commit them, and move the snapshot branch last.

        Raises:
            CommandError: git or DVC failed, or another run moved the branch meanwhile; it stays where it was.
        """
        folders = [folder for folder in DATA if (self.path / folder).is_dir()]
        if not folders:  # nothing has ever been collected
            return self.commit_id
        write_snapshot(self.path, snapshot)
        self.dvc("add", *folders)
        described = [f"{folder}.dvc" for folder in folders]
        commit = self.commit(f"Snapshot {snapshot.name}: {snapshot.masks} masks", [str(SNAPSHOT), *described])
        self.dvc("push", *described)
        # from what this run began with: another run may have committed since
        move_branch(self.root, SNAPSHOT_BRANCH, commit, self.data)
        return commit


@contextmanager
def open_worktree(root: Path, name: str, log: Log) -> Iterator[Worktree]:
    """A worktree on the new branch `retrain/<name>`, with the newest data; removed at the end.

    The branch stays if anything was committed on it. What a run left that was killed is removed first.

    Raises:
        CommandError: `root` is no git repository with a commit, or the branch exists already.
    """
    path = root / WORKTREES / name
    branch = f"retrain/{name}"
    remote = shared_remote(root)
    if remote:
        run(["git", "fetch", "--quiet", remote, "+refs/heads/maskloop/*:refs/heads/maskloop/*"], root, log)
    remove_dead_worktrees(root, log)
    with _alive(path):
        run(["git", "worktree", "add", "--quiet", "-b", branch, str(path), "HEAD"], root, log)
        worktree = Worktree(root, path, branch, log, branch_commit(root, SNAPSHOT_BRANCH))
        try:
            _share(root, path)
            _take_data(worktree)
            yield worktree
        finally:
            _remove(root, path, log, ["HEAD"])
            if remote and branch_commit(root, branch):
                run(["git", "push", "--quiet", remote, branch], root, log)


def remove_dead_worktrees(root: Path, log: Log) -> None:
    """Remove the worktrees of runs that were killed; a lock that its process no longer holds tells them."""
    for lock in sorted((root / WORKTREES).glob("*.lock")):
        with lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            log(f"{lock.stem} was cut off: its worktree is removed")
            _remove(root, lock.with_suffix(""), log, ["HEAD", SNAPSHOT_BRANCH])
            lock.unlink(missing_ok=True)
    run(["git", "worktree", "prune"], root, _silent)


def branch_commit(root: Path, branch: str) -> str:
    """The commit that a branch points at; empty when there is no such branch."""
    listed = run(["git", "for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}"], root, _silent)
    return listed.strip()


def shared_remote(root: Path) -> str:
    """The git remote that this clone shares its branches with; empty when it is the only one."""
    return run(["git", "config", "--default", "", "--get", "maskloop.remote"], root, _silent).strip()


def move_branch(root: Path, branch: str, commit: str, before: str) -> None:
    """Point `branch` at `commit`, if it still points at `before` (empty: if it does not exist).

    Raises:
        CommandError: it points elsewhere, here or in the shared remote, and stays there.
    """
    remote = shared_remote(root)
    if remote:
        lease = f"--force-with-lease=refs/heads/{branch}:{before}"
        run(["git", "push", "--quiet", lease, remote, f"{commit}:refs/heads/{branch}"], root, _silent)
    run(["git", "update-ref", f"refs/heads/{branch}", commit, before or "0" * 40], root, _silent)


def masks_trained(root: Path) -> int:
    """How many of the collected masks the newest judged challenger was trained on."""
    return snapshot_of(root, TRAINED_BRANCH).masks


def snapshot_of(root: Path, branch: str) -> Snapshot:
    """The snapshot that is committed on a branch; an empty one when there is no such branch."""
    commit = branch_commit(root, branch)
    if not commit:
        return Snapshot()
    return parse_snapshot(run(["git", "show", f"{commit}:{SNAPSHOT.as_posix()}"], root, _silent))


@contextmanager
def _alive(path: Path) -> Iterator[None]:
    """Hold the lock beside a worktree, which the kernel lets go of however its holder ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f"{path.name}.lock")
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _remove(root: Path, path: Path, log: Log, elsewhere: Sequence[str]) -> None:
    """Remove a worktree; its branch, too, unless it holds commits that none of `elsewhere` has."""
    branch = f"retrain/{path.name}"
    if path.exists():
        with suppress(CommandError):  # git no longer knows a folder of which it wrote only half
            run(["git", "worktree", "remove", "--force", "--force", str(path)], root, _silent)
        shutil.rmtree(path, ignore_errors=True)
    run(["git", "worktree", "prune"], root, _silent)
    if branch_commit(root, branch) and any(_contains(root, name, branch) for name in elsewhere):
        run(["git", "branch", "--quiet", "-D", branch], root, log)


def _contains(root: Path, name: str, branch: str) -> bool:
    try:
        run(["git", "merge-base", "--is-ancestor", f"refs/heads/{branch}", name], root, _silent)
    except CommandError:  # also when there is nothing of that name
        return False
    return True


def _take_data(worktree: Worktree) -> None:
    """Bring the newest snapshot into the worktree: described in git, its bytes in the cache or the remote."""
    if not worktree.data:
        return
    tracked = worktree.git("ls-tree", "--name-only", worktree.data, "data/").splitlines()
    wanted = [
        path for path in (SNAPSHOT.as_posix(), *(f"{folder}.dvc" for folder in DATA)) if path in tracked
    ]
    worktree.git("restore", f"--source={worktree.data}", "--staged", "--worktree", "--", *wanted)
    try:
        worktree.dvc("pull", *[path for path in wanted if path.endswith(".dvc")])
    except CommandError as error:
        raise SnapshotError(
            f"The data of {SNAPSHOT_BRANCH} is not in the DVC cache of {worktree.root} or its remote: {error}"
        ) from error


@contextmanager
def open_commit(
    root: Path, commit: str, folders: Sequence[str], outputs: Sequence[str] = ()
) -> Iterator[Path]:
    """A checkout of a commit to look at, with some of its data as it was then; removed at the end.

    `folders` are of `DATA`, and may be missing; `outputs` are files that the stages made. No branch is made,
    and the checkout lies outside the repository.

    Raises:
        SnapshotError: `root` has no such commit, or the data is neither in the DVC cache nor in the remote.
    """
    check_commit(root, commit)
    with tempfile.TemporaryDirectory(prefix="maskloop-") as scratch:
        path = Path(scratch) / "commit"
        run(["git", "worktree", "add", "--quiet", "--detach", str(path), commit], root, _silent)
        try:
            _share(root, path)
            described = [f"{folder}.dvc" for folder in folders if (path / f"{folder}.dvc").is_file()]
            # outputs first: DVC says nothing, and leaves out those that come after a .dvc file
            _pull(Worktree(root, path, "", _silent), [*outputs, *described], commit)
            yield path
        finally:
            run(["git", "worktree", "remove", "--force", str(path)], root, _silent)


def _pull(worktree: Worktree, wanted: Sequence[str], commit: str) -> None:
    if not wanted:
        return
    try:
        worktree.dvc("pull", *wanted)
    except CommandError as error:
        raise SnapshotError(
            f"The data of commit {commit} is not in the DVC cache of {worktree.root} or its remote; the "
            "repository that retrained has it: `dvc push` there, or name its storage with "
            f"`dvc remote modify`. {error}"
        ) from error


def check_commit(root: Path, commit: str) -> None:
    """Raises SnapshotError when the repository does not hold a commit, CommandError when it is none."""
    run(["git", "rev-parse", "--git-dir"], root, _silent)
    try:
        run(["git", "cat-file", "-e", f"{commit}^{{commit}}"], root, _silent)
    except CommandError as error:
        raise SnapshotError(
            f"Commit {commit} is not in {root}: fetch it from the repository that retrained, "
            "with `git fetch <repository> 'refs/heads/retrain/*:refs/remotes/retrain/*'`."
        ) from error


def file_at(root: Path, commit: str, path: Path) -> str:
    """A file as it was at a commit.

    Raises:
        SnapshotError: the commit holds no such file.
    """
    try:
        return run(["git", "show", f"{commit}:{path.as_posix()}"], root, _silent)
    except CommandError as error:
        raise SnapshotError(f"Commit {commit} holds no {path.as_posix()}: is it a retrain's?") from error


def branches_of(root: Path, commit: str) -> list[str]:
    """The branches of retrains that hold a commit."""
    names = ["git", "for-each-ref", "--format=%(refname:short)", f"--contains={commit}"]
    return run([*names, "refs/heads/retrain/", "refs/remotes/"], root, _silent).split()


def _share(root: Path, path: Path) -> None:
    """Give a worktree the DVC cache and the remotes of its repository, by absolute addresses."""
    from dvc.config import Config

    shared = Config(dvc_dir=str(root / ".dvc"))
    own = root / ".dvc" / "config.local"  # where a person keeps a remote's keys
    if own.exists():
        shutil.copy(own, path / ".dvc")
    with Config(dvc_dir=str(path / ".dvc"), validate=False).edit("local") as local:
        cache = shared["cache"].get("dir") or root / ".dvc" / "cache"
        local.setdefault("cache", {})["dir"] = str(cache)
        # what DVC remembers of each file of a worktree would stay on the machine for ever
        local.setdefault("core", {})["site_cache_dir"] = str(path / ".dvc" / "tmp" / "site")
        for name, remote in shared["remote"].items():
            # all its settings: some were never committed, and paths are relative to the file they stand in
            settings = {key: str(value) for key, value in remote.items()}
            local.setdefault("remote", {}).setdefault(name, {}).update(settings)
    (path / ".dvc" / "config.local").chmod(0o600)  # keys may be among them


def _silent(line: str) -> None:
    """Where a command's output is for us alone."""
