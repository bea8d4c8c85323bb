"""With real git and real DVC."""

import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.config import Config

from pipelines.data.collect import collect
from pipelines.data.snapshot import Snapshot, read_snapshot, write_snapshot
from pipelines.errors import CommandError, SnapshotError
from pipelines.versioning import (
    SNAPSHOT_BRANCH,
    TRAINED_BRANCH,
    WORKTREES,
    branch_commit,
    masks_trained,
    move_branch,
    open_worktree,
    snapshot_of,
)
from tests.pipelines.conftest import REPOSITORY, git
from tests.pipelines.fake_project import FakeProject


def collect_once(repository, name, project):
    """One run that collects and commits; returns its snapshot."""
    with open_worktree(repository, name, print) as worktree:
        collected = collect(project, worktree.path, read_snapshot(worktree.path))
        worktree.commit_snapshot(collected.snapshot)
    return collected.snapshot


def test_open_worktree__leaves_nothing_when_nothing_was_committed(repository):
    with open_worktree(repository, "idle", print) as worktree:
        assert read_snapshot(worktree.path) == Snapshot()
        assert git(worktree.path, "branch", "--show-current") == "retrain/idle"
    assert not worktree.path.exists()
    assert git(repository, "branch", "--list") == "* main"
    assert git(repository, "status", "--porcelain") == ""


def test_open_worktree__removed_after_an_error(repository):
    with pytest.raises(RuntimeError), open_worktree(repository, "broken", print) as worktree:
        raise RuntimeError
    assert not worktree.path.exists()


def test_open_worktree__name_is_taken(repository):
    git(repository, "branch", "retrain/taken")
    with pytest.raises(CommandError, match="retrain/taken"), open_worktree(repository, "taken", print):
        pass
    assert git(repository, "branch", "--list", "retrain/*") == "retrain/taken"


def test_commit_snapshot__next_run_and_a_clone_find_the_data(repository, tmp_path):
    project = FakeProject()
    first = collect_once(repository, "one", project)
    assert branch_commit(repository, SNAPSHOT_BRANCH) == branch_commit(repository, "retrain/one")
    assert git(repository, "log", "-1", "--format=%an <%ae> %s", "retrain/one") == (
        "maskloop <maskloop@localhost> Snapshot 0001: 4 masks"
    )
    assert git(repository, "status", "--porcelain") == "", "a person's checkout is left alone"

    with open_worktree(repository, "two", print) as worktree:
        assert read_snapshot(worktree.path) == first
        assert len(list((worktree.path / "data/images").iterdir())) == 2
        assert (worktree.path / ".dvc/tmp/site").is_dir(), "what DVC remembers goes with the worktree"
        assert collect(project, worktree.path, first).masks == 0

    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--branch", "retrain/one", str(repository), str(clone))
    dvc(clone, "remote", "modify", "--local", "storage", "url", str(repository / ".maskloop/storage"))
    dvc(clone, "pull")
    assert len(list((clone / "data/annotations").iterdir())) == 1
    assert len(list((clone / "data/images").iterdir())) == 2


def test_open_worktree__cache_is_lost_then_the_remote_too(repository):
    first = collect_once(repository, "one", FakeProject())
    shutil.rmtree(repository / ".dvc/cache")
    with open_worktree(repository, "two", print) as worktree:
        assert read_snapshot(worktree.path) == first
        assert (worktree.path / "data/annotations" / first.shards[0].name).is_file()
    shutil.rmtree(repository / ".dvc/cache")
    shutil.rmtree(repository / ".maskloop/storage")
    with pytest.raises(SnapshotError, match="its remote"), open_worktree(repository, "three", print):
        pass


def test_open_worktree__settings_of_an_s3_remote(repository):
    """Where it is, committed or not, and how one logs in, also by a file of keys whose path is relative."""
    dvc(repository, "remote", "modify", "storage", "url", "s3://bucket/dvc")
    git(repository, "commit", "--quiet", "--all", "-m", "Store on S3")
    dvc(repository, "remote", "modify", "storage", "endpointurl", "http://127.0.0.1:9")
    dvc(repository, "remote", "modify", "--local", "storage", "access_key_id", "someone")
    dvc(repository, "config", "--local", "remote.storage.credentialpath", "keys/s3")
    (repository / ".dvc/config.local").chmod(0o644)

    with open_worktree(repository, "one", print) as worktree:
        found = Config(dvc_dir=str(worktree.path / ".dvc"))["remote"]["storage"]
        assert stat.S_IMODE((worktree.path / ".dvc/config.local").stat().st_mode) == 0o600
        assert git(worktree.path, "status", "--porcelain") == "", "keys must not be committed"

    assert found["url"] == "s3://bucket/dvc"
    assert found["endpointurl"] == "http://127.0.0.1:9"
    assert found["access_key_id"] == "someone"
    assert Path(found["credentialpath"]) == repository / "keys/s3"


@pytest.fixture
def clones(repository, tmp_path):
    """Two clones that share a git remote, and a folder as the DVC remote."""
    dvc(repository, "remote", "modify", "storage", "url", str(tmp_path / "storage"))
    git(repository, "commit", "--quiet", "--all", "-m", "Store elsewhere")
    git(tmp_path, "clone", "--quiet", "--bare", str(repository), "shared.git")
    for name in ("here", "there"):
        git(tmp_path, "clone", "--quiet", "shared.git", name)
        git(tmp_path / name, "config", "maskloop.remote", "origin")
    return tmp_path / "here", tmp_path / "there"


