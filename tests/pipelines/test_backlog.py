from pipelines.backlog import masks_waiting
from pipelines.data.collect import collect
from pipelines.data.snapshot import Snapshot, read_snapshot, write_snapshot
from pipelines.versioning import SNAPSHOT_BRANCH, TRAINED_BRANCH, branch_commit, move_branch, open_worktree
from tests.pipelines.conftest import git
from tests.pipelines.fake_project import FakeProject


def snapshot_on(repository, branch, snapshot):
    """Let a branch name a snapshot, by a commit on main."""
    before = branch_commit(repository, branch)
    write_snapshot(repository, snapshot)
    git(repository, "commit", "--quiet", "--all", "--allow-empty", "-m", "Snapshot")
    move_branch(repository, branch, git(repository, "rev-parse", "HEAD"), before)


def test_masks_waiting__nothing_was_ever_collected(repository):
    """Never fewer than collecting finds, or a run would end early that has something to do."""
    project = FakeProject()
    with open_worktree(repository, "one", print) as worktree:
        found = collect(project, worktree.path, read_snapshot(worktree.path)).masks
    assert masks_waiting(project, repository) >= found > 0


def test_masks_waiting__collected_and_not_yet_trained_on(repository):
    """A run that died after its snapshot was committed: its masks wait, however old they are."""
    project = FakeProject()
    project.tasks = []
    snapshot_on(repository, SNAPSHOT_BRANCH, Snapshot(1, "2026-11-22T06:45:48.000000Z", masks=30))
    assert masks_waiting(project, repository) == 30
    snapshot_on(repository, TRAINED_BRANCH, Snapshot(1, "2026-11-22T06:45:48.000000Z", masks=30))
    assert masks_waiting(project, repository) == 0


def test_masks_waiting__only_annotations_since_the_cursor_count(repository):
    project = FakeProject()
    task = project.tasks[0]
    times = [("2026-11-22T06:00:00.000000Z", False), ("2026-11-22T08:00:00.000000Z", False)]
    times.append(("2026-11-22T08:00:00.000000Z", True))
    results = [{"id": "a"}, {"id": "a"}, {"id": "b"}]
    task["annotations"] = [
        {"id": number, "updated_at": time, "was_cancelled": skipped, "result": results}
        for number, (time, skipped) in enumerate(times)
    ]
    task["updated_at"] = times[1][0]
    project.tasks = [task]
    cursor = "2026-11-22T07:00:00.000000Z"
    for branch in (SNAPSHOT_BRANCH, TRAINED_BRANCH):
        snapshot_on(repository, branch, Snapshot(1, cursor, masks=10))
    assert masks_waiting(project, repository) == 2, "the two masks of the one that is new and not skipped"


def test_masks_waiting__annotations_saved_while_label_studios_clock_was_behind(repository):
    """They are behind the cursor, so no changed task shows them; a run has something to do all the same."""
    project = FakeProject()  # three annotations, of which one is cancelled
    for branch in (SNAPSHOT_BRANCH, TRAINED_BRANCH):
        snapshot_on(repository, branch, Snapshot(1, "2026-11-22T09:00:00.000000Z", masks=4, annotations=2))
    assert masks_waiting(project, repository) == 0
    for place, number, created in ((0, 40, "06"), (1, 41, "10")):
        annotation = {"id": number, "result": [{"id": "a"}, {"id": "b"}]}
        annotation |= dict.fromkeys(("created_at", "updated_at"), f"2026-11-22T{created}:00:00.000000Z")
        project.tasks[place]["annotations"].append(annotation)
        project.tasks[place]["updated_at"] = annotation["updated_at"]
    assert masks_waiting(project, repository) == 2 + 1, "two masks that are seen, an annotation that is not"


def test_masks_waiting__image_that_could_not_be_fetched(repository):
    project = FakeProject()
    project.tasks = []
    for branch in (SNAPSHOT_BRANCH, TRAINED_BRANCH):
        snapshot_on(repository, branch, Snapshot(1, "2026-11-22T06:45:48.000000Z", masks=3, retry=(7,)))
    assert masks_waiting(project, repository) == 1
