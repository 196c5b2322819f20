"""The websocket route: a reverse proxy for the upgrade, then a splice.

The agent speaks the websocket protocol; the gateway carries its handshake. Only where an agent takes so long to
appear that clients would give up does the gateway answer the handshake itself, keep what the client sends, and
make a handshake of its own with the agent later.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import os
import time
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import urlencode

from aiohttp import hdrs, web

from enterprise_gateway.agent.outgoing import Author
from enterprise_gateway.core import agents
from enterprise_gateway.core.principals import Principal
from enterprise_gateway.core.records import ObservedKernel, Phase, ProgressEvent
from enterprise_gateway.errors import GatewayError, InvalidRequest, KernelNotFound, KernelUnresponsive, ProtocolError
from enterprise_gateway.kernels.agents import AgentClient
from enterprise_gateway.kernels.reach import Address
from enterprise_gateway.kernels.registry import Registry
from enterprise_gateway.web import metrics
from enterprise_gateway.web.dial import Upstream, dial
from enterprise_gateway.web.identity import PRINCIPAL
from enterprise_gateway.web.splice import Splice
from enterprise_gateway.wire import http1, v1
from enterprise_gateway.wire.http1 import RequestHead
from enterprise_gateway.wire.websocket import encode_close, handshake_response

log = logging.getLogger(__name__)

AGENT_WAIT = 5.0
"""Seconds a client's handshake waits for the agent before the gateway answers it itself."""
STARTING_FACTOR = 4
"""So many times as long waits a handshake for an agent whose kernel may still start; clients give up after 40 s."""
FIRST_PAUSE = 0.05
"""Seconds before an agent that does not listen is tried again for the first time."""
MAX_EARLY = 1024 * 1024
"""Bytes kept of what a client sends before the agent is there; then it is read no further."""
_NOT_FORWARDED = frozenset({"authorization", "cookie", "host", "origin", "content-length", "transfer-encoding"})


class _Handshake(NamedTuple):
    answer: bytes
    """The head of a 101."""
    subprotocol: str | None


