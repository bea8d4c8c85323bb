"""`maskloop promote`, `maskloop rollback` and `maskloop lineage`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.errors import PromotionError
from pipelines.promotion.changes import minute

if TYPE_CHECKING:
    from pipelines.promotion.changes import Change, Standing
    from pipelines.promotion.registry import Registry

MlflowOption = Annotated[
    str,
    typer.Option(
        "--mlflow",
        envvar="MLFLOW_TRACKING_URI",
        help="address of MLflow; that of the running stack if left out",
    ),
]
ModelOption = Annotated[str, typer.Option(envvar="MASKLOOP_MODEL", help="registered model")]
DataOption = Annotated[Path | None, typer.Option(help="folder of the stack's data (.maskloop)")]
BecauseOption = Annotated[str, typer.Option(help="the reason, which is recorded")]
InsteadOption = Annotated[
    int | None, typer.Option(help="refuse if another version than this is the champion")
]


def open_registry(mlflow: str, model: str, data: Path | None) -> "Registry":
    """The registry at an address; without one, that of the stack which keeps its data there."""
    from pipelines.promotion.registry import Registry
    from pipelines.stack.config import REPOSITORY, StackConfig, remembered_ports

    folder = data or REPOSITORY / ".maskloop"
    return Registry(mlflow or StackConfig(folder, ports=remembered_ports(folder)).mlflow_url, model)


def promote(
    version: Annotated[int, typer.Argument(help="number of the version that shall serve")],
    because: BecauseOption = "",
    force: Annotated[
        bool, typer.Option("--force", help="also against the gate, or after a rollback")
    ] = False,
    instead_of: InsteadOption = None,
    mlflow: MlflowOption = "",
    model: ModelOption = "maskloop",
    data: DataOption = None,
) -> None:
    """Let a version serve; the backend follows within seconds."""
    from pipelines.promotion.verdicts import Verdict

    registry = open_registry(mlflow, model, data)
    challenger, standing = registry.version(version), registry.standing()
    verdict = Verdict.of(challenger, registry.run_tags(challenger))
    typer.echo(f"version {version}: {verdict}")
    if standing.champion == version:
        typer.echo(f"{_serving(standing)} already; nothing was changed.")
        return
    _check_champion(standing, instead_of)
    if not (force or verdict.stands(standing.champion)):
        moved = f", but version {standing.champion} serves by now" if verdict.promote else ""
        raise PromotionError(f"Version {version} stays as it is: {verdict}{moved}. Overrule it with --force.")
    champion = registry.version(standing.champion) if standing.champion else None
    _tell(registry.promote(challenger, champion, because, force=force), registry)


def rollback(
    to: Annotated[
        int | None,
        typer.Option(help="a version that has served; the one before the last promotion if left out"),
    ] = None,
    because: BecauseOption = "",
    instead_of: InsteadOption = None,
    mlflow: MlflowOption = "",
    model: ModelOption = "maskloop",
    data: DataOption = None,
) -> None:
    """Let the version serve again that served before; the backend follows within seconds."""
    registry = open_registry(mlflow, model, data)
    standing = registry.standing()
    back = standing.brought_back_from()
    if standing.champion == to or (back and not to):
        further = f" ({back}). To go further back, name a version with --to" if back else ""
        typer.echo(f"{_serving(standing)} already{further}; nothing was changed.")
        return
    _check_champion(standing, instead_of)
    _tell(registry.roll_back(to or 0, because), registry)


def lineage(
    version: Annotated[int, typer.Argument(help="number of the version")],
    as_json: Annotated[bool, typer.Option("--json", help="everything, every mask too, as JSON")] = False,
    root: Annotated[
        Path, typer.Option(envvar="MASKLOOP_PROJECT_ROOT", help="the repository that retrained, or a clone")
    ] = Path(),
    mlflow: MlflowOption = "",
    model: ModelOption = "maskloop",
    data: DataOption = None,
) -> None:
    """Tell where a version comes from: masks, snapshot, commit, checkpoint, run, alias, ancestors."""
    import json

    from pipelines.promotion.lineage import to_json, to_text, trace

    found = trace(open_registry(mlflow, model, data), root.resolve(), version)
    typer.echo(json.dumps(to_json(found), indent=2) if as_json else "\n".join(to_text(found)))


def _check_champion(standing: "Standing", wanted: int | None) -> None:
    if wanted is not None and standing.champion != wanted:
        raise PromotionError(
            f"Version {standing.champion} is the champion, not version {wanted}: "
            "look at `maskloop status`, then decide again."
        )


def _serving(standing: "Standing") -> str:
    since = f" since {minute(standing.since)}" if standing.since else ""
    return f"version {standing.champion} serves{since}"


def _tell(change: "Change | None", registry: "Registry") -> None:
    standing = registry.standing()
    if change is None:  # another process was as fast
        typer.echo(f"{_serving(standing)} already; nothing was changed.")
        return
    instead = f" instead of version {change.before}" if change.before else ""
    typer.echo(f"version {change.after} serves{instead}; backends follow at their next poll.")
