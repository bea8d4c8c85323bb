"""The steps of a retrain, each a plain function; `pipelines.flows.retrain` puts them in order.

Whatever a step leaves behind is found again by the next run: collected masks by the branch
`maskloop/snapshot`, finished stages by the DVC cache, a registered version by the digest of its dvc.lock.
"""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from maskloop.checkpoint import WEIGHTS, digest
from maskloop.results import Report
from pipelines.data.snapshot import read_snapshot
from pipelines.errors import PromotionError, SettingsError
from pipelines.promotion.decisions import FILE as DECISION
from pipelines.promotion.decisions import Record
from pipelines.promotion.gate import Decision, Rules, decide
from pipelines.promotion.latency import Latency
from pipelines.promotion.registry import CHALLENGER, CHAMPION, Registry
from pipelines.promotion.tracking import log_checkpoint, log_decision, log_result, start_run
from pipelines.promotion.version import Version
from pipelines.report.decision import draw, to_markdown
from pipelines.stages.evaluate import GENERAL, LATENCY
from pipelines.stages.params import read_params
from pipelines.stages.train import REPORTS
from pipelines.versioning import Worktree

CANDIDATE = "models/candidate"
CHAMPION_FOLDER = "models/champion"
DEFAULT_CHECKPOINT = "checkpoints/default"
RESULTS = ("params.yaml", "dvc.lock", "reports", f"{CHAMPION_FOLDER}.dvc")
PAGE = "decision.md"
MOVED = "Another version became champion meanwhile."
Show = Callable[[Record, str], None]
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
    """Ask the gate, of what `evaluate` measured for both models on the same objects."""
    reports = worktree.path / REPORTS
    return decide(
        *_results(reports),
        general=_results(reports, GENERAL),
        latency=Latency.read(reports / LATENCY),
        rules=_rules(worktree),
    )


def judge(
    worktree: Worktree, registry: Registry, challenger: Version, champion: Version, by: str, show: Show
) -> Decision:
    """Decide, record the decision, and let the challenger serve if the gate says so.

    The record comes first, so that no version serves without one. The same decision on the same pair is
    recorded once, however often this is repeated.

    Args:
        worktree: holds what `evaluate` wrote.
        registry: holds both versions.
        challenger: may come to serve.
        champion: what it was compared with.
        by: the user or flow run that decides.
        show: is given the record and its page as Markdown.

    Raises:
        PromotionError: another version became champion meanwhile, or a person rolled this one back; that is
            recorded, too.
    """
    decision = compare(worktree)
    moved = decision.promote and _moved(registry, challenger, champion)
    record = partial(_record, worktree, registry, challenger, champion, by, show)
    record(_refused(decision, MOVED) if moved else decision)
    if not decision.promote:
        return decision
    try:
        registry.promote(challenger, champion, because=decision.reason, by=by)
    except PromotionError as error:
        if not moved:  # it moved after that was looked up, or the challenger was rolled back
            record(_refused(decision, str(error)))
        raise
    return decision


def _moved(registry: Registry, challenger: Version, champion: Version) -> bool:
    holder = registry.holder(CHAMPION)
    return holder is not None and holder.number not in (challenger.number, champion.number)


def _refused(decision: Decision, why: str) -> Decision:
    return replace(decision, promote=False, reason=f"refused: {why} The gate had said: {decision.reason}")


def _record(
    worktree: Worktree,
    registry: Registry,
    challenger: Version,
    champion: Version,
    by: str,
    show: Show,
    decision: Decision,
) -> None:
    """Write the record, keep it with the challenger's run in MLflow, and show it."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    record = Record(decision, challenger, champion, by, when, worktree.branch, _rules(worktree))
    record.write(worktree.path / DECISION)
    worktree.commit(f"Version {challenger.number}: {record.outcome}", [str(DECISION)])
    with tempfile.TemporaryDirectory() as scratch, registry.answers():
        plots = draw(decision, *_results(worktree.path / REPORTS), Path(scratch))
        shutil.copy(worktree.path / DECISION, scratch)
        page = to_markdown(record, plots, embed=False)
        (Path(scratch) / PAGE).write_text(page, encoding="utf-8")
        link = log_decision(registry.client, challenger.run_id, Path(scratch), record)
        show(record, to_markdown(record, plots, embed=True, link=link))
    registry.tag(challenger, "decision", decision.reason)


def _results(reports: Path, prefix: str = "") -> tuple[Report, Report]:
    ours, theirs = (Report.read(reports / f"{prefix}{model}.json") for model in (CHALLENGER, CHAMPION))
    return ours, theirs


def _rules(worktree: Worktree) -> Rules:
    return Rules.of(read_params(worktree.path, "gate"))


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
