"""A request to an agent that is to become something else, up to its answer; what follows is the caller's."""

from __future__ import annotations

import asyncio
from typing import NamedTuple, cast

from enterprise_gateway.errors import KernelUnresponsive, ProtocolError
from enterprise_gateway.kernels.reach import Address, connect
from enterprise_gateway.wire import http1
from enterprise_gateway.wire.http1 import ResponseHead

HANDSHAKE_SECONDS = 10.0
_HEAD_END = b"\r\n\r\n"


class Upstream(NamedTuple):
    """A connection to an agent on which the answer to the request has come; reading is paused."""

    transport: asyncio.Transport
    response: ResponseHead
    raw: bytes
    """The answer's head as it came."""
    rest: bytes
    """What came behind it."""


async def dial(address: Address, head: bytes) -> Upstream:
    """Connect to an agent, send `head`, and read the head of its answer.

    Raises:
        KernelUnresponsive: nobody listens there, or no proper answer came in time.
    """
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            transport, protocol = await connect(address, _Handshake)
            try:
                transport.write(head)
                raw, rest = await protocol.answer
                response = http1.parse_response(raw)
            except BaseException:
                transport.abort()
                raise
    except (OSError, EOFError, ProtocolError) as error:
        raise KernelUnresponsive(f"The kernel's agent cannot be reached: {error}") from None
    except TimeoutError:
        raise KernelUnresponsive(f"The kernel's agent did not answer within {HANDSHAKE_SECONDS:g} s") from None
    return Upstream(transport, response, raw, rest)


class _Handshake(asyncio.Protocol):
    def __init__(self) -> None:
        self.answer: asyncio.Future[tuple[bytes, bytes]] = asyncio.get_running_loop().create_future()
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(_HEAD_END)
        if self.answer.done():
            return
        if end >= 0:
            split = end + len(_HEAD_END)
            if self._transport is not None:
                self._transport.pause_reading()
            self.answer.set_result((self._buffer[:split], self._buffer[split:]))
        elif len(self._buffer) > http1.MAX_HEAD:
            self.answer.set_exception(ProtocolError("its answer is too long"))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc or EOFError("it closed the connection"))
