"""Who may ask: basic authentication on every route but the exact probes, and the webhook's own secret.

Label Studio's webhooks carry no credentials of their own but any header that was configured, while its Train
button calls the same route with the backend's user and password. So the webhook takes either.
"""

import base64
import binascii
import contextlib
import hmac
import logging

from starlette.types import ASGIApp, Receive, Scope, Send

from ml_backend.limits import Failed, refuse
from ml_backend.settings import Settings

logger = logging.getLogger(__name__)

PROBES = ("/", "/health", "/ready")
PROBING = ("GET", "HEAD")
WEBHOOK = "/webhook"
SECRET_HEADER = "X-Maskloop-Secret"  # noqa: S105 - the name, not the secret
CHALLENGE = {"WWW-Authenticate": 'Basic realm="maskloop", charset="UTF-8"'}


class Authentication:
    """ASGI middleware that answers 401 to whoever may not ask. It must be the outermost one."""

    def __init__(self, app: ASGIApp, settings: Settings, failed: Failed | None = None) -> None:
        """Wrap an application.

        Args:
            app: is given admitted requests only.
            settings: user, password and webhook secret.
            failed: is told of each refusal, such as `Telemetry.failed`.
        """
        self._app = app
        self._failed = failed
        pair = f"{settings.basic_user}:{settings.basic_password}"
        self._pairs = _encodings(pair) if settings.basic_user else []
        self._secrets = _encodings(settings.webhook_secret) if settings.webhook_secret else []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # there are none here, so none that could slip through
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http" or _is_probe(scope) or self._admits(scope):
            await self._app(scope, receive, send)
            return
        await self._refuse(scope, receive, send)

    def _admits(self, scope: Scope) -> bool:
        if self._pairs and _equal(_credentials(_header(scope, "authorization")), self._pairs):
            return True
        if scope["path"] == WEBHOOK and self._secrets:
            return _equal(_header(scope, SECRET_HEADER), self._secrets)
        return not self._pairs

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401. The log tells where and who, never what was sent; a path may be any text."""
        path = scope["path"]
        message = f"Not authorized: {self._remedy(path)}"
        client = scope.get("client") or ("unknown",)
        logger.warning("%s %.100s from %s: 401, %s", scope["method"], path, client[0], self._remedy(path))
        if self._failed is not None:
            # told without foreign paths: those of a scanner would push the real errors off the status page
            self._failed(WEBHOOK if path == WEBHOOK else "any route", 401, message)
        await refuse(receive, send, 401, message, CHALLENGE)

    def _remedy(self, path: str) -> str:
        if path == WEBHOOK and self._secrets:
            return f"send the header {SECRET_HEADER} with MASKLOOP_WEBHOOK_SECRET"
        return "send MASKLOOP_BASIC_USER and MASKLOOP_BASIC_PASSWORD by basic authentication"


def _is_probe(scope: Scope) -> bool:
    """Whether the path is a probe's as it was sent: another spelling that is decoded to it is not."""
    path = scope["path"]
    return (
        path in PROBES
        and scope["method"] in PROBING
        and scope.get("raw_path", path.encode()) == path.encode()
    )


def _header(scope: Scope, name: str) -> bytes:
    """The first header of a name, as the bytes that were sent."""
    wanted = name.lower().encode()
    return next((value for key, value in scope["headers"] if key.lower() == wanted), b"")


def _credentials(header: bytes) -> bytes:
    """`user:password` of basic authentication; nothing where the header is of another kind or damaged."""
    scheme, _, encoded = header.partition(b" ")
    if scheme.lower() != b"basic":
        return b""
    try:
        return base64.b64decode(encoded.strip(), validate=True)
    except binascii.Error:
        return b""


def _encodings(secret: str) -> list[bytes]:
    """A secret as clients send it: browsers in UTF-8, Label Studio (`requests`) in Latin-1 where it can."""
    encodings = [secret.encode("utf-8", "surrogateescape")]
    with contextlib.suppress(UnicodeEncodeError):
        encodings.append(secret.encode("latin-1"))
    return encodings


def _equal(given: bytes, expected: list[bytes]) -> bool:
    """Whether it is one of the expected. All are compared, each in constant time."""
    return any([hmac.compare_digest(given, one) for one in expected])  # noqa: C419 - `any` would stop early