def test_clones__one_goes_on_where_the_other_stopped(clones):
    here, there = clones
    project = FakeProject()
    first = collect_once(here, "one", project)
    with open_worktree(there, "two", print) as worktree:
        assert read_snapshot(worktree.path) == first
        assert len(list((worktree.path / "data/images").iterdir())) == 2
        assert collect(project, worktree.path, first).masks == 0
    assert git(there, "ls-remote", "--heads", "origin", "retrain/*").endswith("refs/heads/retrain/one")


def test_clones__only_one_of_two_at_the_same_time_moves_the_branch(clones):
    here, there = clones
    with open_worktree(there, "late", print) as worktree:
        collected = collect(FakeProject(), worktree.path, read_snapshot(worktree.path))
        collect_once(here, "early", FakeProject())
        early = branch_commit(here, SNAPSHOT_BRANCH)
        with pytest.raises(CommandError, match="stale info"):
            worktree.commit_snapshot(collected.snapshot)
    assert branch_commit(there, SNAPSHOT_BRANCH) == ""
    with open_worktree(there, "again", print):
        assert branch_commit(there, SNAPSHOT_BRANCH) == early


def test_move_branch__another_run_was_faster(repository):
    base = git(repository, "rev-parse", "HEAD")
    move_branch(repository, SNAPSHOT_BRANCH, base, "")
    with pytest.raises(CommandError):
        move_branch(repository, SNAPSHOT_BRANCH, base, "")
    assert branch_commit(repository, SNAPSHOT_BRANCH) == base


def test_masks_trained__counts_the_masks_of_the_trained_branch(repository):
    assert masks_trained(repository) == 0
    write_snapshot(repository, Snapshot(version=1, masks=4))
    git(repository, "commit", "--quiet", "--all", "-m", "Snapshot")
    assert masks_trained(repository) == 0
    move_branch(repository, TRAINED_BRANCH, branch_commit(repository, "main"), "")
    assert masks_trained(repository) == 4


def dvc(folder, *arguments):
    subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=folder, check=True)


KILLED = """
import os, signal, sys
from pathlib import Path
from pipelines.data.collect import collect
from pipelines.data.snapshot import read_snapshot
from pipelines.versioning import open_worktree
from tests.pipelines.fake_project import FakeProject
root, name, commits = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "commits"
with open_worktree(root, name, print) as worktree:
    if commits:
        collected = collect(FakeProject(), worktree.path, read_snapshot(worktree.path))
        worktree.commit_snapshot(collected.snapshot)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def run_killed(repository, name, commits=False):
    """A run in a process of its own, which is killed in its worktree."""
    arguments = [sys.executable, "-c", KILLED, str(repository), name, "commits" if commits else ""]
    assert subprocess.run(arguments, cwd=REPOSITORY, check=False).returncode == -signal.SIGKILL
    assert (repository / WORKTREES / name).is_dir()


def test_open_worktree__removes_what_a_killed_run_left(repository):
    run_killed(repository, "killed")
    with open_worktree(repository, "next", print):
        left = {path.name for path in (repository / WORKTREES).iterdir()}
        assert left == {"next", "next.lock"}
    assert list((repository / WORKTREES).iterdir()) == []
    assert git(repository, "branch", "--list") == "* main"
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_open_worktree__killed_run_had_committed_its_snapshot(repository):
    run_killed(repository, "killed", commits=True)
    with open_worktree(repository, "next", print) as worktree:
        assert read_snapshot(worktree.path).masks == 4, "no mask is lost"
        assert collect(FakeProject(), worktree.path, read_snapshot(worktree.path)).masks == 0, "nor doubled"
    assert branch_commit(repository, "retrain/killed") == "", "its commit is on the snapshot branch"


def test_open_worktree__leaves_a_run_alone_that_lives(repository):
    with (
        open_worktree(repository, "first", print) as first,
        open_worktree(repository, "second", print) as second,
    ):
        assert read_snapshot(first.path) == read_snapshot(second.path) == Snapshot()
    assert list((repository / WORKTREES).iterdir()) == []


def test_open_worktree__killed_while_git_made_it(repository):
    """A folder that git knows nothing of, as when it was killed half-way."""
    folder = repository / WORKTREES / "half"
    (folder / "data").mkdir(parents=True)
    folder.with_name("half.lock").touch()
    with open_worktree(repository, "next", print):
        assert not folder.exists()


def test_commit_snapshot__two_runs_at_once_lose_and_double_nothing(repository):
    """The second to commit is refused; what it collected is collected again by the next."""
    project = FakeProject()
    with (
        pytest.raises(CommandError, match="update-ref"),
        open_worktree(repository, "one", print) as one,
        open_worktree(repository, "two", print) as two,
    ):
        for worktree in (one, two):
            collected = collect(project, worktree.path, read_snapshot(worktree.path))
            worktree.commit_snapshot(collected.snapshot)
    snapshot = snapshot_of(repository, SNAPSHOT_BRANCH)
    assert (snapshot.masks, len(snapshot.shards)) == (4, 1)
    assert collect_once(repository, "three", project).masks == 4
