"""Start the stack: all services, the project in Label Studio, the champion in MLflow, the flow in Prefect."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from pipelines.data.samples import load_samples
from pipelines.label_studio.client import LabelStudio
from pipelines.stack import catalog, project
from pipelines.stack.config import EMAIL, StackConfig, exclusive, remember_ports
from pipelines.stack.errors import StackError
from pipelines.stack.prefect_api import bury_lost_runs, deploy
from pipelines.stack.services import Services, interrupted_by_signals

Say = Callable[[str], None]


def say_now(text: str) -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)


@dataclass(frozen=True)
class Stack:
    """A stack that is up. `backend` is the number of the connection between Label Studio and the backend."""

    config: StackConfig
    services: Services
    label_studio: LabelStudio
    project: int
    backend: int

    @property
    def project_url(self) -> str:
        return f"{self.config.label_studio_url}/projects/{self.project}/data"

    def served_version(self) -> str:
        """The model version that the backend answers with now."""
        answer = httpx.get(f"{self.config.backend_url}/health", timeout=10.0, trust_env=False)
        return str(answer.raise_for_status().json()["model_version"])


def up(config: StackConfig, say: Say = say_now) -> None:
    """Run the stack with the sample photos until Ctrl-C."""
    try:
        with interrupted_by_signals(), running_stack(config, say=say) as stack:
            say(_welcome(stack))
            stack.services.watch()
    except KeyboardInterrupt:
        say("Everything that was started is stopped. The next start finds its data again.")


@contextmanager
def running_stack(config: StackConfig, forward_events: bool = True, say: Say = say_now) -> Iterator[Stack]:
    """A stack that is up and connected; stopped when the block ends.

    Args:
        config: where it lives.
        forward_events: whether retrains start by themselves: annotations become events of Prefect, and its
            schedules are active.
        say: told what happens.

    Raises:
        StackError: a part cannot be started, or refuses its part of the set-up.
    """
    with exclusive(config.data), Services(say) as services:
        if not (config.data / "label-studio").exists():
            say("The first start prepares Label Studio's database, which takes about a minute.")
        services.start(
            catalog.label_studio(config),
            catalog.mlflow(config),
            catalog.prefect(config),
            catalog.backend(config, forward_events),
        )
        remember_ports(config)
        _register_champion(config, say)
        with LabelStudio(config.label_studio_url, config.secrets.token) as client:
            say("Preparing the project and its sample photos …")
            number = project.ensure_project(client)
            project.ensure_samples(client, number, load_samples())
            backend = project.ensure_connection(client, number, config.backend_url, config.secrets.webhook)
            bury_lost_runs(config)
            services.start(catalog.worker(config, number))
            _deploy(config, forward_events, say)
            yield Stack(config, services, client, number, backend)


def _register_champion(config: StackConfig, say: Say) -> None:
    # what MLflow would tell about itself is no news here
    os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT="true")
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    from pipelines.promotion.registry import Registry

    champion = Registry(config.mlflow_url).ensure_champion(catalog.checkpoint(config))
    say(f"The champion is version {champion.number} of the registry.")


def _deploy(config: StackConfig, schedules: bool, say: Say) -> None:
    if not (config.root / "prefect.yaml").is_file():
        raise StackError(f"{config.root} holds no prefect.yaml: run maskloop in a clone of its repository.")
    say("Deploying the retrain flow …")
    deploy(config, schedules)


def _welcome(stack: Stack) -> str:
    config = stack.config
    prefect = Path(sys.executable).with_name("prefect")
    return f"""
maskloop is up.

  Label Studio  {stack.project_url}
                user {EMAIL}, password {config.secrets.password}
  MLflow        {config.mlflow_url}
  Prefect       {config.prefect_url}
  backend       {config.backend_url}, serving {stack.served_version()}
  data, logs    {config.data}

What to do next:
  1. Open a photo, switch on "Auto-Annotation" below it, choose the magic wand and the label {project.LABEL},
     and click on the object. More clicks refine the mask; clicks of the red label take away.
  2. Accept the mask with the tick and submit. Label at least 3 photos.
  3. Retrain on them:
       PREFECT_API_URL={config.prefect_api} {prefect} deployment run retrain/retrain
     A challenger that needs fewer clicks becomes the champion, and the backend serves it.

Ctrl-C stops all of it.
"""
