"""The demo's project in Label Studio: labelling interface, sample photos, backend, webhook."""

from typing import Any

from pipelines.samples import SamplePhoto
from pipelines.stack.label_studio import LabelStudio

TITLE = "maskloop demo"
LABEL = "Object"
BACKEND_TITLE = "maskloop"
WEBHOOK_ACTIONS = ["ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED"]

# Two smart controls with the same label: a point of `exclude` is a negative click, without the Alt key that
# window managers swallow. BrushLabels is not smart, or the editor shows a button that does nothing.
INTERFACE = f"""
<View>
  <Image name="image" value="$image" zoom="true"/>
  <View style="display: flex; flex-wrap: wrap; align-items: center; column-gap: 1em">
    <Header value="Click on it" size="6"/>
    <KeyPointLabels name="include" toName="image" smart="true" smartOnly="true">
      <Label value="{LABEL}" background="#00c853"/>
    </KeyPointLabels>
    <Header value="Click beside it" size="6"/>
    <KeyPointLabels name="exclude" toName="image" smart="true" smartOnly="true">
      <Label value="{LABEL}" background="#d50000"/>
    </KeyPointLabels>
    <Header value="Box around it" size="6"/>
    <RectangleLabels name="box" toName="image" smart="true" smartOnly="true">
      <Label value="{LABEL}" background="#00c853"/>
    </RectangleLabels>
    <Header value="Paint it" size="6"/>
    <BrushLabels name="brush" toName="image" smart="false">
      <Label value="{LABEL}" background="#00c853"/>
    </BrushLabels>
  </View>
</View>
"""


def ensure_project(client: LabelStudio) -> int:
    """Make the project, or bring an earlier one up to date. Returns its number."""
    fields = {
        "label_config": INTERFACE,
        # Opening a task must not wait for a prediction that nobody clicked for.
        "show_collab_predictions": False,
        "expert_instruction": "Click on the object. Add clicks until the mask fits, then accept and submit.",
        "show_instruction": False,
    }
    project = client.project(TITLE)
    if project is None:
        return int(client.create_project(title=TITLE, **fields)["id"])
    client.update_project(project["id"], **fields)
    return int(project["id"])


def ensure_samples(client: LabelStudio, project: int, photos: list[SamplePhoto]) -> None:
    """Upload the photos that the project does not have yet."""
    present = [uploaded_name(task) for task in client.tasks(project)]
    for photo in photos:
        if f"{photo.name}{photo.suffix}" not in present:
            client.upload(project, f"{photo.name}{photo.suffix}", photo.image_bytes)


def uploaded_name(task: dict[str, Any]) -> str:
    """The name that a task's photo was uploaded under; Label Studio puts a random word and a dash first."""
    return str(task["data"]["image"]).rsplit("/", 1)[-1].split("-", 1)[-1]


def ensure_backend(client: LabelStudio, project: int, url: str) -> int:
    """Connect the backend, or tell an earlier connection its present address. Returns its number."""
    for backend in client.backends(project):
        if backend["title"] == BACKEND_TITLE:
            client.move_backend(backend["id"], project, url)
            return int(backend["id"])
    return int(client.connect_backend(project, url, BACKEND_TITLE)["id"])


def ensure_webhook(client: LabelStudio, project: int, backend_url: str, secret: str) -> None:
    """One webhook that carries the secret. Label Studio makes one without it when a backend is connected."""
    fields = {
        "url": f"{backend_url}/webhook",
        "headers": {"X-Maskloop-Secret": secret},
        "send_payload": True,
        "send_for_all_actions": False,
        "actions": WEBHOOK_ACTIONS,
        "is_active": True,
    }
    hooks = [hook for hook in client.webhooks(project) if hook["url"].endswith("/webhook")]
    if not hooks:
        client.create_webhook(project=project, **fields)
    for hook in hooks:
        client.update_webhook(hook["id"], **fields)
