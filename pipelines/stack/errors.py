"""Errors of the stack.

MaskloopError
  x StackError                something about the running stack is not as it must be
    x ProgramMissingError     a program that a service is started with is not installed
    x PortTakenError          another program listens where a service should
    x ServiceFailedError      a service ended by itself, or does not answer
    x DataFolderBusyError     another stack uses the data folder
    x RefusedError            a request that Label Studio did not accept
"""

from maskloop.errors import MaskloopError


class StackError(MaskloopError):
    """The stack cannot do what was asked."""


class ProgramMissingError(StackError):
    """A program is not installed."""


class PortTakenError(StackError):
    """A port is in use."""


class ServiceFailedError(StackError):
    """A service ended or does not answer."""


class DataFolderBusyError(StackError):
    """The data folder belongs to another stack that runs now."""


class RefusedError(StackError):
    """Label Studio answered with an error; `status` is that of HTTP."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status
