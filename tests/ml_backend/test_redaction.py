"""Secrets are taken out of texts in every spelling, and what is no secret stays."""

import base64
import time

import pytest

from ml_backend.redaction import MAX_LENGTH, Redaction, one_line
from ml_backend.settings import Settings

TOKEN = "0123456789abcdef0123456789abcdef01234567"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Authorization: Token abc", "Authorization: ***"),
        ("sent Token 0a1b2c3d", "sent Token ***"),
        ("sent bearer abc.def-GHI", "sent bearer ***"),
        ("Basic dXNlcjpwYXNz, twice", "Basic ***, twice"),
        (f"refused {JWT}.", "refused ***."),
        (f"token is {TOKEN}", "token is ***"),
        ("GET /a.png?sig=abc&x=1 failed", "GET /a.png?*** failed"),
        ("https://host/a?key failed", "https://host/a?*** failed"),
        ("'https://host/a#access_token=abc'", "'https://host/a#***'"),
        ("http://user:pass@host/a", "http://***@host/a"),
        ('{"access_token": "abc def", "id": 3}', '{"access_token": ***, "id": 3}'),
        ("{'password': 'it is', 'id': 3}", "{'password': ***, 'id': 3}"),
        (r"{\"token\": \"abc\"}", r"{\"token\": ***}"),
        ("password=abc&user=me", "password=***&user=me"),
        ("X-Maskloop-Secret: a b c", "X-Maskloop-Secret: ***"),
        ("Cookie: sessionid=abc; csrftoken=def", "Cookie: ***"),
    ],
)
def test_redaction__looks_like_a_secret(text, cleaned):
    assert Redaction()(text) == cleaned


@pytest.mark.parametrize(
    "text",
    [
        "send MASKLOOP_BASIC_USER and MASKLOOP_BASIC_PASSWORD by basic authentication",
        "Label Studio answers the token exchange with HTTP 500 and no access token: is it a Label Studio?",
        "check MASKLOOP_LABEL_STUDIO_TOKEN. A legacy token works only while legacy tokens are enabled",
        "is it running? Is it? (is it running?) 'what?'",
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "Task 24: 1 prompts on 64 x 48, score 0.93, 12 ms at http://localhost:8080/data/a.png",
    ],
)
def test_redaction__leaves_our_messages(text):
    assert Redaction()(text) == text


@pytest.mark.parametrize(
    "spelled",
    [
        "pässwort/1",
        "p%C3%A4sswort%2F1",
        r"p\xe4sswort/1",
        base64.b64encode("me:pässwort/1".encode()).decode(),
        base64.b64encode("me:pässwort/1".encode("latin-1")).decode(),
    ],
)
def test_redaction__configured(spelled):
    redaction = Redaction.of(Settings(basic_user="me", basic_password="pässwort/1"))
    assert redaction(f"before {spelled} after") == "before *** after"


def test_redaction__short_secret():
    assert Redaction(["abc"])("abc abcd 'abc'") == "*** abcd '***'"


def test_redaction__long_text_is_cut_and_fast():
    started = time.perf_counter()
    for piece in ("eyJ", "http://", "a?b", "token ", "://a", "password='", "Cookie"):
        assert len(Redaction(["secret-value"])(piece * 100_000)) < MAX_LENGTH + 20_000
    assert time.perf_counter() - started < 2


def test_one_line__line_breaks_and_escape_sequences():
    assert one_line("a\r\nb\x1b[2J\u2028c\x85ä 日") == r"a\r\nb\x1b[2J\u2028c\x85ä 日"
