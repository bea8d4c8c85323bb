"""`maskloop promote` and `maskloop rollback` with a real MLflow in a SQLite file."""

import json

import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.cli.registry import open_registry
from pipelines.errors import PromotionError, RegistryError
from tests.pipelines.test_registry import add, database, registry

__all__ = ["database", "registry"]


@pytest.fixture
def maskloop(registry):
    """The command, which finds the registry in the environment."""

    def invoke(*arguments):
        result = CliRunner().invoke(app, arguments, env={"MLFLOW_TRACKING_URI": registry.url})
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    return invoke


def test_promote_then_rollback__each_once_and_told(maskloop, registry, checkpoint):
    registry.ensure_champion(checkpoint)
    add(registry, checkpoint, decision="1.50 fewer clicks to IoU 0.90")
    out = maskloop("promote", "2", "--because", "looks better")
    assert "the gate lets it serve: 1.50 fewer clicks" in out
    assert "version 2 serves instead of version 1" in out
    assert registry.standing().changes[-1].because == "looks better"
    before = registry.standing()
    assert "version 2 serves since" in maskloop("promote", "2")
    assert registry.standing() == before

    assert "version 1 serves instead of version 2" in maskloop("rollback", "--because", "leaks")
    before = registry.standing()
    out = maskloop("rollback")
    assert "version 1 serves since" in out
    assert "leaks). To go further back, name a version with --to; nothing was changed." in out
    assert "nothing was changed" in maskloop("rollback", "--to", "1")
    assert registry.standing() == before


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        (
            {"decision": "not improved: 5.00 clicks to IoU 0.90 against 4.00"},
            "keeps it back: not improved: 5.00",
        ),
        ({}, "the gate has not judged it"),
    ],
)
def test_promote__against_the_gate(maskloop, registry, checkpoint, tags, reason):
    registry.ensure_champion(checkpoint)
    add(registry, checkpoint, **tags)
    with pytest.raises(PromotionError, match=f"{reason}.*--force"):
        maskloop("promote", "2")
    assert registry.standing().champion == 1
    maskloop("promote", "2", "--force")
    assert (registry.standing().champion, registry.standing().changes[-1].forced) == (2, True)


def test_promote__gate_compared_with_another_champion(maskloop, registry, checkpoint):
    registry.ensure_champion(checkpoint)
    for number in (2, 3):
        version = add(registry, checkpoint, decision="1.50 fewer clicks to IoU 0.90")
        registry.client.set_tag(version.run_id, "decision_champion", "1")
        assert version.number == number
    maskloop("promote", "2")
    with pytest.raises(PromotionError, match=r"compared with version 1.*but version 2 serves by now"):
        maskloop("promote", "3")
    assert registry.standing().champion == 2


def test_champion_is_not_the_expected_one(maskloop, registry, checkpoint):
    registry.ensure_champion(checkpoint)
    add(registry, checkpoint, decision="fewer")
    with pytest.raises(PromotionError, match="Version 1 is the champion, not version 7"):
        maskloop("promote", "2", "--instead-of", "7")
    maskloop("promote", "2", "--instead-of", "1")
    with pytest.raises(PromotionError, match="Version 2 is the champion, not version 1"):
        maskloop("rollback", "--instead-of", "1")
    with pytest.raises(RegistryError, match=r"Version 8 .* known are 1, 2"):
        maskloop("promote", "8")


def test_open_registry__of_the_stack_that_keeps_its_data_there(tmp_path):
    ports = {"label_studio": 1, "mlflow": 2345, "prefect": 3, "backend": 4}
    (tmp_path / "ports.json").write_text(json.dumps(ports))
    assert open_registry("", "maskloop", tmp_path).url == "http://127.0.0.1:2345"
    assert open_registry("http://elsewhere:5000", "other", tmp_path).url == "http://elsewhere:5000"
