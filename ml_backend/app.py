"""Routes: those that Label Studio 1.23 calls, those that people and machines watch, and their errors.

Label Studio shows its users nothing of an error, so each is logged with its remedy as well as answered, and
the last ones stand on the status page.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from fastapi import BackgroundTasks, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from maskloop.errors import ImageError, MaskloopError
from maskloop.journal import read_after
from ml_backend.auth import Authentication
from ml_backend.errors import ServiceError
from ml_backend.events import Prefect, read_events, read_images
from ml_backend.limits import Limits
from ml_backend.protocol import PredictRequest, read_body
from ml_backend.readiness import Readiness
from ml_backend.service import Service
from ml_backend.settings import Settings
from ml_backend.status import status_page

logger = logging.getLogger(__name__)


def create_app(settings: Settings, service: Service, prefect: Prefect, readiness: Readiness) -> FastAPI:
    """The ASGI application. It follows the registry while it runs, and closes what it was given."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(service.champion.start)
        readiness.ready()  # whatever is served has answered its golden click
        yield
        service.champion.stop()
        await service.close()
        await prefect.close()

    failed = service.telemetry.failed
    app = FastAPI(title="maskloop", openapi_url=None, lifespan=lifespan)
    app.add_middleware(
        Limits, max_body_mb=settings.max_body_mb, seconds=settings.timeout_seconds, failed=failed
    )
    # the last one added is asked first: who may not ask cannot make us read a body
    app.add_middleware(Authentication, settings=settings, failed=failed)
    app.add_exception_handler(MaskloopError, _Errors(service))
    _add_probes(app, service, readiness)
    _add_watching(app, settings, service, readiness)
    _add_work(app, service, prefect)
    return app


def _add_probes(app: FastAPI, service: Service, readiness: Readiness) -> None:
    """Routes that answer in constant time; Label Studio waits 1 s for health and 3 s for setup."""

    @app.get("/")
    @app.get("/health")
    async def health() -> dict[str, Any]:
        version = service.champion.served.version
        return {"status": "UP", "model_class": "maskloop", "model_version": version}

    @app.get("/ready")
    async def ready() -> Response:
        return readiness.response()

    @app.post("/setup")
    async def setup() -> dict[str, Any]:
        # The body holds the token of the project's creator. It is not read.
        return {"model_version": service.champion.served.version}

    @app.get("/versions")
    async def versions() -> dict[str, Any]:
        return {"versions": [service.champion.served.version]}


def _add_watching(app: FastAPI, settings: Settings, service: Service, readiness: Readiness) -> None:
    @app.get("/metrics")
    async def metrics() -> Response:
        body, content_type = service.telemetry.render()
        return Response(body, media_type=content_type)

    @app.get("/status")
    async def status() -> Response:
        protocol = service.champion.served.protocol
        return HTMLResponse(status_page(service.telemetry, readiness, settings, protocol))

    @app.get("/journal")
    async def journal(after: str = "") -> Response:
        """Lines of the click journal behind a position, and the position behind them."""
        if settings.journal is None:
            return JSONResponse({"error": "No journal is kept: set MASKLOOP_JOURNAL to a folder."}, 404)
        lines, position = await run_in_threadpool(read_after, settings.journal, after)
        return Response(lines, media_type="text/plain", headers={"X-Journal-Position": position})


def _add_work(app: FastAPI, service: Service, prefect: Prefect) -> None:
    @app.post("/predict")
    async def predict(request: Request) -> Response:
        body = await request.body()
        with service.telemetry.stage("parse"):
            question = read_body(body, PredictRequest)
        answers = await service.predict(question)
        return Response(msgspec.json.encode({"results": answers}), media_type="application/json")

    @app.post("/webhook")
    async def webhook(request: Request, after: BackgroundTasks) -> dict[str, Any]:
        # Label Studio waits for this answer before it confirms a labeler's submit.
        body = await request.body()
        events = read_events(body)
        after.add_task(prefect.emit, events)
        if service.prefetch is not None:
            service.prefetch.created(read_images(body))
        return {"events": len(events)}


class _Errors:
    """Answers an error that was raised on purpose with its status and its remedy."""

    def __init__(self, service: Service) -> None:
        self._telemetry = service.telemetry

    async def __call__(self, request: Request, error: Exception) -> JSONResponse:
        status, path = _status(error), request.url.path
        logger.warning("%s %s: %s", request.method, path, error)
        self._telemetry.failed(path, status, str(error))
        if path == "/predict":
            self._telemetry.counted("rejected" if status == 503 else "failed")
        headers = {"Retry-After": "1"} if status == 503 else None
        return JSONResponse({"error": str(error)}, status, headers)


def _status(error: Exception) -> int:
    if isinstance(error, ServiceError):
        return error.status
    return 424 if isinstance(error, ImageError) else 422
