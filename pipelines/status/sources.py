"""Sources: where each fact is asked for. The environment names them; else they are those of the stack."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.stack.config import REPOSITORY, StackConfig, remembered_ports


@dataclass(frozen=True)
class Sources:
    """Addresses, empty where nothing is to be asked. `project` is None for the demo's."""

    root: Path
    mlflow: str = ""
    model: str = "maskloop"
    prefect_api: str = ""
    label_studio: str = ""
    token: str = field(default="", repr=False)
    project: int | None = None
    backend: str = ""
    journal: str = ""
    stack: StackConfig | None = None

    @classmethod
    def find(
        cls, root: Path | None, data: Path | None, environment: Mapping[str, str] = os.environ
    ) -> "Sources":
        """What the variables of the worker name; what they leave out is the stack's of the data folder."""
        get = environment.get
        folder = data or REPOSITORY / ".maskloop"
        place = Path(root or get("MASKLOOP_PROJECT_ROOT") or ".").resolve()
        started = (folder / "ports.json").is_file()
        stack = StackConfig(folder, ports=remembered_ports(folder)) if started else None
        number = get("MASKLOOP_LABEL_STUDIO_PROJECT", "")
        return cls(
            root=place,
            mlflow=get("MLFLOW_TRACKING_URI") or (stack.mlflow_url if stack else ""),
            model=get("MASKLOOP_MODEL") or "maskloop",
            prefect_api=get("PREFECT_API_URL") or (stack.prefect_api if stack else ""),
            label_studio=get("MASKLOOP_LABEL_STUDIO_URL") or (stack.label_studio_url if stack else ""),
            token=get("MASKLOOP_LABEL_STUDIO_TOKEN") or (stack.secrets.token if stack else ""),
            project=int(number) if number.isdecimal() else None,
            backend=get("MASKLOOP_BACKEND_URL") or (stack.backend_url if stack else ""),
            journal=get("MASKLOOP_JOURNAL") or (str(stack.journal) if stack else ""),
            stack=stack,
        )
