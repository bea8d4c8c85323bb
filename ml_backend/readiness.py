"""Readiness: whether clicks are answered well now, apart from whether the process lives."""

from enum import StrEnum

from starlette.responses import JSONResponse


class State(StrEnum):
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


class Readiness:
    """What `/ready` says. Draining is final: nothing that finishes loading later makes it ready again.

    It may be told from any thread and from a signal handler: state and reason move together, in one assignment.
    """

    def __init__(self, reason: str = "the model is being loaded") -> None:
        self._now = (State.STARTING, reason)

    @property
    def state(self) -> State:
        return self._now[0]

    @property
    def reason(self) -> str:
        """Why it is not ready; empty when it is."""
        return self._now[1]

    def start(self, reason: str) -> None:
        """Not ready, or not any more: what is missing."""
        self._move(State.STARTING, reason)

    def ready(self) -> None:
        self._move(State.READY, "")

    def drain(self, reason: str = "the service is stopping and answers what it has accepted") -> None:
        self._now = (State.DRAINING, reason)

    def response(self) -> JSONResponse:
        """The answer of `/ready`: 200, or 503 with the reason."""
        state, reason = self._now
        if state is State.READY:
            return JSONResponse({"status": state})
        return JSONResponse({"status": state, "reason": reason}, 503, headers={"Retry-After": "1"})

    def _move(self, state: State, reason: str) -> None:
        now = self._now
        if now[0] is not State.DRAINING:
            self._now = (state, reason)