class ChannelsRoute:
    """Handles `GET /api/kernels/{kernel_id}/channels` of one replica."""

    def __init__(self, registry: Registry, agents: AgentClient, replica: str, agent_wait: float = AGENT_WAIT) -> None:
        self._registry = registry
        self._agents = agents
        self._replica = replica
        self._agent_wait = agent_wait
        self._open: dict[str, int] = {}

    @property
    def kernel_ids(self) -> list[str]:
        """Kernels with websockets here."""
        return list(self._open)

    async def carry(self, request: web.Request) -> web.StreamResponse:
        """Carry one websocket from its handshake to its end."""
        if request.headers.get(hdrs.UPGRADE, "").lower() != "websocket":
            raise InvalidRequest("This address is for websockets: send 'Upgrade: websocket'")
        handshake = _answer_to(request)
        kernel_id = request.match_info["kernel_id"]
        principal = request[PRINCIPAL]
        observed = self._registry.find(principal, kernel_id)
        address = await self._address(principal, observed, self._agent_wait)
        self._open[kernel_id] = self._open.get(kernel_id, 0) + 1
        metrics.WEBSOCKETS.inc()
        try:
            if address is None:
                return await self._answer_early(request, handshake, observed)
            return await self._proxy(request, address)
        except KernelUnresponsive:
            self._registry.alive(principal, kernel_id)  # says why it ended, if that is the cause
            raise
        finally:
            metrics.WEBSOCKETS.dec()
            self._open[kernel_id] -= 1
            if not self._open[kernel_id]:
                del self._open[kernel_id]

    async def _proxy(self, request: web.Request, address: Address) -> web.StreamResponse:
        """Pass the client's handshake to the agent and the agent's answer back; relay after a 101."""
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _NOT_FORWARDED]
        upstream = await self._handshake(request, address, headers)
        try:
            client = _transport(request)
        except ConnectionResetError:
            upstream.transport.abort()
            raise
        client.write(upstream.raw)
        splice = Splice.join(client, upstream.transport, from_client=_early_bytes(request), from_agent=upstream.rest)
        telling = asyncio.ensure_future(self._have_progress_told(request.match_info["kernel_id"]))
        try:
            return await self._relay(request, splice)
        finally:
            telling.cancel()

    async def _handshake(self, request: web.Request, address: Address, headers: list[tuple[str, str]]) -> Upstream:
        """A websocket at the agent, whose address may be known a moment before it listens there."""
        observed = self._registry.alive(request[PRINCIPAL], request.match_info["kernel_id"])
        starts = time.time() < observed.record.deadline
        until = time.monotonic() + self._agent_wait * (STARTING_FACTOR if starts else 1)
        pause = FIRST_PAUSE
        while True:
            try:
                upstream = await dial(address, self._head(request, address, headers))
            except KernelUnresponsive:
                if time.monotonic() > until:
                    raise
            else:
                return _accepted(upstream)
            await asyncio.sleep(pause)
            pause = min(2 * pause, 1.0)
            observed = self._registry.alive(request[PRINCIPAL], request.match_info["kernel_id"])
            address = self._registry.address(observed) or address

    async def _have_progress_told(self, kernel_id: str) -> None:
        """Have the agent of a kernel that still starts tell its clients what the cluster says about that."""
        await asyncio.sleep(self._agent_wait)  # a start that takes no longer needs no words
        told: set[str] = set()
        observed = self._registry.lookup(kernel_id)
        while observed is not None and observed.phase is Phase.STARTING:
            for text in map(_in_words, observed.progress):
                if text not in told:
                    told.add(text)
                    with contextlib.suppress(KernelUnresponsive):
                        await self._agents.tell(self._registry.reachable(observed), text)
            await self._registry.changed(observed)
            observed = self._registry.lookup(kernel_id)

    async def _answer_early(
        self, request: web.Request, handshake: _Handshake, observed: ObservedKernel
    ) -> web.StreamResponse:
        """Answer the handshake, keep what the client sends, and join it to the agent when that is there."""
        client = _transport(request)
        client.write(handshake.answer)
        early = _Early(client, _early_bytes(request))
        client.set_protocol(early)
        waiting = asyncio.ensure_future(self._upstream(request, handshake.subprotocol, observed))
        telling = asyncio.ensure_future(self._tell_progress(client, handshake.subprotocol, observed))
        either: list[asyncio.Future[Any]] = [waiting, early.lost]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            telling.cancel()
            if early.lost.done() or not waiting.done():
                _abandon(waiting)
        if early.lost.done():
            return _gone(request)
        try:
            upstream = waiting.result()
        except GatewayError as error:
            client.write(encode_close(1011, error.message))
            client.close()
            await early.lost
            return _gone(request)
        splice = Splice.join(client, upstream.transport, from_client=bytes(early.kept), from_agent=upstream.rest)
        return await self._relay(request, splice)

    async def _tell_progress(
        self, client: asyncio.Transport, subprotocol: str | None, observed: ObservedKernel
    ) -> None:
        """Say on the client's websocket, in messages of our own, what its kernel is waiting for."""
        author = Author(f"gateway-{self._replica}")
        told: set[str] = set()
        current: ObservedKernel | None = observed
        while current is not None and not client.is_closing():
            for text in map(_in_words, current.progress):
                if text not in told:
                    told.add(text)
                    client.writelines(author.stderr(text).frame(subprotocol))
            await self._registry.changed(current)
            current = self._registry.lookup(observed.record.kernel_id)

    async def _upstream(self, request: web.Request, subprotocol: str | None, observed: ObservedKernel) -> Upstream:
        """A websocket of our own to the agent, in the client's place, however long the agent takes."""
        address = await self._address(request[PRINCIPAL], observed, None)
        assert address is not None  # noqa: S101 - without a limit the wait ends with an address or an error
        key = base64.b64encode(os.urandom(16)).decode()
        headers = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", key),
            *([("Sec-WebSocket-Protocol", subprotocol)] if subprotocol else []),
        ]
        return await self._handshake(request, address, headers)

    async def _address(self, principal: Principal, observed: ObservedKernel, timeout: float | None) -> Address | None:
        """Where the agent is, once that is known; None after `timeout` seconds.

        Raises:
            KernelNotFound: the kernel has ended meanwhile.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while True:
                    observed = self._registry.find(principal, observed.record.kernel_id)
                    address = self._registry.address(observed)
                    if address is not None:
                        return address
                    if observed.phase is Phase.ENDED:
                        raise KernelNotFound(observed.record.kernel_id, observed.reason)
                    await self._registry.changed(observed)
        return None

    def _head(self, request: web.Request, address: Address, headers: list[tuple[str, str]]) -> bytes:
        query = {name: request.query[name] for name in ("session_id",) if name in request.query}
        target = f"{agents.CHANNELS_PATH}?{urlencode(query)}"
        own = [("Host", "agent"), address.authorization, (agents.VIA_HEADER, self._replica)]
        return http1.encode_request("GET", target, [*own, *headers])

    async def _relay(self, request: web.Request, splice: Splice) -> web.StreamResponse:
        await splice.closed(_count)
        return _gone(request)


class _Early(asyncio.Protocol):
    """Keeps what a client sends while there is no agent."""

    def __init__(self, transport: asyncio.Transport, kept: bytes) -> None:
        self.kept = bytearray(kept)
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.kept += data
        if len(self.kept) > MAX_EARLY:
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's interface
        if not self.lost.done():
            self.lost.set_result(None)


class _Collector:
    """Takes the bytes aiohttp received behind a handshake, through the door its own websockets use."""

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> None:
        self.data += data

    def feed_eof(self) -> None:
        """The connection ended; its splice is told by the transport."""


def _in_words(event: ProgressEvent) -> str:
    return f"{event.reason}: {event.message}" if event.message else event.reason


def _early_bytes(request: web.Request) -> bytes:
    collector = _Collector()
    request.protocol.set_parser(collector)  # type: ignore[arg-type]  # needs feed_data and feed_eof alone
    return collector.data


def _transport(request: web.Request) -> asyncio.Transport:
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("The client is gone")
    return transport


def _gone(request: web.Request) -> web.StreamResponse:
    """Tell aiohttp, which the splice has cut off from its connection, that this connection is closed."""
    request.protocol.connection_lost(None)
    return web.Response(status=HTTPStatus.SWITCHING_PROTOCOLS)


def _answer_to(request: web.Request) -> _Handshake:
    head = RequestHead(request.method, request.path_qs, tuple(request.headers.items()))
    try:
        return _Handshake(*handshake_response(head, [v1.SUBPROTOCOL]))
    except ProtocolError as error:
        raise InvalidRequest(error.message) from None


def _accepted(upstream: Upstream) -> Upstream:
    """An agent's yes. A proper handshake that is refused is not its client's fault."""
    status = upstream.response.status
    if status != HTTPStatus.SWITCHING_PROTOCOLS:
        upstream.transport.abort()
        raise KernelUnresponsive(f"The kernel's agent refused the websocket with status {status}")
    return upstream


def _abandon(waiting: asyncio.Future[Upstream]) -> None:
    """Let go of an agent's connection that came, or is about to come, too late for its client."""

    def close(done: asyncio.Future[Upstream]) -> None:
        if not done.cancelled() and done.exception() is None:
            done.result().transport.abort()

    waiting.add_done_callback(close)
    waiting.cancel()


def _count(from_client: int, from_agent: int) -> None:
    metrics.RELAYED.labels("to_kernel").inc(from_client)
    metrics.RELAYED.labels("to_client").inc(from_agent)
