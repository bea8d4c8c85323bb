"""Promote and roll back on the running stack, while somebody clicks; and what its status says of it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.rollback import Clients, Scene, register
from maskloop.clicks import Click
from maskloop.images import decode_image
from maskloop.predictor import Predictor
from pipelines.cli import app
from pipelines.data.samples import load_samples
from pipelines.promotion.registry import Registry
from pipelines.stack.project import uploaded_name
from pipelines.stack.up import Stack
from pipelines.status import Sources, gather
from tests.pipelines.conftest import git

pytestmark = pytest.mark.stack


def maskloop(*arguments: str, **environment: str) -> str:
    result = CliRunner().invoke(app, arguments, env=environment)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def test_rollback__while_clicking_then_status(stack: Stack, tmp_path: Path) -> None:
    registry = Registry(stack.config.mlflow_url)
    standing = registry.standing()
    before = registry.version(standing.champion)
    other = register(registry, tmp_path / "other", 1)
    checkpoint = registry.download(before, tmp_path / "before")
    photo = load_samples()[0]
    (task,) = [
        one
        for one in stack.label_studio.tasks(stack.project)
        if uploaded_name(one) == f"{photo.name}{photo.suffix}"
    ]
    image = decode_image(photo.image_bytes)
    middle = Click(image.shape[0] / 2, image.shape[1] / 2)
    clients = Clients(
        stack.config.backend_url,
        [Scene(task["id"], task["data"]["image"], image, [middle])],
        {
            before.served_as: Predictor.load(checkpoint),
            other.served_as: Predictor.load(tmp_path / "other"),
        },
        tolerance=0.001,
    )
    data = ("--data", str(stack.config.data))
    with clients.clicking(2):
        clients.await_version(before.served_as)
        maskloop("promote", str(other.number), "--force", *data)
        clients.await_version(other.served_as)
        maskloop("rollback", "--because", "test", *data)
        clients.await_version(before.served_as)
    assert clients.failures == []
    assert registry.standing().champion == before.number

    git(tmp_path, "init", "--quiet", "repository")  # what it writes is no part of ours
    status = gather(Sources.find(tmp_path / "repository", stack.config.data, {}), doctor=False)
    assert dict(status.silent) == {}
    assert status.runs is not None
    assert status.runs.worker
    assert status.project is not None
    assert status.project.tasks >= len(load_samples())
    assert status.served == before.served_as
    assert status.models is not None
    assert status.models.outcome(other) == "rolled back"
