"""Logging of the whole process: one handler on the root logger, to stderr, as text or JSON, without secrets.

Text has the shape EG's users grep for, `[I 2026-01-31 12:00:00.123 EnterpriseGatewayApp] text`, followed by
what the call gave as `extra`: `kernel_id=… key=value`. JSON is one object a line.

The redaction is the last line of defence: what is logged should hold no secret to begin with. This module
refuses to know which secrets there are. Formatters keep no state but the text of the current second; they may
be called from any thread.
"""

from __future__ import annotations

import logging
import re
import sys
import time
import urllib.parse
from collections.abc import Iterable
from typing import Any, TextIO

import msgspec

from enterprise_gateway.core.secret import Secret

STARS = "********"

_NAME = "EnterpriseGatewayApp"
_PACKAGE = "enterprise_gateway"
_INITIALS = {name: name[0] for name in logging.getLevelNamesMapping()}
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_SHORTEST_SECRET = 4
"""Characters; hiding a shorter one would hide half of every line, and it protects nothing anyway."""
_CREDENTIAL = re.compile(
    r"""
    ( token= | /t/ | authorization \\?["']? \s* [:=] \s* \\?["']? (?: (?:token|bearer|basic) \s+ )? )
    [^\s&"'/?\#\\,;]+
    """,
    re.IGNORECASE | re.VERBOSE,
)
_TALKATIVE = ("httpx2", "httpcore2")
"""Libraries that tell of every request, with headers, which is nobody's business at any level of ours."""
_MARKS = ("token=", "/t/", "authorization")


def configure(level: str | int, fmt: str, secrets: Iterable[Secret] = ()) -> None:
    """Send everything of at least `level` to stderr, as `text` or `json`.

    May be called again, for instance when more secrets are known: it replaces what it did before and leaves
    other people's handlers alone.
    """
    # What no format shows need not be asked for at every line (the standard library's own advice).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _Handler):
            root.removeHandler(handler)
    root.addHandler(handler_for(sys.stderr, fmt, secrets))
    root.setLevel(level.upper() if isinstance(level, str) else level)
    for library in _TALKATIVE:
        logging.getLogger(library).setLevel(logging.WARNING)


def handler_for(stream: TextIO, fmt: str, secrets: Iterable[Secret] = ()) -> logging.Handler:
    """A handler that writes to `stream` what `configure` would write to stderr."""
    redact = Redactor(secrets)
    handler = _Handler(stream)
    handler.setFormatter(JSONFormatter(redact) if fmt == "json" else TextFormatter(redact))
    return handler


class _Handler(logging.StreamHandler[TextIO]):
    """A type of its own, to be found again."""


class Redactor:
    """Replaces credentials in a finished line by stars."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        spellings: set[str] = set()
        for secret in secrets:
            text = secret.reveal()
            if len(text) >= _SHORTEST_SECRET:
                spellings |= {text, repr(text)[1:-1], urllib.parse.quote(text, safe="")}
        spellings |= {msgspec.json.encode(spelling).decode()[1:-1] for spelling in spellings}
        self._spellings = sorted(spellings, key=len, reverse=True)

    def __call__(self, line: str) -> str:
        """`line` without known secrets, `token=…`, `/t/…/` and what follows `Authorization:`."""
        for spelling in self._spellings:
            if spelling in line:
                line = line.replace(spelling, STARS)
        lowered = line.lower()
        if any(mark in lowered for mark in _MARKS):  # these searches cost a tenth of the regular expression
            line = _CREDENTIAL.sub(rf"\1{STARS}", line)
        return line


class TextFormatter(logging.Formatter):
    """`[I 2026-01-31 12:00:00.123 EnterpriseGatewayApp] text kernel_id=… key=value`, in local time."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact
        self._second = (-1, "")

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a traceback below it when there is one."""
        name = _NAME if record.name.startswith(_PACKAGE) else record.name
        level = _INITIALS.get(record.levelname, "?")
        line = f"[{level} {self._time(record)} {name}] {_one_line(record.getMessage())}"
        extras = _extras(record)
        if extras:
            line += _pair("kernel_id", extras.pop("kernel_id")) if "kernel_id" in extras else ""
            line += "".join(_pair(key, value) for key, value in extras.items())
        if trace := _traceback(self, record):
            line = f"{line}\n{trace}"
        return self._redact(line)

    def _time(self, record: logging.LogRecord) -> str:
        second = int(record.created)
        known, text = self._second
        if known != second:
            text = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
            self._second = (second, text)
        return f"{text}.{int(record.msecs):03d}"


class JSONFormatter(logging.Formatter):
    """`{"ts": …, "level": …, "logger": …, "message": …, …extras, "exception": …}`, in UTC."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact
        self._encoder = msgspec.json.Encoder(enc_hook=str)
        self._second = (-1, "")

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        told: dict[str, Any] = {
            "ts": self._time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if trace := _traceback(self, record):
            told["exception"] = trace
        for key, value in _extras(record).items():
            told.setdefault(key, value)
        return self._redact(self._encoder.encode(told).decode())

    def _time(self, record: logging.LogRecord) -> str:
        second = int(record.created)
        known, text = self._second
        if known != second:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = (second, text)
        return f"{text}.{int(record.msecs):03d}Z"


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in record.__dict__.items() if key not in _STANDARD}


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    if record.exc_info and not record.exc_text:
        record.exc_text = formatter.formatException(record.exc_info)
    stack = formatter.formatStack(record.stack_info) if record.stack_info else ""
    return "\n".join(part for part in (record.exc_text, stack) if part)


def _pair(key: str, value: object) -> str:
    text = str(value)
    if not text or not text.isprintable() or " " in text or '"' in text:
        text = _one_line(msgspec.json.encode(text).decode())
    return f" {key}={text}"


def _one_line(text: str) -> str:
    """The text with what does not print spelled out: what a client sent must not start or hide a line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
