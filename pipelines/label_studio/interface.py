"""The labelling configuration of a project: the controls that ask for masks, and those that take them.

Two smart controls with the same labels take clicks: a point of `exclude` is a negative click, without the Alt
key that window managers swallow. What takes the masks is not smart, or the editor shows a button that does
nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from maskloop.regions import Shape
from pipelines.errors import InterfaceError

Element = ElementTree.Element

_SHAPES: dict[str, Shape] = {"BrushLabels": "brush", "PolygonLabels": "polygon", "BitmaskLabels": "bitmask"}
SHAPES: dict[str, str] = {shape: tag for tag, shape in _SHAPES.items()}
"""How a mask is stored, and the control that stores it so."""

# The controls that ask: name, tag, and what the labeler reads above it.
INCLUDE = ("include", "KeyPointLabels", "Click on it")
EXCLUDE = ("exclude", "KeyPointLabels", "Click beside it")
BOX = ("box", "RectangleLabels", "Box around it")
_HEADERS = {"brush": "Paint it", "polygon": "Outline it", "bitmask": "Paint it"}

# Okabe and Ito's colours, told apart by colour-blind people too; vermilion is left to what is excluded.
COLOURS = ("#009e73", "#56b4e9", "#e69f00", "#cc79a7", "#0072b2", "#f0e442")
EXCLUDE_COLOUR = "#d55e00"
_DIGITS = "1234567890"  # letters are taken by the editor's tools

_EMPTY = '<View><Image name="image" value="$image" zoom="true"/></View>'
_ROW = {"style": "display: flex; flex-wrap: wrap; align-items: center; column-gap: 1em"}


@dataclass(frozen=True)
class Control:
    """A control of labels on the image."""

    name: str
    tag: str
    labels: tuple[str, ...]
    smart: bool


@dataclass(frozen=True)
class Interface:
    """What a labelling configuration offers. `image_key` is the key of a task's data that holds the image."""

    image: str
    image_key: str
    outputs: tuple[Control, ...]
    include: Control | None
    exclude: Control | None
    box: Control | None

    @property
    def shape(self) -> Shape | None:
        """The shape in which masks are stored: that of the first control that takes them."""
        return _SHAPES.get(self.outputs[0].tag) if self.outputs else None

    @property
    def labels(self) -> tuple[str, ...]:
        return self.outputs[0].labels if self.outputs else ()


@dataclass(frozen=True)
class Update:
    """A configuration brought up to date, and what was changed; without a change the text is the old one."""

    config: str
    changes: tuple[str, ...]


def build_interface(labels: Sequence[str], shape: str = "brush") -> str:
    """The configuration of a new project."""
    return update_interface(_EMPTY, labels, shape).config


def read_interface(text: str) -> Interface:
    """What a configuration offers.

    Raises:
        InterfaceError: it is no XML, or does not label one image a task.
    """
    root = _parse(text)
    image = _image(root)
    controls = [_control(element) for element in _controls(root, image)]
    keypoints = [one for one in controls if one.tag == "KeyPointLabels" and one.smart]
    boxes = [one for one in controls if one.tag == "RectangleLabels" and one.smart]
    return Interface(
        image=image.get("name", ""),
        image_key=image.get("value", "").removeprefix("$"),
        outputs=tuple(one for one in controls if one.tag in SHAPES.values()),
        include=next((one for one in keypoints if not _excludes(one.name)), None),
        exclude=next((one for one in keypoints if _excludes(one.name)), None),
        box=next(iter(boxes), None),
    )


def update_interface(text: str, labels: Sequence[str] = (), shape: str | None = None) -> Update:
    """Bring a configuration up to date: what a person wrote stays, what is missing is added.

    Args:
        text: the configuration as it is; an empty one is built anew.
        labels: labels that every control shall offer, beside those that are there.
        shape: how masks shall be stored; None: as they are, or brush.

    Raises:
        InterfaceError: it is no XML, labels no image, names no label, or uses one of our names otherwise.
    """
    root = _parse(text if text.strip() and len(_parse(text)) else _EMPTY)
    editor = _Editor(root, _image(root))
    present = read_interface(ElementTree.tostring(root, encoding="unicode"))
    wanted = _wanted_labels(editor, present, labels)
    for kind, control in ((INCLUDE, present.include), (EXCLUDE, present.exclude), (BOX, present.box)):
        editor.ask(control.name if control else kind[0], kind, wanted)
    stored = shape or present.shape or "brush"
    if stored not in SHAPES:
        raise InterfaceError(f"Masks cannot be stored as {stored!r}: choose one of {', '.join(SHAPES)}.")
    output = next((one for one in present.outputs if one.tag == SHAPES[stored]), None)
    editor.take(output.name if output else stored, stored, wanted)
    return Update(editor.text() if editor.changes else text, tuple(editor.changes))


