"""The section of params.yaml that a stage was written for."""

from pathlib import Path
from typing import Any

import yaml

from pipelines.errors import SettingsError

PATH = Path("params.yaml")


def read_params(root: Path, stage: str) -> dict[str, Any]:
    """The parameters of one stage.

    Raises:
        SettingsError: params.yaml is missing, is no YAML, or has no such section.
    """
    try:
        sections = yaml.safe_load((root / PATH).read_text(encoding="utf-8"))
        return dict(sections[stage])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise SettingsError(f"{root / PATH} has no usable section {stage!r} ({error!r}): add it.") from error
