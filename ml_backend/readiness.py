"""Readiness: whether clicks are answered well now, apart from whether the process lives."""

from enum import StrEnum

from starlette.responses import JSONResponse


class State(StrEnum):
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


class Readiness:
    """What `/ready` says. Draining is final: nothing that finishes loading later makes it ready again.

    It may be told from any thread and from a signal handler: each change is one assignment.
    """

    def __init__(self, reason: str = "the model is being loaded") -> None:
        self._now = (State.STARTING, reason)
        self._draining = ""

    @property
    def state(self) -> State:
        return self._current[0]

    @property
    def reason(self) -> str:
        """Why it is not ready; empty when it is."""
        return self._current[1]

    def start(self, reason: str) -> None:
        """Not ready, or not any more: what is missing."""
        self._now = (State.STARTING, reason)

    def ready(self) -> None:
        self._now = (State.READY, "")

    def drain(self, reason: str = "the service is stopping and answers what it has accepted") -> None:
        self._draining = reason

    def response(self) -> JSONResponse:
        """The answer of `/ready`: 200, or 503 with the reason."""
        state, reason = self._current
        if state is State.READY:
            return JSONResponse({"status": state})
        return JSONResponse({"status": state, "reason": reason}, 503, headers={"Retry-After": "1"})

    @property
    def _current(self) -> tuple[State, str]:
        return (State.DRAINING, self._draining) if self._draining else self._now
