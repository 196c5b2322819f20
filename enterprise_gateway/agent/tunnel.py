"""A gateway's connection joined to one port of the loopback that the pod's containers share.

Bytes both ways, back-pressure both ways; what they mean is the gateway's business. One event loop.
"""

from __future__ import annotations

import asyncio
from typing import cast

from enterprise_gateway.agent.connection import Connection
from enterprise_gateway.core.records import LOOPBACK
from enterprise_gateway.wire import http1

CONNECT_SECONDS = 5.0


class Tunnel(asyncio.Protocol):
    """Takes over a gateway's connection, which hears 101 when the port is open, else 503; is the port's protocol."""

    def __init__(self, connection: Connection, port: int) -> None:
        self._connection = connection
        self._gateway = connection.transport
        self._port: asyncio.Transport | None = None
        self._opening = asyncio.get_running_loop().create_task(self._open(port), name="tunnel")

    async def _open(self, port: int) -> None:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await asyncio.get_running_loop().create_connection(lambda: self, LOOPBACK, port)
        except OSError:
            self._gateway.write(http1.encode_response(503, "", [("Content-Length", "0")]))
            self._gateway.close()

    # The gateway's side.

    def received(self, data: bytes) -> None:
        """Bytes of the gateway, which waits for the 101 before it speaks."""
        if self._port is None:
            self._gateway.close()
        else:
            self._port.write(data)

    def writable_again(self) -> None:
        """The gateway can take more."""
        if self._port is not None and not self._port.is_closing():
            self._port.resume_reading()

    def lost(self) -> None:
        """The gateway is gone."""
        self._opening.cancel()
        if self._port is not None:
            self._port.abort()

    # The port's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._port = cast("asyncio.Transport", transport)
        self._gateway.write(http1.encode_response(101, "", []))

    def data_received(self, data: bytes) -> None:
        self._gateway.write(data)
        if not self._connection.writable and self._port is not None:
            self._port.pause_reading()

    def pause_writing(self) -> None:
        self._gateway.pause_reading()

    def resume_writing(self) -> None:
        if not self._gateway.is_closing():
            self._gateway.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's interface
        self._gateway.close()
