"""Heads of HTTP/1.1 messages: a request or status line and the header fields, up to the blank line.

It is strict, because a head that two parties read differently is how requests are smuggled: one grammar
both ways, no folded lines, no control characters, no message length but `Content-Length`. It knows nothing
of bodies, connections or routes. Bytes that are not ASCII survive a round trip (`surrogateescape`). Pure.
Source: RFC 9110, section 5, and RFC 9112.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from enterprise_gateway.errors import ProtocolError

MAX_HEAD = 64 * 1024
"""Bytes a head may have."""

Headers = tuple[tuple[str, str], ...]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(r"[\x21-\x7e]+")
_STATUS = re.compile(r"[1-5][0-9]{2}")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_LENGTH = re.compile(r"[0-9]{1,18}")


class RequestHead(NamedTuple):
    """A request line and header fields, in their order."""

    method: str
    target: str
    headers: Headers

    def get(self, name: str) -> str | None:
        """The value of the first field of that name, in any case of letters."""
        return _first(self.headers, name)


class ResponseHead(NamedTuple):
    """A status line and header fields, in their order."""

    status: int
    reason: str
    headers: Headers

    def get(self, name: str) -> str | None:
        """The value of the first field of that name, in any case of letters."""
        return _first(self.headers, name)


def tokens(head: RequestHead | ResponseHead, name: str) -> list[str]:
    """The members of a comma-separated list, from all fields of that name."""
    name = name.lower()
    values = (value for key, value in head.headers if key.lower() == name)
    members = (member.strip(" \t") for value in values for member in value.split(","))
    return [member for member in members if member]


def content_length(head: RequestHead | ResponseHead) -> int:
    """How many bytes of body follow the head; 0 when it does not say.

    Raises:
        ProtocolError: the length is malformed or given twice and differently, or the body has a
            `Transfer-Encoding`, of which none is spoken here.
    """
    if head.get("transfer-encoding") is not None:
        raise ProtocolError("Transfer-Encoding is not supported; give the body's Content-Length.")
    lengths = {value for key, value in head.headers if key.lower() == "content-length"}
    if not lengths:
        return 0
    if len(lengths) > 1:
        raise ProtocolError("There are several Content-Length fields, and they differ.")
    length = lengths.pop()
    if not _LENGTH.fullmatch(length):
        raise ProtocolError(f"The Content-Length {length[:40]!r} is not a number of bytes.")
    return int(length)


def parse_request(head: bytes) -> RequestHead:
    """Read the head of a request, from its first byte up to and including the blank line.

    Raises:
        ProtocolError: it is not HTTP/1.1, or breaks the grammar.
    """
    line, headers = _parse(head)
    method, target, version = _split_line(line, "request line")
    _check_version(version)
    _check_request_line(method, target)
    return RequestHead(method, target, headers)


def parse_response(head: bytes) -> ResponseHead:
    """Read the head of a response, from its first byte up to and including the blank line.

    Raises:
        ProtocolError: it is not HTTP/1.1, or breaks the grammar.
    """
    line, headers = _parse(head)
    # The reason may be empty; then servers forget the space before it, too.
    version, status, reason = _split_line(line if line.count(" ") > 1 else f"{line} ", "status line")
    _check_version(version)
    _check_status_line(status, reason)
    return ResponseHead(int(status), reason, headers)


def encode_request(method: str, target: str, headers: Iterable[tuple[str, str]], version: str = "HTTP/1.1") -> bytes:
    """The head of a request, blank line included; `ProtocolError` when a piece breaks the grammar."""
    _check_request_line(method, target)
    return _encode(f"{method} {target} {version}", headers)


def encode_response(status: int, reason: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """The head of a response, blank line included; `ProtocolError` when a piece breaks the grammar."""
    _check_status_line(str(status), reason)
    return _encode(f"HTTP/1.1 {status} {reason}", headers)


def _first(headers: Headers, name: str) -> str | None:
    name = name.lower()
    for key, value in headers:
        if key.lower() == name:
            return value
    return None


def _parse(head: bytes) -> tuple[str, Headers]:
    if len(head) > MAX_HEAD:
        raise ProtocolError(f"The head of a message has {len(head)} bytes; {MAX_HEAD} are allowed.")
    if not head.endswith(b"\r\n\r\n"):
        raise ProtocolError("The head of a message does not end with a blank line.")
    line, *fields = head[:-4].decode("utf-8", "surrogateescape").split("\r\n")
    return line, tuple([_parse_field(field) for field in fields])


def _parse_field(field: str) -> tuple[str, str]:
    if field.startswith((" ", "\t")):
        raise ProtocolError("A header field is continued on a second line, which is obsolete.")
    name, colon, value = field.partition(":")
    if not colon:
        raise ProtocolError(f"The header line {name[:40]!r} has no colon.")
    value = value.strip(" \t")
    _check_field(name, value)
    return name, value


def _split_line(line: str, what: str) -> list[str]:
    parts = line.split(" ", 2)
    if len(parts) != 3:
        raise ProtocolError(f"The {what} {line[:60]!r} does not have three parts.")
    return parts


def _check_version(version: str) -> None:
    if version != "HTTP/1.1":
        raise ProtocolError(f"The protocol is {version[:40]!r}; only HTTP/1.1 is spoken here.")


def _check_request_line(method: str, target: str) -> None:
    if not _TOKEN.fullmatch(method):
        raise ProtocolError(f"The method {method[:40]!r} is not a token.")
    if not _TARGET.fullmatch(target):
        raise ProtocolError(f"The target {target[:60]!r} is empty, or has spaces or characters outside of ASCII.")


def _check_status_line(status: str, reason: str) -> None:
    if not _STATUS.fullmatch(status):
        raise ProtocolError(f"The status {status[:40]!r} is not a number from 100 to 599.")
    if _CONTROL.search(reason):
        raise ProtocolError("The reason behind the status has a control character.")


def _check_field(name: str, value: str) -> None:
    if not _TOKEN.fullmatch(name):
        raise ProtocolError(f"The header name {name[:40]!r} is not a token.")
    if _CONTROL.search(value):
        # The value may be a credential: it is not repeated.
        raise ProtocolError(f"The value of the header {name[:40]!r} has a control character.")


def _encode(line: str, headers: Iterable[tuple[str, str]]) -> bytes:
    lines = [line]
    for name, value in headers:
        _check_field(name, value)
        lines.append(f"{name}: {value}")
    lines.append("\r\n")
    try:
        return "\r\n".join(lines).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ProtocolError("A header has half of a surrogate pair, which no encoding can express.") from None
