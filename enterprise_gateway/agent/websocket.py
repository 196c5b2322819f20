"""A client's websocket at the agent: frames to messages and back, flow control, keep-alive.

One event loop; nothing here waits. What a slow client does not read stays in its session's ring.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from enterprise_gateway.agent.connection import Connection
from enterprise_gateway.agent.kernel import Kernel
from enterprise_gateway.agent.session import Session
from enterprise_gateway.errors import ProtocolError
from enterprise_gateway.wire import legacy, v1
from enterprise_gateway.wire.message import Message, Part, parse_header
from enterprise_gateway.wire.websocket import (
    Binary,
    Closed,
    Event,
    FrameDecoder,
    Ping,
    Pong,
    Text,
    WebSocketError,
    encode_close,
    encode_pong,
)

log = logging.getLogger(__name__)

JOIN_BYTES = 512 * 1024
"""Up to here one copied write is cheaper than a vectored one."""
MISSED_PINGS = 3
"""Pings without an answer after which a client counts as gone."""
MIN_PONG_TIMEOUT = 30.0
CLOSE_TIMEOUT = 5.0
"""Seconds a client has to answer CLOSE."""


class KernelWebSocket:
    """One websocket of one session."""

    def __init__(self, kernel: Kernel, connection: Connection, subprotocol: str | None, via: str) -> None:
        self.subprotocol = subprotocol
        self.via = via
        """The gateway replica that carries it."""
        self._kernel = kernel
        self._connection = connection
        self._decoder = FrameDecoder(kernel.config.rules.max_message)
        self._closing = False
        self._paused = False
        self._session: Session | None = None
        self._loop = asyncio.get_running_loop()
        self._last_heard = self._loop.time()
        self._keepalive: asyncio.TimerHandle | None = None

    def open(self, session_id: str) -> None:
        """Join the session, replaying what it has not acknowledged."""
        connection = self._connection
        connection.transport.set_write_buffer_limits(high=1024 * 1024)
        self._session = self._kernel.hub.attach(session_id, self)
        if self._kernel.channels.backed_up:
            self.pause(True)
        self._schedule_ping()

    # The session's side.

    @property
    def writable(self) -> bool:
        """Whether the client keeps up."""
        return self._connection.writable and not self._closing

    def write(self, pieces: list[Part]) -> None:
        """Send whole frames."""
        if self._closing:
            return
        if sum(map(len, pieces)) <= JOIN_BYTES:
            self._connection.transport.write(b"".join(pieces))
        else:
            self._connection.transport.writelines(pieces)

    def close(self, code: int, reason: str, *, await_answer: bool = True) -> None:
        """Send CLOSE; the transport goes when the client answers, or soon after, or at once if that is not awaited."""
        transport = self._connection.transport
        if not self._closing:
            transport.write(encode_close(code, reason))
            self._closing = True
            self._loop.call_later(CLOSE_TIMEOUT, transport.abort)
        if not await_answer:
            transport.close()

    def pause(self, paused: bool) -> None:
        """Stop or go on reading the client: the kernel takes no more for now."""
        transport = self._connection.transport
        self._paused = paused
        self._last_heard = self._loop.time()
        if transport.is_closing():
            return
        if paused:
            transport.pause_reading()
        else:
            transport.resume_reading()

    # The connection's side.

    def received(self, data: bytes) -> None:
        """Bytes of the client."""
        self._last_heard = self._loop.time()
        try:
            events = self._decoder.feed(data)
        except WebSocketError as error:
            self._handle(error.events)
            log.info("Closed a websocket: %s", error.message)
            self.close(error.code, error.message[:100])
        else:
            self._handle(events)

    def writable_again(self) -> None:
        """The transport's buffer has drained."""
        if self._session is not None:
            self._session.pump()

    def lost(self) -> None:
        """The connection is gone."""
        self._closing = True
        if self._keepalive is not None:
            self._keepalive.cancel()
        if self._session is not None:
            self._kernel.hub.detach(self._session, self)

    def _handle(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case Text(payload) | Binary(payload):
                    if not self._closing:
                        self._message(event, payload)
                case Pong(payload):
                    if self._session is not None and self._session.socket is self:
                        self._kernel.hub.acknowledge(self._session, payload)
                case Ping(payload):
                    self.write([encode_pong(payload)])
                case Closed(code, reason):
                    self.close(code, reason, await_answer=False)

    def _message(self, event: Text | Binary, payload: bytes) -> None:
        try:
            message = self._decode(event, payload)
            header = parse_header(message.header)
        except ProtocolError as error:
            log.warning("Ignored a client's message: %s", error.message)
            return
        if self._session is not None:
            self._kernel.hub.from_client(self._session, message, header)
            self._kernel.channels.send(message)

    def _decode(self, event: Text | Binary, payload: bytes) -> Message:
        if isinstance(event, Text):
            return legacy.decode_text(payload)
        if self.subprotocol == v1.SUBPROTOCOL:
            return v1.decode(payload)
        return legacy.decode_binary(payload)

    def _schedule_ping(self) -> None:
        interval = self._kernel.config.rules.ping_interval
        if interval > 0:
            self._keepalive = self._loop.call_later(interval, self._ping)

    def _ping(self) -> None:
        interval = self._kernel.config.rules.ping_interval
        silent = self._loop.time() - self._last_heard
        if not self._paused and silent > max(MISSED_PINGS * interval, MIN_PONG_TIMEOUT):
            log.info("A client did not answer pings for %.0f s; closing its websocket", silent)
            self._connection.transport.abort()
            return
        if self._session is not None and self.writable:
            self.write([self._session.ping()])
        self._schedule_ping()
