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
            "MASKLOOP_BATCH": "4",
            "MASKLOOP_IMAGE_HOSTS": "images.example, minio.example:9000",
            "MASKLOOP_PREFETCH": "0",
            "MASKLOOP_IMAGE_CACHE_MB": "64",
            "MASKLOOP_MASK_CACHE_MB": "32",
            "MASKLOOP_MAX_BODY_MB": "8",
            "MASKLOOP_MAX_MEGAPIXELS": "20",
            "MASKLOOP_MAX_CLICKS": "50",
            "MASKLOOP_QUEUE": "16",
            "MASKLOOP_TIMEOUT_SECONDS": "10",
            "MASKLOOP_JOURNAL": "some/journal",
            "MASKLOOP_LOG": "json",
        }
    )
    assert settings.label_studio_url == "http://labels.example:8080"
    assert (settings.model, str(settings.checkpoint)) == ("cells", "somewhere/else")
    assert (settings.poll_seconds, settings.threads) == (0.5, 2)
    assert settings.basic_password == "password"
    assert (settings.batch, settings.prefetch, settings.queue, settings.max_clicks) == (4, 0, 16, 50)
    assert settings.image_hosts == ("images.example", "minio.example:9000")
    assert (settings.image_cache_mb, settings.mask_cache_mb, settings.max_body_mb) == (64, 32, 8)
    assert (settings.max_megapixels, settings.timeout_seconds) == (20, 10)
    assert (str(settings.journal), settings.log_format) == ("some/journal", "json")


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
        ("MASKLOOP_QUEUE", "0"),
        ("MASKLOOP_LOG", "xml"),
    ],
)
def test_from_environment__names_the_variable_and_value(name, value):
    with pytest.raises(SettingsError, match=f"{name} is '{value}'"):
        Settings.from_environment({name: value})


def test_from_environment__password_without_user():
    with pytest.raises(SettingsError, match="MASKLOOP_BASIC_USER"):
        Settings.from_environment({"MASKLOOP_BASIC_PASSWORD": "password"})


@pytest.mark.parametrize("hosts", ["https://images.example", "images.example/a", "a, :80"])
def test_from_environment__hosts_that_are_none(hosts):
    with pytest.raises(SettingsError, match="MASKLOOP_IMAGE_HOSTS names"):
        Settings.from_environment({"MASKLOOP_IMAGE_HOSTS": hosts})
