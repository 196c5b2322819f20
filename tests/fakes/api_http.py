"""A Kubernetes API server's side of HTTP/1.1: requests in, answers and watch events out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
from fakes.api_store import Collection, Object, Refusal

VERBS = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}
LAST_CHUNK = b"0\r\n\r\n"
WATCH_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
)


@dataclass
class Request:
    """One request, read to its end."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def parts(self) -> tuple[Collection, str, str]:
        """Collection, name and subresource; the last two may be empty."""
        parts = [unquote(part) for part in self.path.strip("/").split("/")]
        start = 2 if parts[0] == "api" else 3  # /api/v1/… and /apis/GROUP/VERSION/…
        below = parts[start:]
        if parts[0] not in ("api", "apis") or below[:1] != ["namespaces"] or not 3 <= len(below) <= 5:
            raise Refusal(404, "NotFound", "the server could not find the requested resource")
        name, subresource, *_ = [*below[3:], "", ""]
        return (below[1], below[2]), name, subresource

    @property
    def verb(self) -> str:
        """Kubernetes' verb, as in a Role; a pod's log is `log`."""
        _, name, subresource = self.parts
        if self.method != "GET":
            return VERBS[self.method]
        if name:
            return subresource or "get"
        return "watch" if self.query.get("watch") in ("true", "1") else "list"


async def read_request(reader: asyncio.StreamReader) -> Request:
    """The next request of a connection.

    Raises:
        asyncio.IncompleteReadError: there is none.
    """
    line, *fields = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, target, _ = line.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in fields if each)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    parts = urlsplit(target)
    return Request(method, parts.path, dict(parse_qsl(parts.query)), headers, body)


def answer_head(code: int, length: int, retry_after: int | None) -> bytes:
    """Status line and headers of an answer of `length` bytes."""
    waits = [] if retry_after is None else [f"Retry-After: {retry_after}"]
    lines = [f"HTTP/1.1 {code} -", "Content-Type: application/json", *waits, f"Content-Length: {length}", "", ""]
    return "\r\n".join(lines).encode()


def event_chunk(event: Object) -> bytes:
    """One line of a watch."""
    line = msgspec.json.encode(event) + b"\n"
    return b"%x\r\n%s\r\n" % (len(line), line)


def status(refusal: Refusal) -> Object:
    """The body of an answer other than 2xx."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": refusal.message,
        "reason": refusal.reason,
        "code": refusal.code,
    }
