"""Who may ask: basic authentication on every route but the exact probes, and the webhook's own secret.

Label Studio's webhooks carry no credentials of their own but any header that was configured, while its Train
button calls the same route with the backend's user and password. So the webhook takes either.
"""

import base64
import hmac
import logging

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ml_backend.settings import Settings

logger = logging.getLogger(__name__)

PROBES = {"/", "/health"}
WEBHOOK = "/webhook"
SECRET_HEADER = "X-Maskloop-Secret"  # noqa: S105 - the name, not the secret


class Authentication:
    """ASGI middleware that answers 401 to whoever may not ask."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        pair = f"{settings.basic_user}:{settings.basic_password}".encode()
        self._basic = f"Basic {base64.b64encode(pair).decode()}" if settings.basic_user else ""
        self._secret = settings.webhook_secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._admits(scope["path"], Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        logger.warning("%s: 401, %s", scope["path"], self._remedy(scope["path"]))
        response = JSONResponse(
            {"error": f"Not authorized: {self._remedy(scope['path'])}"},
            status_code=401,
            headers={"WWW-Authenticate": 'Basic realm="maskloop"'},
        )
        await response(scope, receive, send)

    def _admits(self, path: str, headers: Headers) -> bool:
        if path in PROBES:
            return True
        if self._basic and _equal(headers.get("authorization", ""), self._basic):
            return True
        if path == WEBHOOK and self._secret:
            return _equal(headers.get(SECRET_HEADER, ""), self._secret)
        return not self._basic

    def _remedy(self, path: str) -> str:
        if path == WEBHOOK and self._secret:
            return f"send the header {SECRET_HEADER} with MASKLOOP_WEBHOOK_SECRET"
        return "send MASKLOOP_BASIC_USER and MASKLOOP_BASIC_PASSWORD by basic authentication"


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())
