"""The gateway's way to agents: a connection, and requests over kept-alive ones.

One event loop. Connections are kept by address and key, at most one idle each; websockets take their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import cast
from urllib.parse import urlencode

import msgspec

from enterprise_gateway.core import agents
from enterprise_gateway.core.agents import AgentStatus
from enterprise_gateway.errors import KernelUnresponsive, ProtocolError
from enterprise_gateway.kernels.reach import Address, connect
from enterprise_gateway.wire import http1
from enterprise_gateway.wire.http1 import ResponseHead

QUICK = 5.0
"""Seconds for an answer that needs no waiting."""
MAX_IDLE = 1000
"""Connections kept for the next request; one with TLS takes 60 KiB."""


class AgentClient:
    """Asks agents."""

    def __init__(self) -> None:
        self._idle: dict[Address, _Connection] = {}

    async def status(self, address: Address, *, wait: float = 0.0) -> AgentStatus:
        """The status, at once or when the kernel has started or ended, at most `wait` seconds later.

        Raises:
            KernelUnresponsive: the agent is gone, or does not answer.
        """
        body = await self._ask(address, "GET", agents.STATUS_PATH, {"wait": wait} if wait else {}, wait)
        return _status(body)

    async def interrupt(self, address: Address) -> None:
        """Interrupt what the kernel does. Raises as `status`."""
        await self._ask(address, "POST", agents.INTERRUPT_PATH, {}, 0.0)

    async def restart(self, address: Address, wait: float) -> AgentStatus:
        """Restart in place; the status when the new process is ready, or after `wait` seconds. Raises as `status`."""
        return _status(await self._ask(address, "POST", agents.RESTART_PATH, {"wait": wait}, wait))

    async def shutdown(self, address: Address, reason: str, wait: float) -> None:
        """End the kernel, politely first, and wait for its end, `wait` seconds at most. Raises as `status`."""
        await self._ask(address, "POST", agents.SHUTDOWN_PATH, {"reason": reason}, wait)

    async def close_websockets(self, address: Address, via: str, code: int, reason: str) -> None:
        """Have the websockets of replica `via` closed once their clients have everything. Raises as `status`."""
        query = {"via": via, "code": code, "reason": reason}
        await self._ask(address, "POST", agents.CLOSE_PATH, query, 0.0)

    async def tell(self, address: Address, text: str) -> None:
        """Have clients that wait for the kernel's first start told what it waits for. Raises as `status`."""
        await self._ask(address, "POST", agents.TELL_PATH, {"text": text}, 0.0)

    async def close(self) -> None:
        """Close the idle connections."""
        for connection in list(self._idle.values()):
            connection.close()

    async def _ask(self, address: Address, method: str, path: str, query: dict[str, object], wait: float) -> bytes:
        target = f"{path}?{urlencode(query)}" if query else path
        head = http1.encode_request(method, target, [("Host", "agent"), address.authorization])
        try:
            async with asyncio.timeout(QUICK + wait):
                return await self._exchange(address, head)
        except TimeoutError:
            raise KernelUnresponsive(f"The kernel's agent did not answer within {QUICK + wait:g} s") from None
        except (OSError, EOFError, ProtocolError) as error:
            raise KernelUnresponsive(f"The kernel's agent cannot be reached: {error}") from None

    async def _exchange(self, address: Address, head: bytes) -> bytes:
        connection = self._idle.pop(address, None) or await self._connect(address)
        try:
            response, body = await connection.exchange(head)
        except BaseException:
            connection.close()
            raise
        if address in self._idle or connection.lost or len(self._idle) >= MAX_IDLE:
            connection.close()
        else:
            self._idle[address] = connection
        if response.status >= HTTPStatus.BAD_REQUEST:
            raise KernelUnresponsive(f"The kernel's agent refused: {body.decode(errors='replace')}")
        return body

    async def _connect(self, address: Address) -> _Connection:
        def forget(connection: _Connection) -> None:
            if self._idle.get(address) is connection:
                del self._idle[address]

        _, connection = await connect(address, lambda: _Connection(forget))
        return connection

    def __repr__(self) -> str:
        return f"<AgentClient {len(self._idle)} idle connections>"


class _Connection(asyncio.Protocol):
    """One request after the other, each with a complete answer; `forget` is called when the other side is gone."""

    def __init__(self, forget: Callable[[_Connection], None]) -> None:
        self.lost = False
        self._forget = forget
        self._buffer = b""
        self._answer: asyncio.Future[tuple[ResponseHead, bytes]] | None = None
        self._transport: asyncio.Transport | None = None

    async def exchange(self, request: bytes) -> tuple[ResponseHead, bytes]:
        if self._transport is None or self.lost:
            raise EOFError("it is gone")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._answer is None or self._answer.done():
            return
        try:
            answer = _complete(self._buffer)
        except ProtocolError as error:
            self._answer.set_exception(error)
            return
        if answer is not None:
            self._buffer = b""
            self._answer.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._forget(self)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or EOFError("it is gone"))


def _complete(buffer: bytes) -> tuple[ResponseHead, bytes] | None:
    """An answer's head and body, once both are whole."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = http1.parse_response(buffer[: end + 4])
    body = buffer[end + 4 :]
    return (head, body) if len(body) >= http1.content_length(head) else None


def _status(body: bytes) -> AgentStatus:
    try:
        return msgspec.json.decode(body, type=AgentStatus)
    except msgspec.MsgspecError as error:
        raise KernelUnresponsive(f"The kernel's agent gave no proper status: {error}") from None
