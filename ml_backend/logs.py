"""Logs: one line a record, as text or as JSON, without secrets and without lines that data made up.

Records are cleaned where they are written, message, arguments, exception and extra fields together, so that
a secret cannot hide in the part that a filter did not look at.
"""

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from ml_backend.redaction import HIDDEN, Redaction, one_line

TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "color_message", "taskName"}
"""What every record has; anything else was given as `extra`."""
_SECRET_NAMES = ("token", "password", "secret", "authorization", "cookie", "api_key")
_MAX_ITEMS = 50


def configure(log_format: str, redaction: Redaction, stream: TextIO | None = None) -> None:
    """Send the records of all loggers, uvicorn's too, to one stream.

    uvicorn must be given `log_config=None`, or it sets up handlers of its own.

    Args:
        log_format: `text` or `json`.
        redaction: takes out the secrets.
        stream: where to; None: standard error.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(redaction) if log_format == "json" else TextFormatter(redaction))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs the address of every request


class TextFormatter(logging.Formatter):
    """A line for a person. An exception follows in lines that begin with `|`, as no record does."""

    def __init__(self, redaction: Redaction) -> None:
        super().__init__(TEXT_FORMAT)
        self._redaction = redaction

    def format(self, record: logging.LogRecord) -> str:
        record.message = one_line(self._redaction(_message(record)))
        record.asctime = self.formatTime(record)
        lines = [one_line(self.formatMessage(record))]
        traceback = self._redaction(_traceback(self, record))
        lines += [f"    | {one_line(line)}" for line in traceback.splitlines()]
        return "\n".join(lines)


class JsonFormatter(logging.Formatter):
    """One object a line: time (ISO 8601, UTC), level, logger, message, the extra fields, exception."""

    def __init__(self, redaction: Redaction) -> None:
        super().__init__()
        self._redaction = redaction

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": self._redaction(_message(record)),
        }
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        fields = {**self._cleaned(extra), **fields}
        if traceback := _traceback(self, record):
            fields["exception"] = self._redaction(traceback)
        return json.dumps(fields)

    def _cleaned(self, value: Any, depth: int = 0) -> Any:
        """A value of JSON without secrets. What JSON does not know, or is nested deeply, becomes text."""
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, float) and value - value == 0:  # JSON has no infinity and no NaN
            return value
        if isinstance(value, Mapping) and depth < 4:
            items = [(str(name), item) for name, item in list(value.items())[:_MAX_ITEMS]]
            return {
                self._redaction(name): HIDDEN if _is_secret(name) else self._cleaned(item, depth + 1)
                for name, item in items
            }
        if isinstance(value, list | tuple) and depth < 4:
            return [self._cleaned(item, depth + 1) for item in value[:_MAX_ITEMS]]
        return self._redaction(str(value))


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET_NAMES)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - logging itself would print the arguments as they are
        return f"{record.msg} {record.args!r}"


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """The exception and the stack of a record. They are not kept on it, where other handlers find them."""
    parts = []
    if record.exc_info and record.exc_info[0] is not None:
        parts.append(formatter.formatException(record.exc_info))
    elif record.exc_text:
        parts.append(record.exc_text)
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(parts)
