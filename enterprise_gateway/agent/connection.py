"""One connection to the agent: HTTP/1.1 requests with kept-alive connections, or, after an upgrade, a websocket.

The protocol objects know bytes and flow control only: what a request means is in `agent.routes`. One event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import NamedTuple, Protocol, cast

from enterprise_gateway.errors import ProtocolError
from enterprise_gateway.wire import http1
from enterprise_gateway.wire.http1 import RequestHead

log = logging.getLogger(__name__)

MAX_BODY = 1024 * 1024
"""Bytes of a request's body."""
_HEAD_END = b"\r\n\r\n"


class Request(NamedTuple):
    """A complete request; `target` still holds the query."""

    head: RequestHead
    body: bytes


class Response(NamedTuple):
    """What to answer; the body is JSON or text."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"


class Upgraded(Protocol):
    """Takes over a connection's bytes after a successful upgrade."""

    def received(self, data: bytes) -> None:
        """Bytes of the client."""

    def writable_again(self) -> None:
        """The transport's buffer has drained."""

    def lost(self) -> None:
        """The connection is gone."""


Upgrade = Callable[["Connection", RequestHead], "tuple[bytes, Upgraded] | Response"]
Handler = Callable[[Request], Awaitable[Response]]


class Connection(asyncio.Protocol):
    """Parses requests one after the other and answers each before the next."""

    transport: asyncio.Transport

    def __init__(
        self, handler: Handler, upgrade: Upgrade, upgrade_paths: Collection[str], count: Callable[[int], None]
    ) -> None:
        """Requests for `upgrade_paths` are for `upgrade`, others for `handler`.

        `count` is told 1 when the connection is made, which a failed TLS handshake prevents, and -1 at its end.
        """
        self._count = count
        self._handler = handler
        self._upgrade = upgrade
        self._upgrade_paths = upgrade_paths
        self._buffer = bytearray()
        self._answering: asyncio.Task[None] | None = None
        self._upgraded: Upgraded | None = None
        self.writable = True
        """Whether the transport's buffer has room."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._count(1)

    def data_received(self, data: bytes) -> None:
        if self._upgraded is not None:
            self._upgraded.received(data)
            return
        self._buffer += data
        if self._answering is None:
            self._next_request()
        elif len(self._buffer) > MAX_BODY + http1.MAX_HEAD:
            self._refuse(400, "too much was sent before the last answer")

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        if self._upgraded is not None:
            self._upgraded.writable_again()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's interface
        self._count(-1)
        if self._answering is not None:
            self._answering.cancel()
        if self._upgraded is not None:
            self._upgraded.lost()

    def _next_request(self) -> None:
        try:
            request = self._parse()
        except ProtocolError as error:
            self._refuse(400, error.message)
            return
        if request is None:
            return
        if request.head.target.partition("?")[0] in self._upgrade_paths:
            self._take_over(request.head)
            return
        self._answering = asyncio.get_running_loop().create_task(self._answer(request), name="answer")

    def _parse(self) -> Request | None:
        end = self._buffer.find(_HEAD_END)
        if end < 0:
            if len(self._buffer) > http1.MAX_HEAD:
                raise ProtocolError("the request's head is too large")
            return None
        body_start = end + len(_HEAD_END)
        head = http1.parse_request(bytes(self._buffer[:body_start]))
        length = http1.content_length(head)
        if length > MAX_BODY:
            raise ProtocolError("the request's body is too large")
        if len(self._buffer) < body_start + length:
            return None
        body = bytes(self._buffer[body_start : body_start + length])
        del self._buffer[: body_start + length]
        return Request(head, body)

    async def _answer(self, request: Request) -> None:
        try:
            response = await self._handler(request)
        except Exception:
            log.exception("Request %s failed", request.head.target)
            response = Response(500, b'{"message": "the agent failed; see its log"}')
        self._respond(response)
        self._answering = None
        self._next_request()

    def _take_over(self, head: RequestHead) -> None:
        outcome = self._upgrade(self, head)
        if isinstance(outcome, Response):
            self._respond(outcome)
            self.transport.close()
            return
        answer, self._upgraded = outcome
        self.transport.write(answer)
        if self._buffer:
            early, self._buffer = bytes(self._buffer), bytearray()
            self._upgraded.received(early)

    def _respond(self, response: Response) -> None:
        headers = [("Content-Type", response.content_type), ("Content-Length", str(len(response.body)))]
        self.transport.write(http1.encode_response(response.status, "", headers) + response.body)

    def _refuse(self, status: int, why: str) -> None:
        self._respond(Response(status, why.encode(), "text/plain"))
        self.transport.close()
