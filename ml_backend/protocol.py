"""What Label Studio 1.23 sends: the bodies of `POST /predict` and `POST /webhook`.

A task arrives with all its annotations and drafts, megabytes of run lengths that nobody asked for. Only the
fields named here are kept, and the reader is compiled code, so the rest costs little.
"""

from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from ml_backend.errors import MalformedError, RequestError


class Task(BaseModel):
    """One image to label: `data` maps the names that the labelling configuration uses to addresses."""

    id: int | str | None = None
    data: dict[str, Any] = Field(default_factory=dict)


class Value(BaseModel):
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


class Prompt(BaseModel):
    """A click or a rectangle of the labeler."""

    type: str
    value: Value
    from_name: str = ""
    is_positive: bool | None = None
    image_rotation: float | None = None
    original_width: float | None = None
    original_height: float | None = None


class Context(BaseModel):
    result: list[Prompt] | None = None


class Parameters(BaseModel):
    context: Context | None = None


class PredictRequest(BaseModel):
    tasks: list[Task]
    label_config: str = ""
    params: Parameters | None = None

    @property
    def prompts(self) -> list[Prompt]:
        """The prompts of the labeler: none when a task is opened or predicted in a batch."""
        if self.params is None or self.params.context is None:
            return []
        return self.params.context.result or []


class Identified(BaseModel):
    id: int


class Annotation(Identified):
    was_cancelled: bool | None = None


class Action(BaseModel):
    """What every webhook body says, of whatever kind."""

    action: Any = None


class AnnotationEvent(BaseModel):
    """An event about annotations, or a call for training, which has none."""

    project: Identified
    task: Identified | None = None
    annotation: Annotation | None = None
    annotations: list[Annotation] = Field(default_factory=list)


Body = TypeVar("Body", bound=BaseModel)


def read_body(body: bytes, model: type[Body]) -> Body:
    """Read a JSON body.

    Raises:
        MalformedError: the body is no JSON.
        RequestError: a field is missing or of another type; the message names it.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if problem["type"] == "json_invalid":
        raise MalformedError(f"The body of {len(body)} bytes is no JSON. {problem['msg']}.")
    place = ".".join(str(part) for part in problem["loc"]) or "the body"
    raise RequestError(f"{place}: {problem['msg']}. This service speaks the protocol of Label Studio 1.23.")
