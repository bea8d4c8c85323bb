import pytest

from ml_backend.errors import SettingsError
from ml_backend.settings import Settings


def test_from_environment__nothing_set():
    settings = Settings.from_environment({})
    assert settings == Settings()
    assert settings.checkpoint.parts[-2:] == ("checkpoints", "default")


def test_from_environment__every_variable():
    settings = Settings.from_environment(
        {
            "MASKLOOP_LABEL_STUDIO_URL": "http://labels.example:8080/",
            "MASKLOOP_LABEL_STUDIO_TOKEN": "token",
            "MASKLOOP_MLFLOW_URL": "http://registry.example:5000",
            "MASKLOOP_MODEL": "cells",
            "MASKLOOP_CHECKPOINT": "somewhere/else",
            "MASKLOOP_POLL_SECONDS": "0.5",
            "MASKLOOP_BASIC_USER": "studio",
            "MASKLOOP_BASIC_PASSWORD": "password",
            "MASKLOOP_WEBHOOK_SECRET": "secret",
            "MASKLOOP_PREFECT_URL": "http://prefect.example:4200/api",
            "MASKLOOP_THREADS": "2",
        }
    )
    assert settings.label_studio_url == "http://labels.example:8080"
    assert (settings.model, str(settings.checkpoint)) == ("cells", "somewhere/else")
    assert (settings.poll_seconds, settings.threads) == (0.5, 2)
    assert settings.basic_password == "password"


def test_repr__holds_no_secret():
    settings = Settings(label_studio_token="aaa", basic_user="u", basic_password="bbb", webhook_secret="ccc")
    assert not any(secret in repr(settings) for secret in ("aaa", "bbb", "ccc"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MASKLOOP_POLL_SECONDS", "soon"),
        ("MASKLOOP_POLL_SECONDS", "0"),
        ("MASKLOOP_POLL_SECONDS", "inf"),
        ("MASKLOOP_THREADS", "-1"),
        ("MASKLOOP_MLFLOW_URL", "localhost:5000"),
        ("MASKLOOP_LABEL_STUDIO_URL", "http:"),
    ],
)
def test_from_environment__names_the_variable_and_value(name, value):
    with pytest.raises(SettingsError, match=f"{name} is '{value}'"):
        Settings.from_environment({name: value})


def test_from_environment__password_without_user():
    with pytest.raises(SettingsError, match="MASKLOOP_BASIC_USER"):
        Settings.from_environment({"MASKLOOP_BASIC_PASSWORD": "password"})