class _Editor:
    """Changes a configuration, and writes down what was changed."""

    def __init__(self, root: Element, image: Element) -> None:
        self._root = root
        self._image = image
        self._row: Element | None = None
        self.changes: list[str] = []

    @property
    def controls(self) -> list[Element]:
        return list(_controls(self._root, self._image))

    def ask(self, name: str, kind: tuple[str, str, str], labels: Sequence[str]) -> None:
        """See to a smart control."""
        control = self._find(name, kind[1])
        if control is None:
            control = self._add(name, kind[1], kind[2], {"smart": "true", "smartOnly": "true"})
        elif not _control(control).smart:
            control.set("smart", "true")
            self.changes.append(f"made the control {name} smart")
        self._label(control, labels)

    def take(self, name: str, shape: str, labels: Sequence[str]) -> None:
        """See to the control that takes masks."""
        control = self._find(name, SHAPES[shape])
        if control is None:
            control = self._add(name, SHAPES[shape], _HEADERS[shape], {"smart": "false"})
        elif control.get("smart", "").lower() != "false":
            control.set("smart", "false")
            self.changes.append(f'set smart="false" on {name}, whose smart button does nothing')
        self._label(control, labels)

    def text(self) -> str:
        ElementTree.indent(self._root)
        return ElementTree.tostring(self._root, encoding="unicode")

    def _find(self, name: str, tag: str) -> Element | None:
        element = next((one for one in self._root.iter() if one.get("name") == name), None)
        if element is None or (element.tag == tag and element in self.controls):
            return element
        raise InterfaceError(
            f"The name {name!r} belongs to a {element.tag} and is needed for a {tag} of the image "
            f"{self._image.get('name')!r}: give that {element.tag} another name."
        )

    def _add(self, name: str, tag: str, header: str, attributes: dict[str, str]) -> Element:
        if self._row is None:
            self._row = ElementTree.SubElement(self._root, "View", _ROW)
        ElementTree.SubElement(self._row, "Header", {"value": header, "size": "6"})
        given = {"name": name, "toName": self._image.get("name", "")} | attributes
        self.changes.append(f"added the control {name}")
        return ElementTree.SubElement(self._row, tag, given)

    def _label(self, control: Element, labels: Sequence[str]) -> None:
        """Add the labels that a control does not offer."""
        name, present = control.get("name", ""), _control(control).labels
        new = f"added the control {name}" in self.changes
        for index, label in enumerate(labels):
            if label in present:
                continue
            colour = EXCLUDE_COLOUR if _excludes(name) else self._colour(label, index)
            attributes = {"value": label, "background": colour} | self._hotkey()
            ElementTree.SubElement(control, "Label", attributes)
            if not new:
                self.changes.append(f"added the label {label} to {name}")

    def _colour(self, label: str, index: int) -> str:
        """The colour that a label has elsewhere, or one of ours."""
        controls = [one for one in self.controls if not _excludes(one.get("name", ""))]
        same = (one for control in controls for one in control.iter("Label") if one.get("value") == label)
        given = next((one.get("background") for one in same if one.get("background")), None)
        return given or COLOURS[index % len(COLOURS)]

    def _hotkey(self) -> dict[str, str]:
        taken = {one.get("hotkey") for one in self._root.iter()}
        free = next((digit for digit in _DIGITS if digit not in taken), None)
        return {"hotkey": free} if free else {}


def _parse(text: str) -> Element:
    # Entities are the one way in which this parser can be made to do harm; no configuration has any.
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InterfaceError("The labelling configuration declares XML entities: remove its DOCTYPE.")
    builder = ElementTree.TreeBuilder(insert_comments=True)
    parser = ElementTree.XMLParser(target=builder)  # noqa: S314 - see above
    try:
        return ElementTree.fromstring(text, parser)  # noqa: S314
    except (ElementTree.ParseError, ValueError) as error:
        raise InterfaceError(
            f"The labelling configuration is no XML ({error}): mend it in the project's settings."
        ) from error


def _image(root: Element) -> Element:
    """The image that is labelled: the one that a control of masks names, or the only one."""
    if root.find(".//Video") is not None:
        raise InterfaceError("The project labels videos, and maskloop images: connect another project.")
    images = list(root.iter("Image"))
    if not images:
        raise InterfaceError(
            'The labelling configuration shows no image: add <Image name="image" value="$image"/>, with the '
            "key that the tasks hold their images under, or connect a project that labels images."
        )
    named = {one.get("toName") for one in root.iter() if one.tag in SHAPES.values()}
    chosen = images if len(images) == 1 else [one for one in images if one.get("name") in named]
    if len(chosen) != 1 or not chosen[0].get("value"):
        raise InterfaceError(
            f"The labelling configuration shows {len(images)} images and not one to make masks on: give one "
            "Image a value, and let a single image be named by the control of masks."
        )
    return chosen[0]


def _controls(root: Element, image: Element) -> Iterator[Element]:
    for element in root.iter():
        if str(element.tag).endswith("Labels") and element.get("toName") == image.get("name"):
            yield element


def _control(element: Element) -> Control:
    smart = any(element.get(name, "").lower() == "true" for name in ("smart", "smartOnly", "smartonly"))
    labels = dict.fromkeys(label.get("value", "") for label in element.iter("Label"))
    return Control(element.get("name", ""), str(element.tag), tuple(labels), smart)


def _excludes(name: str) -> bool:
    """Whether points of a control of this name are negative clicks, as the backend has it."""
    return name.casefold() == EXCLUDE[0]


def _wanted_labels(editor: _Editor, present: Interface, labels: Sequence[str]) -> list[str]:
    """Labels of the controls that are there, then the new ones; each once."""
    kept = [*present.outputs, *filter(None, (present.include, present.exclude, present.box))]
    if not any(control.labels for control in kept):
        kept = [_control(element) for element in editor.controls]
    wanted = dict.fromkeys([*(label for control in kept for label in control.labels), *labels])
    if not wanted:
        raise InterfaceError("The labelling configuration names no label: give some with --labels a,b.")
    return list(wanted)
