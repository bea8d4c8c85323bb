import pytest

from pipelines.errors import SettingsError
from pipelines.settings import Settings


@pytest.fixture
def environment(tmp_path):
    (tmp_path / "dvc.yaml").touch()
    return {
        "MASKLOOP_LABEL_STUDIO_URL": "http://localhost:8080/",
        "MASKLOOP_LABEL_STUDIO_TOKEN": "very secret",
        "MASKLOOP_LABEL_STUDIO_PROJECT": "3",
        "MLFLOW_TRACKING_URI": "http://localhost:5000",
        "MASKLOOP_PROJECT_ROOT": str(tmp_path),
    }


def test_settings(environment, tmp_path):
    settings = Settings.from_environment(environment)
    assert settings.label_studio_url == "http://localhost:8080"
    assert (settings.label_studio_project, settings.model, settings.root) == (3, "maskloop", tmp_path)
    assert "very secret" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MASKLOOP_LABEL_STUDIO_URL", ""),
        ("MASKLOOP_LABEL_STUDIO_TOKEN", ""),
        ("MASKLOOP_LABEL_STUDIO_PROJECT", "photos"),
        ("MLFLOW_TRACKING_URI", ""),
        ("MASKLOOP_PROJECT_ROOT", "/nowhere"),
    ],
)
def test_settings__unusable_variable_is_named(environment, name, value):
    with pytest.raises(SettingsError, match=name):
        Settings.from_environment(environment | {name: value})
