"""The port where launchers report: one message a connection, from whoever reaches it.

A peer that is slow, silent or too talkative loses its connection, and so does the oldest when there are too many: one
that has something to say has said it within milliseconds. Knows nothing of what is in a message. One event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeAlias, cast

from enterprise_gateway.wire.launcher import MAX_REPORT

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 16
MESSAGE_SECONDS = 10.0

Take: TypeAlias = Callable[[bytes, str], None]
"""Takes a message and the address that it came from."""


class ReportPort:
    """Takes messages while it is open."""

    def __init__(self, take: Take, seconds: float = MESSAGE_SECONDS) -> None:
        """`take` is given each message that has come whole; `seconds` is what a peer may take for it."""
        self._take = take
        self._seconds = seconds
        self._open: dict[_Peer, None] = {}
        """Oldest first."""
        self._server: asyncio.Server | None = None

    async def open(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            OSError: the port is taken, or `host` is no address of this machine.
        """
        self._server = await asyncio.get_running_loop().create_server(self._accept, host, port)

    def close(self) -> None:
        """Listen no more; a message that has not come whole is lost."""
        if self._server is not None:
            self._server.close()
        for peer in list(self._open):
            peer.drop("nobody waits for it any more")

    def _accept(self) -> _Peer:
        if len(self._open) >= MAX_CONNECTIONS:
            next(iter(self._open)).drop("there are too many")
        peer = _Peer(self._take, self._seconds, self._open)
        self._open[peer] = None
        return peer

    def __repr__(self) -> str:
        return f"<ReportPort with {len(self._open)} peers>"


class _Peer(asyncio.Protocol):
    """One connection."""

    def __init__(self, take: Take, seconds: float, peers: dict[_Peer, None]) -> None:
        self._take = take
        self._peers = peers
        self._message = bytearray()
        self._transport: asyncio.Transport | None = None
        self._address = ""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self.drop, f"it took more than {seconds:g} s")

    def drop(self, reason: str) -> None:
        """End the connection, whatever has come of its message."""
        log.info("A connection to the port for reports was dropped: %s", reason)
        self._forget()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._address = str(transport.get_extra_info("peername")[0])
        if self not in self._peers:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._message += data
        if len(self._message) > MAX_REPORT:
            self.drop(f"it sent more than {MAX_REPORT} bytes")

    def eof_received(self) -> None:
        if self in self._peers:
            self._forget()
            self._take(bytes(self._message), self._address)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's interface
        self._forget()

    def _forget(self) -> None:
        self._timer.cancel()
        self._peers.pop(self, None)
