"""`python -m ml_backend`: load the model, then listen."""

import argparse
import sys

import cv2
import torch

from maskloop.errors import MaskloopError
from ml_backend.app import create_app
from ml_backend.champion import Champion
from ml_backend.events import Prefect
from ml_backend.images import Images
from ml_backend.journal import Journal
from ml_backend.label_studio import LabelStudio
from ml_backend.logs import configure
from ml_backend.prefetch import Prefetch
from ml_backend.readiness import Readiness
from ml_backend.redaction import Redaction
from ml_backend.registry import Registry
from ml_backend.server import serve
from ml_backend.service import Service
from ml_backend.settings import Settings
from ml_backend.telemetry import Telemetry


def build_service(settings: Settings, redaction: Redaction) -> Service:
    """The service that the settings describe, its default checkpoint loaded.

    Raises:
        CheckpointError: the default checkpoint cannot be served.
    """
    registry = Registry(settings.mlflow_url, settings.model) if settings.mlflow_url else None
    champion = Champion(settings.checkpoint, registry, settings.poll_seconds)
    telemetry = Telemetry(
        lambda: champion.served.version,
        sha256=lambda: champion.served.predictor.sha256,
        since=lambda: champion.served.since,
        redaction=redaction,
    )
    label_studio = LabelStudio(
        settings.label_studio_url, settings.label_studio_token, hosts=settings.image_hosts
    )
    images = Images(
        label_studio,
        settings.image_cache_mb * 2**20,
        settings.max_megapixels * 10**6,
        on_cache=lambda hit: telemetry.cache("images", hit),
    )
    telemetry.watch_cache("images", lambda: images.size, images.cache_bytes)
    journal = Journal(settings.journal) if settings.journal else None
    service = Service(champion, images, settings, telemetry, journal)
    if settings.prefetch:
        service.prefetch = Prefetch(
            label_studio, images, settings.prefetch, lambda: service.busy, prepare=service.prepare
        )
    return service


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m ml_backend", description="Answer the clicks of Label Studio with masks."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9090)
    arguments = parser.parse_args()
    try:
        settings = Settings.from_environment()
        redaction = Redaction.of(settings)
        configure(settings.log_format, redaction)
        if settings.threads:
            torch.set_num_threads(settings.threads)
            cv2.setNumThreads(settings.threads)
        service = build_service(settings, redaction)
    except MaskloopError as error:
        sys.exit(f"maskloop backend: {error}")
    readiness = Readiness()
    app = create_app(settings, service, Prefect(settings.prefect_url), readiness)
    serve(app, readiness, host=arguments.host, port=arguments.port)


if __name__ == "__main__":
    main()
