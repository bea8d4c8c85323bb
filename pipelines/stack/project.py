"""The demo's project in Label Studio: labelling interface, sample photos, backend, webhook."""

from typing import Any

from pipelines.data.samples import SamplePhoto
from pipelines.label_studio import connection
from pipelines.label_studio.client import LabelStudio
from pipelines.label_studio.connection import Wanted
from pipelines.label_studio.interface import build_interface
from pipelines.stack.errors import StackError

TITLE = "maskloop demo"
LABEL = "Object"


def ensure_project(client: LabelStudio) -> int:
    """Make the project unless there is one. Returns its number."""
    project = client.project(TITLE)
    if project is None:
        project = client.create_project(title=TITLE, label_config=build_interface([LABEL]))
    return int(project["id"])


def ensure_connection(client: LabelStudio, project: int, backend_url: str, secret: str) -> int:
    """Connect the project with the backend. Returns the number of the connection."""
    for _ in connection.connect(client, project, Wanted(backend_url, (LABEL,), webhook_secret=secret)):
        pass
    backend = connection.find_backend(client, project, backend_url)
    if backend is None:
        raise StackError(f"Label Studio lost its connection to {backend_url}: start the stack again.")
    return int(backend["id"])


def ensure_samples(client: LabelStudio, project: int, photos: list[SamplePhoto]) -> None:
    """Upload the photos that the project does not have yet."""
    present = [uploaded_name(task) for task in client.tasks(project)]
    for photo in photos:
        if f"{photo.name}{photo.suffix}" not in present:
            client.upload(project, f"{photo.name}{photo.suffix}", photo.image_bytes)


def uploaded_name(task: dict[str, Any]) -> str:
    """The name that a task's photo was uploaded under; Label Studio puts a random word and a dash first."""
    return str(task["data"]["image"]).rsplit("/", 1)[-1].split("-", 1)[-1]
