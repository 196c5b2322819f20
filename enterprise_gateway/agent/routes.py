"""What an agent answers to gateways. Every request carries the kernel's token."""

from __future__ import annotations

import hmac
import logging
import re
import time
from urllib.parse import parse_qs, urlsplit

import msgspec

from enterprise_gateway.agent.connection import Connection, Request, Response, Upgraded
from enterprise_gateway.agent.kernel import Kernel
from enterprise_gateway.agent.tunnel import Tunnel
from enterprise_gateway.agent.websocket import KernelWebSocket
from enterprise_gateway.core import agents
from enterprise_gateway.errors import ProtocolError
from enterprise_gateway.wire import v1
from enterprise_gateway.wire.http1 import RequestHead
from enterprise_gateway.wire.websocket import handshake_response

log = logging.getLogger(__name__)

MAX_WAIT = 3600.0
"""Seconds a request may wait for a kernel to become ready."""
FLUSH_SECONDS = 3.0
"""How long clients are given to acknowledge before a polite close."""

_CLOSE_CODE = re.compile(r"[1-4][0-9]{3}")


class Routes:
    """The agent's HTTP interface: `core.agents` names the paths."""

    def __init__(self, kernel: Kernel, spark_ui_port: int | None = None) -> None:
        """`spark_ui_port` is on a loopback that no other kernel shares; without one there is no way to the Spark UI."""
        self._kernel = kernel
        self._spark_ui_port = spark_ui_port
        self._token = kernel.config.token.encode()
        self._posts = {
            agents.INTERRUPT_PATH: self._interrupt,
            agents.RESTART_PATH: self._restart,
            agents.SHUTDOWN_PATH: self._shutdown,
            agents.CLOSE_PATH: self._close,
            agents.TELL_PATH: self._tell,
        }

    def connection(self) -> Connection:
        """A protocol object for a new connection."""
        return Connection(self.answer, self.upgrade, (agents.CHANNELS_PATH, agents.SPARK_UI_PATH), self._visit)

    def _visit(self, change: int) -> None:
        self._kernel.visitors += change

    async def answer(self, request: Request) -> Response:
        """Answer a request that is not a websocket's."""
        if not self._authentic(request.head):
            return _message(401, "this agent needs its kernel's token")
        self._kernel.last_gateway = time.time()
        url = urlsplit(request.head.target)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        if request.head.method == "GET" and url.path == agents.STATUS_PATH:
            return await self._status(query)
        if request.head.method == "GET" and url.path == agents.LOG_PATH:
            return Response(200, self._kernel.holder.log_tail.encode(), "text/plain; charset=utf-8")
        post = self._posts.get(url.path)
        if request.head.method != "POST" or post is None:
            return _message(404, f"no such route: {request.head.method} {url.path}")
        return await post(query)

    def upgrade(self, connection: Connection, head: RequestHead) -> tuple[bytes, Upgraded] | Response:
        """Open a client's websocket, or a tunnel to the Spark UI."""
        if not self._authentic(head):
            return _message(401, "this agent needs its kernel's token")
        self._kernel.last_gateway = time.time()
        if head.target == agents.SPARK_UI_PATH:
            if self._spark_ui_port is None:
                return _message(404, "this kernel shares its loopback with others")
            return b"", Tunnel(connection, self._spark_ui_port)
        try:
            answer, subprotocol = handshake_response(head, [v1.SUBPROTOCOL])
        except ProtocolError as error:
            return _message(400, error.message)
        query = parse_qs(urlsplit(head.target).query)
        socket = KernelWebSocket(self._kernel, connection, subprotocol, via=head.get(agents.VIA_HEADER) or "")
        connection.transport.write(answer)
        socket.open(query.get("session_id", [""])[-1])
        return b"", socket

    async def _status(self, query: dict[str, str]) -> Response:
        wait = _seconds(query)
        status = await self._kernel.settled_start(wait) if wait else self._kernel.status
        return _json(status)

    async def _interrupt(self, query: dict[str, str]) -> Response:  # noqa: ARG002 - all posts have one shape
        self._kernel.interrupt()
        return Response(204)

    async def _restart(self, query: dict[str, str]) -> Response:
        return _json(await self._kernel.restart(_seconds(query)))

    async def _shutdown(self, query: dict[str, str]) -> Response:
        self._kernel.end(query.get("reason", "it was shut down"))
        await self._kernel.ended.wait()
        return _json(self._kernel.status)

    async def _close(self, query: dict[str, str]) -> Response:
        via, code = query.get("via", ""), query.get("code", "1001")
        if not _CLOSE_CODE.fullmatch(code):
            return _message(400, "the close code must be a number from 1000 to 4999")
        sockets = [socket for socket in self._kernel.hub.sockets if socket.via == via]
        await self._kernel.hub.settle(sockets, FLUSH_SECONDS)
        for socket in sockets:
            socket.close(int(code), query.get("reason", ""))
        return Response(204)

    async def _tell(self, query: dict[str, str]) -> Response:
        self._kernel.tell_waiting(query.get("text", ""))
        return Response(204)

    def _authentic(self, head: RequestHead) -> bool:
        given = (head.get("Authorization") or "").removeprefix("token ")
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._token)


def _seconds(query: dict[str, str]) -> float:
    try:
        seconds = float(query.get("wait", "0"))
    except ValueError:
        return 0.0
    return min(seconds, MAX_WAIT) if seconds > 0 else 0.0  # NaN is not above 0


def _json(value: object) -> Response:
    return Response(200, msgspec.json.encode(value))


def _message(status: int, text: str) -> Response:
    return Response(status, msgspec.json.encode({"message": text}))
