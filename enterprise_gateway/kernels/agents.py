"""The gateway's way to agents: a connection, and requests over kept-alive ones.

One event loop. Connections are kept by endpoint, at most one idle each; websockets take connections of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import urlencode

import msgspec

from enterprise_gateway.core import agents
from enterprise_gateway.core.agents import AgentStatus
from enterprise_gateway.core.records import UnixEndpoint
from enterprise_gateway.core.secret import Secret
from enterprise_gateway.errors import KernelUnresponsive, ProtocolError
from enterprise_gateway.wire import http1

QUICK = 5.0
"""Seconds for an answer that needs no waiting."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Address(msgspec.Struct, frozen=True):
    """Where an agent listens and the token it wants."""

    endpoint: UnixEndpoint
    token: Secret

    @property
    def authorization(self) -> tuple[str, str]:
        """The header that authenticates a gateway to the agent."""
        return ("Authorization", f"token {self.token.reveal()}")


class AgentClient:
    """Asks agents."""

    def __init__(self) -> None:
        self._idle: dict[UnixEndpoint, Streams] = {}

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

    async def close(self) -> None:
        """Close the idle connections."""
        for _, writer in self._idle.values():
            writer.close()
        self._idle.clear()

    async def _ask(self, address: Address, method: str, path: str, query: dict[str, object], wait: float) -> bytes:
        target = f"{path}?{urlencode(query)}" if query else path
        head = http1.encode_request(method, target, [("Host", "agent"), address.authorization])
        try:
            async with asyncio.timeout(QUICK + wait):
                return await self._exchange(address.endpoint, head)
        except TimeoutError:
            raise KernelUnresponsive(f"The kernel's agent did not answer within {QUICK + wait:g} s") from None
        except (OSError, EOFError, ProtocolError) as error:
            raise KernelUnresponsive(f"The kernel's agent cannot be reached: {error}") from None

    async def _exchange(self, endpoint: UnixEndpoint, head: bytes) -> bytes:
        streams = self._idle.pop(endpoint, None) or await asyncio.open_unix_connection(endpoint.path)
        reader, writer = streams
        try:
            writer.write(head)
            response = http1.parse_response(await reader.readuntil(b"\r\n\r\n"))
            body = await reader.readexactly(http1.content_length(response))
        except BaseException:
            writer.close()
            raise
        if endpoint in self._idle:
            writer.close()
        else:
            self._idle[endpoint] = streams
        if response.status >= 400:
            raise KernelUnresponsive(f"The kernel's agent refused: {body.decode(errors='replace')}")
        return body

    def forget(self, endpoint: UnixEndpoint) -> None:
        """Close what is kept for an agent that is gone."""
        streams = self._idle.pop(endpoint, None)
        if streams is not None:
            with contextlib.suppress(OSError):
                streams[1].close()

    def __repr__(self) -> str:
        return f"<AgentClient {len(self._idle)} idle connections>"


def _status(body: bytes) -> AgentStatus:
    try:
        return msgspec.json.decode(body, type=AgentStatus)
    except msgspec.MsgspecError as error:
        raise KernelUnresponsive(f"The kernel's agent gave no proper status: {error}") from None
