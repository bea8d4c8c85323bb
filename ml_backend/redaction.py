"""Redaction: what must not be read in a log or on a page is taken out of a text.

Task data and label names are written by anyone, and libraries put addresses and headers into their messages.
So a text is cleaned where it leaves the service, whoever wrote it.
"""

import base64
import re
from collections.abc import Iterable, Iterator
from typing import Self
from urllib.parse import quote

from ml_backend.settings import Settings

HIDDEN = "***"
MAX_LENGTH = 8000
"""Characters of one text; what is longer is cut, since a request may name megabytes."""

_WORD = 6
"""A secret shorter than this is taken out as a whole word only: `a` stands in every message."""

_PROSE = r"(?:[a-z]{1,15}|\d{1,4}|MASKLOOP_\w+)(?![\w+/=~-]|\.\w)"
"""What follows `token` or `basic` in a sentence of ours: an ordinary word, a figure, a variable."""

_RULES = (
    # a JSON web token: a personal access token or what it is exchanged for
    (re.compile(r"(?<![\w-])eyJ[\w-]{5,}(?:\.[\w-]*){1,2}"), HIDDEN),
    # what headers carry
    (re.compile(rf"(?i:\b(token|bearer|basic))\s+(?!{_PROSE})[^\s\"',;<>]+"), rf"\1 {HIDDEN}"),
    (
        re.compile(
            r"(?i)(\b(?:proxy-)?authorization|\b(?:set-)?cookie|\bx-maskloop-secret)(\\*[\"']?\s*[:=]\s*)"
            r"(?:\\*\"[^\"]*\"|\\*'[^']*'|[^\n]*)"
        ),
        rf"\1\2{HIDDEN}",
    ),
    # fields of JSON, of a Python dict, of a form
    (
        re.compile(
            r"(?i)(\b\w*(?:token|password|passwd|secret|api_?key|csrfmiddleware\w*)\\*[\"']\s*:\s*)"
            r"(?:\\*\"[^\"]*\"?|\\*'[^']*'?)"
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(?i)((?:token|password|passwd|secret|api_?key)=)[^\s&\"'<>]+"), rf"\1{HIDDEN}"),
    # Label Studio's legacy token has 40 digits; a sha256 has 64 and stays
    (re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]{40}(?![0-9a-fA-F])"), HIDDEN),
    # an address: user and password, and what follows the path, which may be a signature
    (re.compile(r"(?<=://)[^\s/@\"'<>]{1,512}@"), f"{HIDDEN}@"),
    (re.compile(r"(?<=\S)\?[\w%&~\[][^\s\"'<>]*"), f"?{HIDDEN}"),
    (re.compile(r"(?<=\S)#\w+=[^\s\"'<>]+"), f"#{HIDDEN}"),
)


class Redaction:
    """Takes secrets out of texts: those it is told, and whatever looks like one."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        spellings = {spelling for secret in secrets for spelling in _spellings(secret)}
        parts = [_pattern(spelling) for spelling in sorted(spellings, key=len, reverse=True)]
        self._configured = re.compile("|".join(parts)) if parts else None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Takes out what the settings keep secret, and the header that basic authentication makes of it."""
        pair = f"{settings.basic_user}:{settings.basic_password}" if settings.basic_password else ""
        return cls((settings.label_studio_token, settings.basic_password, settings.webhook_secret, pair))

    def __call__(self, text: str) -> str:
        """The text without secrets, cut to `MAX_LENGTH`."""
        if self._configured is not None:
            text = self._configured.sub(HIDDEN, text)
        if len(text) > MAX_LENGTH:
            text = f"{text[:MAX_LENGTH]}… ({len(text)} characters)"
        for pattern, replacement in _RULES:
            text = pattern.sub(replacement, text)
        return text


def one_line(text: str) -> str:
    """The text with line breaks, escape sequences and other control characters made visible.

    Without it a label that holds a line break writes a log line of its own, and a terminal obeys it.
    """
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _spellings(secret: str) -> Iterator[str]:
    """A secret as it is, in an address, in JSON, and as the parts of basic authentication."""
    if not secret:
        return
    raw = secret.encode("utf-8", "surrogateescape")
    yield secret
    yield quote(raw, safe="")
    yield secret.encode("unicode_escape").decode("ascii")
    yield base64.b64encode(raw).decode("ascii")
    try:
        yield base64.b64encode(secret.encode("latin-1")).decode("ascii")
    except UnicodeEncodeError:
        return


def _pattern(spelling: str) -> str:
    escaped = re.escape(spelling)
    return escaped if len(spelling) >= _WORD else rf"(?<!\w){escaped}(?!\w)"
