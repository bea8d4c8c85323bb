"""Log records on one line, whatever data they quote, and without secrets in any part."""

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator

import pytest

from ml_backend.logs import configure
from ml_backend.redaction import Redaction

SECRET = "correct-horse-battery"


@pytest.fixture
def written() -> Iterator[Callable[[str], io.StringIO]]:
    """Configures the format asked for, and gives what is written to. The loggers are as before afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def start(log_format: str) -> io.StringIO:
        stream = io.StringIO()
        root.handlers = []  # those of pytest must not be closed
        configure(log_format, Redaction([SECRET]), stream)
        return stream

    yield start
    root.handlers, root.level = handlers, level
    logging.captureWarnings(False)


def fail(message: str) -> None:
    raise ValueError(message)


def test_text__as_before(written):
    stream = written("text")
    logging.getLogger("ml_backend.service").info("Task %s: %d prompts", 24, 1)
    assert stream.getvalue().endswith("INFO ml_backend.service: Task 24: 1 prompts\n")


def test_text__injected_line_stays_one_line(written):
    stream = written("text")
    logging.getLogger("x").info("label %s", "a\n2026-01-01 00:00:00,000 INFO ml_backend: all is well\x1b[2J")
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()


def test_text__exception_lines_begin_with_a_bar(written):
    stream = written("text")
    try:
        fail(f"bad\n2026-01-01 00:00:00,000 INFO ml_backend: {SECRET}")
    except ValueError:
        logging.getLogger("x").exception("failed")
    head, *rest = stream.getvalue().splitlines()
    assert head.endswith("ERROR x: failed")
    assert any("ValueError: bad" in line for line in rest)
    assert all(line.startswith("    | ") for line in rest)
    assert SECRET not in stream.getvalue()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_secrets__in_no_part(written, log_format):
    stream = written(log_format)
    logger = logging.getLogger("uvicorn.error")
    logger.info("of %s", SECRET)
    logger.info(f"%s {SECRET}", {"Authorization": "Token abcdef123"})
    logger.info("two parts %s%s", SECRET[:9], SECRET[9:])
    logger.info("%d is no number", SECRET)
    logger.info("extra", extra={"where": f"http://host/a?sig={SECRET}", "access_token": "abcdef123"})
    try:
        fail("Bearer abcdef123")
    except ValueError:
        logger.exception(SECRET, exc_info=True, stack_info=True)
    assert stream.getvalue().count("***") >= 6
    assert SECRET not in stream.getvalue()
    assert "abcdef123" not in stream.getvalue()


def test_json__fields(written):
    stream = written("json")
    extra = {"task": 24, "prompts": 3, "milliseconds": 12.5, "version": "default-1", "score": float("nan")}
    logging.getLogger("ml_backend").warning("a\nb \ud800", extra=extra)
    line = json.loads(stream.getvalue())
    assert stream.getvalue().count("\n") == 1
    assert line.pop("time").endswith("+00:00")
    assert line == {
        **extra,
        "score": "nan",
        "level": "WARNING",
        "logger": "ml_backend",
        "message": "a\nb \ud800",
    }


def test_json__nested_and_unknown_values(written):
    stream = written("json")
    itself: list = []
    itself.append(itself)
    extra = {"deep": {"token": "abc", 5: ["Basic dXNlcjpwYXNz"]}, "path": sys, "itself": itself}
    logging.getLogger("x").info("", extra=extra)
    line = json.loads(stream.getvalue())
    assert line["deep"] == {"token": "***", "5": ["Basic ***"]}
    assert line["path"].startswith("<module 'sys'")


def test_json__record_cannot_overwrite_what_is_known(written):
    stream = written("json")
    logging.getLogger("x").info("true", extra={"level": "DEBUG", "time": "never"})
    line = json.loads(stream.getvalue())
    assert (line["level"], line["time"] == "never") == ("INFO", False)


def test_configure__httpx_is_quiet(written):
    stream = written("text")
    logging.getLogger("httpx").info("HTTP Request: GET http://host/a")
    assert not stream.getvalue()


def test_record__is_not_changed_for_other_handlers(written):
    written("text")
    seen: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = seen.append
    logging.getLogger().addHandler(handler)
    try:
        fail(SECRET)
    except ValueError:
        logging.getLogger("x").exception("%s", SECRET)
    assert seen[0].exc_text is None
    assert seen[0].args == (SECRET,)
