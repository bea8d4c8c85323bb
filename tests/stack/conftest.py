"""A project and tokens of the Label Studio that all tests marked `stack` share."""

import re
from collections.abc import Iterator

import httpx
import pytest

from pipelines.stack.config import EMAIL
from pipelines.stack.up import Stack


@pytest.fixture
def project(stack: Stack) -> Iterator[int]:
    """A new project without a labelling configuration."""
    number = int(stack.label_studio.create_project(title="links")["id"])
    yield number
    httpx.delete(
        f"{stack.config.label_studio_url}/api/projects/{number}",
        headers={"Authorization": f"Token {stack.config.secrets.token}"},
        trust_env=False,
    )


@pytest.fixture
def personal_token(stack: Stack) -> str:
    """A personal access token, made as a person makes one: logged in, on the account's page."""
    url = stack.config.label_studio_url
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        page = client.get("/user/login/").text
        csrf = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert csrf
        form = {
            "csrfmiddlewaretoken": csrf[1],
            "email": EMAIL,
            "password": stack.config.secrets.password,
        }
        client.post("/user/login/", data=form, headers={"Referer": url})
        headers = {"X-CSRFToken": client.cookies["csrftoken"], "Referer": url}
        for earlier in client.get("/api/token/").json():  # a user has one at a time
            client.post("/api/token/blacklist/", json={"refresh": earlier["token"]}, headers=headers)
        return str(client.post("/api/token/", headers=headers).raise_for_status().json()["token"])


@pytest.fixture
def legacy_tokens_disabled(stack: Stack, project: int, personal_token: str) -> Iterator[None]:
    """Legacy tokens are switched off for the organization, after the project was made; then on again."""
    url = stack.config.label_studio_url
    access = httpx.post(f"{url}/api/token/refresh", json={"refresh": personal_token}, trust_env=False).json()
    bearer = {"Authorization": f"Bearer {access['access']}"}

    def switch(legacy: bool) -> None:
        body = {
            "api_tokens_enabled": True,
            "legacy_api_tokens_enabled": legacy,
            "api_token_ttl_days": 30,
        }
        answer = httpx.post(f"{url}/api/jwt/settings", json=body, headers=bearer, trust_env=False)
        answer.raise_for_status()

    switch(False)
    yield
    switch(True)
