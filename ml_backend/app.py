"""Routes: the five that Label Studio 1.23 calls, and their errors.

Label Studio shows its users nothing of an error, so each is logged with its remedy as well as answered.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import BackgroundTasks, FastAPI, Request
from fastapi.responses import JSONResponse

from maskloop.errors import ImageError, MaskloopError
from ml_backend.auth import Authentication
from ml_backend.errors import ServiceError
from ml_backend.events import Prefect, read_events
from ml_backend.protocol import PredictRequest, read_body
from ml_backend.service import Service
from ml_backend.settings import Settings

logger = logging.getLogger(__name__)


def create_app(settings: Settings, service: Service, prefect: Prefect) -> FastAPI:
    """The ASGI application. It follows the registry while it runs, and closes what it was given."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.champion.start()
        yield
        service.champion.stop()
        await service.close()
        await prefect.close()

    app = FastAPI(title="maskloop", openapi_url=None, lifespan=lifespan)
    app.add_middleware(Authentication, settings=settings)
    app.add_exception_handler(MaskloopError, _answer_error)
    _add_probes(app, service)
    _add_work(app, service, prefect)
    return app


def _add_probes(app: FastAPI, service: Service) -> None:
    """Routes that answer in constant time; Label Studio waits 1 s for health and 3 s for setup."""

    @app.get("/")
    @app.get("/health")
    async def health() -> dict[str, Any]:
        version = service.champion.served.version
        return {"status": "UP", "model_class": "maskloop", "model_version": version}

    @app.post("/setup")
    async def setup() -> dict[str, Any]:
        # The body holds the token of the project's creator. It is not read.
        return {"model_version": service.champion.served.version}

    @app.get("/versions")
    async def versions() -> dict[str, Any]:
        return {"versions": [service.champion.served.version]}


def _add_work(app: FastAPI, service: Service, prefect: Prefect) -> None:
    @app.post("/predict")
    async def predict(request: Request) -> JSONResponse:
        body = read_body(await request.body(), PredictRequest)
        # A plain JSONResponse: FastAPI would walk the thousands of numbers of a mask once more.
        return JSONResponse({"results": await service.predict(body)})

    @app.post("/webhook")
    async def webhook(request: Request, after: BackgroundTasks) -> dict[str, Any]:
        # Label Studio waits for this answer before it confirms a labeler's submit.
        events = read_events(await request.body())
        after.add_task(prefect.emit, events)
        return {"events": len(events)}


async def _answer_error(request: Request, error: Exception) -> JSONResponse:
    logger.warning("%s %s: %s", request.method, request.url.path, error)
    return JSONResponse({"error": str(error)}, status_code=_status(error))


def _status(error: Exception) -> int:
    if isinstance(error, ServiceError):
        return error.status
    return 424 if isinstance(error, ImageError) else 422
