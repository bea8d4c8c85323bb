"""A token of Label Studio, as the header of a request.

A legacy token is sent as it is. A personal access token is a refresh token: it is exchanged for an access
token that lives for five minutes, and is refused when sent itself.
"""

from collections.abc import Generator

import httpx

LEGACY = "legacy token"
PERSONAL = "personal access token"


class Credentials(httpx.Auth):
    """Authorizes the requests of one `httpx.Client`; an access token that has expired is replaced.

    A token that Label Studio does not exchange leaves the request as refused as it was: the caller sees 401.
    """

    requires_response_body = True

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._token = token.strip()
        self._access = ""

    @property
    def kind(self) -> str:
        """Which of the two kinds the token is: a personal access token is three parts with dots between."""
        return PERSONAL if self._token.count(".") == 2 else LEGACY

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self.kind == LEGACY:
            request.headers["Authorization"] = f"Token {self._token}"
            yield request
            return
        if self._access:
            request.headers["Authorization"] = f"Bearer {self._access}"
            response = yield request
            if response.status_code != httpx.codes.UNAUTHORIZED:
                return
        exchanged = yield httpx.Request(
            "POST", f"{self._url}/api/token/refresh", json={"refresh": self._token}
        )
        self._access = _access_token(exchanged)
        request.headers.pop("Authorization", None)
        if self._access:
            request.headers["Authorization"] = f"Bearer {self._access}"
        yield request


def _access_token(answer: httpx.Response) -> str:
    """The access token of an exchange; empty when there is none."""
    try:
        return str(answer.json()["access"])
    except (ValueError, KeyError, TypeError):
        return ""
