"""The labelling configuration: which controls the answer must name."""

from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from ml_backend.errors import RequestError
from ml_backend.protocol import Task


@dataclass(frozen=True)
class Controls:
    """The control that takes masks, and the image it paints on."""

    brush: str
    image: str
    image_key: str
    """The key of a task's `data` that holds the address of the image."""

    def image_address(self, task: Task) -> str:
        """The address of a task's image.

        Raises:
            RequestError: the task has no such field, or something else than text in it.
        """
        address: Any = task.data.get(self.image_key)
        if not isinstance(address, str) or not address:
            raise RequestError(
                f"Task {task.id} has no image: data.{self.image_key} is a {type(address).__name__}. "
                f"The labelling configuration reads it for the Image {self.image!r}."
            )
        return address


def read_controls(label_config: str) -> Controls | None:
    """The first BrushLabels and its Image, or None where no mask can be shown.

    Raises:
        RequestError: the configuration is no XML.
    """
    root = _parse(label_config)
    brush = root.find(".//BrushLabels")
    if brush is None:
        return None
    image_name = brush.get("toName", "")
    for image in root.iter("Image"):
        if image.get("name") == image_name:
            key = image.get("value", "").removeprefix("$")
            return Controls(brush=brush.get("name", ""), image=image_name, image_key=key)
    return None


def _parse(label_config: str) -> ElementTree.Element:
    # Entities are the one way in which this parser can be made to do harm; no configuration has any.
    if "<!DOCTYPE" in label_config or "<!ENTITY" in label_config:
        raise RequestError("label_config declares XML entities: remove the DOCTYPE from it.")
    try:
        return ElementTree.fromstring(label_config)  # noqa: S314
    except (ElementTree.ParseError, ValueError) as error:
        raise RequestError(
            f"label_config is no XML: {error}. It starts with {label_config[:40]!r}."
        ) from error
