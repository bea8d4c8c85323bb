"""`python -m ml_backend`: load the model, then listen."""

import argparse
import logging
import sys

import torch
import uvicorn

from maskloop.errors import MaskloopError
from ml_backend.app import create_app
from ml_backend.champion import Champion
from ml_backend.events import Prefect
from ml_backend.images import Images
from ml_backend.label_studio import LabelStudio
from ml_backend.registry import Registry
from ml_backend.service import Service
from ml_backend.settings import Settings


def build_service(settings: Settings) -> Service:
    """The service that the settings describe, its default checkpoint loaded.

    Raises:
        CheckpointError: the default checkpoint cannot be served.
    """
    registry = Registry(settings.mlflow_url, settings.model) if settings.mlflow_url else None
    champion = Champion(settings.checkpoint, registry, settings.poll_seconds)
    label_studio = LabelStudio(settings.label_studio_url, settings.label_studio_token)
    return Service(champion, Images(label_studio))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m ml_backend", description="Answer the clicks of Label Studio with masks."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9090)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs whole URLs, signatures and all
    try:
        settings = Settings.from_environment()
        if settings.threads:
            torch.set_num_threads(settings.threads)
        service = build_service(settings)
    except MaskloopError as error:
        sys.exit(f"maskloop backend: {error}")
    app = create_app(settings, service, Prefect(settings.prefect_url))
    uvicorn.run(app, host=arguments.host, port=arguments.port, log_config=None, access_log=False)


if __name__ == "__main__":
    main()
