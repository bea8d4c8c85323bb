"""What Label Studio 1.23 sends: the bodies of `POST /predict` and `POST /webhook`.

A task arrives with all its annotations, drafts and predictions, megabytes of run lengths that few clicks
need. They are skipped over here and kept as bytes; `stored` reads them when a click asks for it.
"""

import re
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

from ml_backend.errors import MalformedError, RequestError

NOTHING = Raw(b"[]")


class Task(Struct):
    """One image to label: `data` maps the names that the labelling configuration uses to addresses.

    The rest is what people and models have stored, unread.
    """

    id: int | str | None = None
    data: dict[str, Any] = {}
    drafts: Raw = NOTHING
    annotations: Raw = NOTHING
    predictions: Raw = NOTHING

    @property
    def holds_anything(self) -> bool:
        """Whether anything is stored that negative clicks could mean."""
        return any(bytes(stored) != b"[]" for stored in (self.drafts, self.annotations, self.predictions))


class Value(Struct):
    """Where a prompt lies, in percent of the image, and its label under a key named like its type."""

    x: float
    y: float
    width: float = 0.0
    height: float = 0.0
    rotation: float = 0.0
    positive: bool | None = None
    labels: list[str] | None = None
    keypointlabels: list[str] | None = None
    rectanglelabels: list[str] | None = None


class Prompt(Struct):
    """A click or a rectangle of the labeler."""

    type: str
    value: Value
    id: str | int | None = None
    from_name: str = ""
    to_name: str = ""
    is_positive: bool | None = None
    image_rotation: float | None = None
    original_width: float | None = None
    original_height: float | None = None


class Context(Struct):
    result: list[Prompt] | None = None


class Parameters(Struct):
    context: Context | None = None


class PredictRequest(Struct):
    tasks: list[Task]
    label_config: str = ""
    project: str | int | None = None
    params: Parameters | None = None

    @property
    def prompts(self) -> list[Prompt]:
        """The prompts of the labeler, each once: none when a task is opened or predicted in a batch.

        A click comes once for every control whose label is selected, first for the one of the tool at hand:
        a labeler who goes from `include` to `exclude` leaves both selected.
        """
        if self.params is None or self.params.context is None:
            return []
        prompts = self.params.context.result or []
        first = {prompt.id: prompt for prompt in reversed(prompts)}
        return [prompt for prompt in prompts if not prompt.id or prompt is first[prompt.id]]

    @property
    def project_id(self) -> int | None:
        """The number of the project; Label Studio puts its time of creation behind a dot."""
        number = str(self.project or "").partition(".")[0]
        return int(number) if number.isdecimal() and len(number) < 19 else None


class Identified(Struct):
    id: int


class Drawn(Struct):
    """A result of an annotation; several share an id where the editor kept the click beside its mask."""

    id: str | int | None = None


class Annotation(Identified):
    was_cancelled: bool | None = None
    result: list[Drawn] | None = None

    @property
    def masks(self) -> int:
        """How many regions it holds; 1 where the event does not tell."""
        return 1 if self.result is None else len({drawn.id for drawn in self.result})


class Action(Struct):
    """What every webhook body says, of whatever kind."""

    action: Any = None


class AnnotationEvent(Struct):
    """An event about annotations, or a call for training, which has none."""

    project: Identified
    task: Identified | None = None
    annotation: Annotation | None = None
    annotations: list[Annotation] = []


class NewTask(Struct):
    id: int
    data: dict[str, Any] = {}


class Project(Struct):
    label_config: str = ""


class TasksEvent(Struct):
    """An event about tasks."""

    project: Project
    tasks: list[NewTask] = []


Body = TypeVar("Body", bound=Struct)


def read_body(body: bytes, model: type[Body]) -> Body:
    """Read a JSON body.

    Raises:
        MalformedError: the body is no JSON.
        RequestError: a field is missing or of another type; the message names it.
    """
    try:
        return msgspec.json.decode(body, type=model, strict=False)
    except msgspec.ValidationError as error:
        raise RequestError(
            f"{_place(str(error))}. This service speaks the protocol of Label Studio 1.23."
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(f"The body of {len(body)} bytes is no JSON: {str(error)[:200]}.") from error


def _place(problem: str) -> str:
    """Msgspec's "Expected `array`, got `null` - at `$.tasks`" with the place first, as "tasks: …"."""
    text, _, path = problem.partition(" - at `$")
    steps = re.findall(r"[\w.]+", path.replace("...", "*"))
    place = ".".join(step.strip(".") for step in steps)
    missing = re.search(r"missing required field `(\w+)`", text)
    if missing:
        place = f"{place}.{missing[1]}".strip(".")
    return f"{place or 'the body'}: {text}"
