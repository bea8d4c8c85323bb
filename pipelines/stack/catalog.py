"""The services of the stack: how each one is started, and how one knows that it is up."""

import os
import sys
from pathlib import Path

import httpx

from pipelines.stack.config import EMAIL, REPOSITORY, StackConfig
from pipelines.stack.services import HOST, Service, answers

WORK_POOL = "local"
LABEL_STUDIO_VARIABLE = "MASKLOOP_LABEL_STUDIO"
# A proxy in the environment must not come between programs of one machine.
LOCAL = {"NO_PROXY": f"{HOST},localhost", "no_proxy": f"{HOST},localhost"}


def label_studio(config: StackConfig) -> Service:
    """Label Studio with SQLite. Its first start migrates an empty database, which takes about a minute."""
    return Service(
        name="Label Studio",
        command=(
            label_studio_program(),
            *("start", "--no-browser", "--internal-host", HOST, "--port", str(config.ports.label_studio)),
        ),
        environment=label_studio_environment(config),
        log=config.log("label-studio"),
        ready=lambda: answers(f"{config.label_studio_url}/health"),
        port=config.ports.label_studio,
        port_option="--label-studio-port",
        missing=f"Run `make setup`, or set {LABEL_STUDIO_VARIABLE} to the program.",
    )


def label_studio_program() -> str:
    """Label Studio lives in a virtual environment of its own: it pins its SDK exactly."""
    own = REPOSITORY / ".venv-labelstudio" / "bin" / "label-studio"
    return os.environ.get(LABEL_STUDIO_VARIABLE) or str(own)


def label_studio_environment(config: StackConfig) -> dict[str, str]:
    secrets = config.secrets
    return LOCAL | {
        "LABEL_STUDIO_BASE_DATA_DIR": str(config.data / "label-studio"),
        "LABEL_STUDIO_USERNAME": EMAIL,
        "LABEL_STUDIO_PASSWORD": secrets.password,
        "LABEL_STUDIO_USER_TOKEN": secrets.token,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        # Both are needed for a backend on this machine: the first for predictions, the second for webhooks.
        "ML_BLOCK_LOCAL_IP": "false",
        "SSRF_PROTECTION_ENABLED": "false",
        "LATEST_VERSION_CHECK": "0",
        "COLLECT_ANALYTICS": "0",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
    }


def mlflow(config: StackConfig) -> Service:
    """MLflow: one worker and no job runners, or it takes 2 GB and a minute to start.

    On SQLite and a folder, unless MLflow's own variables name another database and place for artifacts. They
    go through the environment, not the command, which other users of the machine could read.
    """
    folder = config.data / "mlflow"
    folder.mkdir(parents=True, exist_ok=True)
    own = {
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "MLFLOW_ARTIFACTS_DESTINATION": str(folder / "artifacts"),
    }
    return Service(
        name="MLflow",
        command=(
            *(sys.executable, "-m", "mlflow", "server"),
            *("--host", HOST, "--port", str(config.ports.mlflow), "--workers", "1"),
        ),
        environment={
            **LOCAL,
            **mlflow_environment(config),
            **{name: os.environ.get(name) or value for name, value in own.items()},
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        },
        log=config.log("mlflow"),
        ready=lambda: answers(f"{config.mlflow_url}/health"),
        folder=folder,
        port=config.ports.mlflow,
        port_option="--mlflow-port",
    )


def mlflow_environment(config: StackConfig) -> dict[str, str]:
    return {"MLFLOW_TRACKING_URI": config.mlflow_url, "MLFLOW_DISABLE_TELEMETRY": "true"}


def prefect(config: StackConfig) -> Service:
    """Prefect with SQLite, unless its own variable PREFECT_SERVER_DATABASE_CONNECTION_URL names another."""
    return Service(
        name="Prefect",
        command=(
            *(sys.executable, "-m", "prefect", "server", "start"),
            *("--host", HOST, "--port", str(config.ports.prefect)),
        ),
        environment=prefect_environment(config),
        log=config.log("prefect"),
        ready=lambda: answers(f"{config.prefect_api}/health"),
        port=config.ports.prefect,
        port_option="--prefect-port",
    )


def prefect_environment(config: StackConfig) -> dict[str, str]:
    """What every Prefect command needs to find this stack's server."""
    return LOCAL | {
        "PREFECT_HOME": str(config.data / "prefect"),
        "PREFECT_API_URL": config.prefect_api,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


def checkpoint(config: StackConfig) -> Path:
    """The first champion, and what is served when no registry answers."""
    return Path(os.environ.get("MASKLOOP_CHECKPOINT") or config.root / "checkpoints" / "default")


def backend(config: StackConfig, forward_events: bool) -> Service:
    """The service that answers clicks; with `forward_events` annotations become events of Prefect."""
    return Service(
        name="the backend",
        command=(sys.executable, "-m", "ml_backend", "--host", HOST, "--port", str(config.ports.backend)),
        environment=LOCAL
        | {
            "MASKLOOP_LABEL_STUDIO_URL": config.label_studio_url,
            "MASKLOOP_LABEL_STUDIO_TOKEN": config.secrets.token,
            "MASKLOOP_MLFLOW_URL": config.mlflow_url,
            "MASKLOOP_CHECKPOINT": str(checkpoint(config)),
            "MASKLOOP_WEBHOOK_SECRET": config.secrets.webhook,
            "MASKLOOP_PREFECT_URL": config.prefect_api if forward_events else "",
            "MASKLOOP_JOURNAL": str(config.journal),
        },
        log=config.log("backend"),
        ready=lambda: answers(f"{config.backend_url}/ready"),
        port=config.ports.backend,
        port_option="--backend-port",
    )


def worker(config: StackConfig, project: int) -> Service:
    """The process that runs the retrain flow; it makes its work pool when there is none."""
    return Service(
        name="the Prefect worker",
        command=(
            *(sys.executable, "-m", "prefect", "worker", "start", "--name", "maskloop"),
            *("--pool", WORK_POOL, "--type", "process", "--install-policy", "never"),
        ),
        environment=prefect_environment(config) | flow_environment(config, project),
        log=config.log("worker"),
        ready=lambda: worker_is_online(config),
        folder=config.root,
    )


def flow_environment(config: StackConfig, project: int) -> dict[str, str]:
    """What the retrain flow asks its environment for."""
    return mlflow_environment(config) | {
        "MASKLOOP_LABEL_STUDIO_URL": config.label_studio_url,
        "MASKLOOP_LABEL_STUDIO_TOKEN": config.secrets.token,
        "MASKLOOP_LABEL_STUDIO_PROJECT": str(project),
        "MASKLOOP_PROJECT_ROOT": str(config.root),
        "MASKLOOP_JOURNAL": str(config.journal),
        # of any flow, so that one may be added to pipelines/flows/automations.py
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        # the stages run as `python -m pipelines.stages.…`, so this environment's python must come first
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }


def worker_is_online(config: StackConfig) -> bool:
    url = f"{config.prefect_api}/work_pools/{WORK_POOL}/workers/filter"
    try:
        answer = httpx.post(url, json={}, timeout=3.0, trust_env=False)
    except httpx.HTTPError:
        return False
    return answer.status_code == httpx.codes.OK and any(one["status"] == "ONLINE" for one in answer.json())
