"""The model registry of MLflow, over plain HTTP: who is champion, and its files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from ml_backend.errors import RegistryError

ALIAS = "champion"
FILES = ("config.json", "model.safetensors")
TIMEOUT = httpx.Timeout(30.0, connect=3.0)
_ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}


@dataclass(frozen=True)
class ModelVersion:
    """A version of the registered model, and the digest its weights must have."""

    number: str
    sha256: str


class Registry:
    """A client of one registered model. It is used from one thread."""

    def __init__(self, url: str, model: str) -> None:
        self._url = url
        self._model = model
        # A transport of its own leaves out the proxies of the environment.
        self._client = httpx.Client(timeout=TIMEOUT, transport=httpx.HTTPTransport())

    def champion(self) -> ModelVersion | None:
        """The version that holds the alias, or None while no version does.

        Raises:
            RegistryError: the registry does not answer, or the version has no digest.
        """
        reply = self._get("/api/2.0/mlflow/registered-models/alias", {"name": self._model, "alias": ALIAS})
        answer = _json_object(reply)
        if answer.get("error_code") in _ABSENT:
            return None
        if reply.status_code != httpx.codes.OK or "model_version" not in answer:
            raise RegistryError(
                f"The registry at {self._url} answers HTTP {reply.status_code} when asked for "
                f"{self._model}@{ALIAS}: is MASKLOOP_MLFLOW_URL the address of an MLflow server?"
            )
        return self._version(answer["model_version"])

    def download(self, version: ModelVersion, directory: Path) -> None:
        """Write the files of a version into a directory. The server finds them, whatever its artifact store.

        Raises:
            RegistryError: a file is not there.
        """
        for name in FILES:
            reply = self._get(
                "/model-versions/get-artifact",
                {"name": self._model, "version": version.number, "path": name},
            )
            if reply.status_code != httpx.codes.OK:
                raise RegistryError(
                    f"The registry at {self._url} answers HTTP {reply.status_code} for {name} of version "
                    f"{version.number}: a version's source must hold {' and '.join(FILES)}."
                )
            (directory / name).write_bytes(reply.content)

    def close(self) -> None:
        self._client.close()

    def _version(self, answer: dict[str, Any]) -> ModelVersion:
        tags = {tag["key"]: tag["value"] for tag in answer.get("tags", [])}
        number = str(answer["version"])
        if not tags.get("sha256"):
            raise RegistryError(
                f"Version {number} of {self._model} has no sha256 tag: its weights cannot be verified: set "
                "the tag to the sha256 of model.safetensors."
            )
        return ModelVersion(number=number, sha256=tags["sha256"])

    def _get(self, path: str, parameters: dict[str, str]) -> httpx.Response:
        try:
            return self._client.get(self._url + path, params=parameters)
        except httpx.HTTPError as error:
            raise RegistryError(
                f"The registry at {self._url} is not reached: {str(error) or type(error).__name__}. "
                "Is MLflow running?"
            ) from error


def _json_object(reply: httpx.Response) -> dict[str, Any]:
    try:
        answer = reply.json()
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
