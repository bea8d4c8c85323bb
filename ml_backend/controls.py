"""The labelling configuration: which control takes the masks, in which shape, and where the image is."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from xml.etree import ElementTree

from maskloop.regions import Shape
from ml_backend.errors import RequestError
from ml_backend.protocol import Task

_SHAPES: dict[str, Shape] = {"Brush": "brush", "Polygon": "polygon", "Bitmask": "bitmask"}


@dataclass(frozen=True)
class Output:
    """A control that takes masks. `type` is what its regions are called, such as `brushlabels`."""

    name: str
    type: str
    shape: Shape
    labels: frozenset[str]


@dataclass(frozen=True)
class Controls:
    """The controls of one image. `prompts` names those that only ask the model."""

    outputs: tuple[Output, ...]
    prompts: frozenset[str]
    image: str
    image_key: str
    """The key of a task's `data` that holds the address of the image."""

    def output(self, label: str | None) -> Output:
        """The control that an answer goes to: the first with this label, or else the first."""
        fitting = (output for output in self.outputs if label in output.labels)
        return next(fitting, self.outputs[0])

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


@lru_cache(maxsize=64)
def read_controls(label_config: str, image: str = "") -> Controls | None:
    """The controls that take masks of an image, or None where there are none.

    Args:
        label_config: XML.
        image: name of the Image that was clicked on; empty: the first that masks are made of.

    Raises:
        RequestError: the configuration is no XML.
    """
    root = _parse(label_config)
    keys = {tag.get("name", ""): tag.get("value", "").removeprefix("$") for tag in root.iter("Image")}
    tags = [tag for tag in root.iter() if _shape(tag) and not _only_asks(tag) and tag.get("toName") in keys]
    image = image or next((tag.get("toName", "") for tag in tags), "")
    outputs = tuple(_output(tag) for tag in tags if tag.get("toName") == image)
    if not outputs:
        return None
    prompts = frozenset(tag.get("name", "") for tag in root.iter() if _only_asks(tag))
    return Controls(outputs, prompts, image, keys[image])


def _shape(tag: ElementTree.Element) -> Shape | None:
    return _SHAPES.get(str(tag.tag).removesuffix("Labels"))


def _only_asks(tag: ElementTree.Element) -> bool:
    return tag.get("smartOnly", tag.get("smartonly", "")).lower() == "true"


def _output(tag: ElementTree.Element) -> Output:
    labels = frozenset(label.get("value", "") for label in tag.iter("Label"))
    return Output(
        tag.get("name", ""), str(tag.tag).lower(), _SHAPES[str(tag.tag).removesuffix("Labels")], labels
    )


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
