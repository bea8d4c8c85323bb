"""The steps of a retrain, each a plain function; `pipelines.flows.retrain` puts them in order.

Whatever a step leaves behind is found again by the next run: collected masks by the branch
`maskloop/snapshot`, finished stages by the DVC cache, a registered version by the digest of its dvc.lock.
"""

import hashlib
import json
import re
import shutil
import tempfile
from pathlib import Path

import pandas as pd

from maskloop.checkpoint import WEIGHTS, digest
from pipelines.errors import SettingsError
from pipelines.gate import Clicks, Decision, decide
from pipelines.registry import CHALLENGER, CHAMPION, Registry, Version
from pipelines.snapshot import read_snapshot
from pipelines.tracking import log_checkpoint, log_result, start_run
from pipelines.versioning import Worktree

CANDIDATE = "models/candidate"
CHAMPION_FOLDER = "models/champion"
DEFAULT_CHECKPOINT = "checkpoints/default"
RESULTS = ("params.yaml", "dvc.lock", "reports", f"{CHAMPION_FOLDER}.dvc")
_START = re.compile(r"^(?P<key>  start: *)\S+", re.MULTILINE)


def place_champion(worktree: Worktree, registry: Registry) -> Version:
    """Make the champion the checkpoint that training starts from and that the challenger is compared with.

    An empty registry gets `checkpoints/default` as its first version.
    """
    default = worktree.path / DEFAULT_CHECKPOINT
    champion = registry.ensure_champion(default)
    if champion.tags.get("sha256") == digest(default / WEIGHTS):
        set_start(worktree.path / "params.yaml", DEFAULT_CHECKPOINT)
        return champion
    folder = worktree.path / CHAMPION_FOLDER
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copytree(registry.download(champion, Path(scratch)), folder)
    worktree.dvc("add", CHAMPION_FOLDER)
    set_start(worktree.path / "params.yaml", CHAMPION_FOLDER)
    return champion


def set_start(params: Path, checkpoint: str) -> None:
    """Name the checkpoint that training starts from; the rest of the file, comments too, stays as it is."""
    text, found = _START.subn(rf"\g<key>{checkpoint}", params.read_text(encoding="utf-8"))
    if found != 1:
        raise SettingsError(
            f"{params} has {found} lines '  start: ...', not one: restore it with 'git checkout'."
        )
    params.write_text(text, encoding="utf-8")


def reproduce(worktree: Worktree, reason: str) -> str:
    """Run the stages that have something new to do, commit and store what they made; returns the commit."""
    worktree.dvc("repro")
    commit = worktree.commit(f"Retrain: {reason}", RESULTS)
    worktree.dvc("push")
    return commit


def register(worktree: Worktree, registry: Registry, reason: str) -> Version:
    """Log the result and register the challenger, once: the same dvc.lock is the same version."""
    lock = hashlib.md5((worktree.path / "dvc.lock").read_bytes(), usedforsecurity=False).hexdigest()
    known = registry.find("dvc_lock_md5", lock)
    if known:
        return known
    tags = _tags(worktree, lock, reason)
    with registry.answers():
        run_id = start_run(registry.client, worktree.branch, tags)
        log_result(registry.client, run_id, worktree.path)
        source = log_checkpoint(registry.client, run_id, worktree.path / CANDIDATE)
        registry.client.set_terminated(run_id)
    return registry.register(run_id, source, tags)


def compare(worktree: Worktree) -> Decision:
    """Ask the gate, with the clicks that `evaluate` counted for both models on the same objects."""
    objects = pd.read_csv(worktree.path / "reports/objects.csv")
    return decide(_clicks(objects, CHALLENGER), _clicks(objects, CHAMPION))


def report(decision: Decision, challenger: Version, champion: Version, worktree: Worktree) -> str:
    """The decision as Markdown, with how to get the same result in another clone."""
    figures = decision.figures
    return "\n".join(
        [
            f"## Version {challenger.number}: {'promoted' if decision.promote else 'kept back'}",
            "",
            decision.reason,
            "",
            f"| | version {champion.number} (champion) | version {challenger.number} (challenger) |",
            "| --- | --- | --- |",
            *[
                f"| {title} | {figures[f'champion_{name}']:.2f} | {figures[f'challenger_{name}']:.2f} |"
                for title, name in (("NoC@85", "noc85"), ("NoC@90", "noc90"), ("failures@90", "nof90"))
            ],
            "",
            f"Measured on {figures['objects']:.0f} objects. Branch `{worktree.branch}`.",
        ]
    )


def _tags(worktree: Worktree, lock: str, reason: str) -> dict[str, str]:
    scores = json.loads((worktree.path / "reports/metrics.json").read_text(encoding="utf-8"))
    return {
        "sha256": digest(worktree.path / CANDIDATE / WEIGHTS),
        "git_sha": worktree.commit_id,
        "dvc_lock_md5": lock,
        "snapshot": read_snapshot(worktree.path).name,
        "noc85": f"{scores[CHALLENGER]['noc85']:.4f}",
        "noc90": f"{scores[CHALLENGER]['noc90']:.4f}",
        "reason": reason,
    }


def _clicks(objects: pd.DataFrame, model: str) -> list[Clicks]:
    columns = objects[[f"{model}_noc85", f"{model}_noc90", f"{model}_failed90"]]
    return [
        Clicks(int(to_85), int(to_90), bool(failed))
        for to_85, to_90, failed in columns.itertuples(index=False)
    ]
