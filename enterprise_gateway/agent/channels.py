"""The ZMQ side of an agent: one DEALER each for shell, control and stdin and one SUB, whatever the number of clients.

Sockets are drained in batches straight off their file descriptors. Those are edge-triggered: an event is
announced once, and a send may swallow the announcement of a receive, so every send is followed by a drain.
One event loop, no locks.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

import zmq
from zmq.utils.monitor import parse_monitor_message

from enterprise_gateway.core.records import ConnectionInfo
from enterprise_gateway.errors import ProtocolError
from enterprise_gateway.wire.kernel import Signer
from enterprise_gateway.wire.message import CHANNELS, Message

log = logging.getLogger(__name__)

BATCH = 500
"""Messages taken from one socket before the loop serves the others."""
BATCH_BYTES = 1024 * 1024
"""And bytes: so that clients' sockets are written to as quickly as a burst of large messages is read."""
RECONNECT_MS = 10
"""First pause between attempts to connect to a kernel that is not listening yet."""
MAX_RECONNECT_MS = 200
RECEIVE_HIGH_WATER = 100_000
"""Messages libzmq may hold for us; beyond, the kernel's PUB socket begins to drop."""
LAST_WORDS_SILENCE = 0.5
"""Seconds without a message after which a connection that outlived the kernel's process is given up."""
LAST_WORDS_POLL = 0.005
HELD_LIMIT = 4 * 1024 * 1024
"""Bytes for the kernel held here before clients are no longer read."""

_TYPES = {"shell": zmq.DEALER, "control": zmq.DEALER, "stdin": zmq.DEALER, "iopub": zmq.SUB}


class Channels:
    """The sockets to one kernel process; `open` and `close` once for each life of the kernel.

    `received` is called with each message, `drained` after each batch, `full` with whether clients should
    be read no further because the kernel does not take their messages.
    """

    def __init__(
        self,
        identity: bytes,
        received: Callable[[Message], None],
        drained: Callable[[], None],
        full: Callable[[bool], None],
    ) -> None:
        self._identity = identity
        self._received = received
        self._drained = drained
        self._full = full
        self._signer = Signer(b"")
        """Of the life that is connected; each may have another key."""
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        # One queue a channel: a kernel that waits for input reads stdin and control, but no shell.
        self._held: dict[str, deque[Message]] = {channel: deque() for channel in CHANNELS}
        self._held_size = 0
        self._holding = True
        self._taken = 0
        self._monitor: zmq.Socket[bytes] | None = None
        """Tells when iopub is connected and disconnected."""
        self._loop = asyncio.get_running_loop()

    @property
    def backed_up(self) -> bool:
        """Whether so much is held for the kernel that clients should not be read."""
        return self._held_size > HELD_LIMIT

    @property
    def is_open(self) -> bool:
        """Whether it is connected, or tries to be."""
        return bool(self._sockets)

    def open(self, connection: ConnectionInfo) -> None:
        """Connect; what clients send is held until `release`."""
        self.close()
        self._holding = True
        self._signer = Signer(connection.key.encode(), connection.signature_scheme)
        for channel, kind in _TYPES.items():
            socket = self._context.socket(kind)
            socket.linger = 0
            socket.reconnect_ivl = RECONNECT_MS
            socket.reconnect_ivl_max = MAX_RECONNECT_MS
            if kind == zmq.SUB:
                self._monitor = socket.get_monitor_socket(zmq.Event.CONNECTED | zmq.Event.DISCONNECTED)
                socket.rcvhwm = RECEIVE_HIGH_WATER
                socket.subscribe(b"")
            else:
                # A kernel sends input requests to the identity that made the execute request.
                socket.identity = self._identity
            socket.connect(f"tcp://{connection.ip}:{getattr(connection, f'{channel}_port')}")
            self._sockets[channel] = socket
            self._loop.add_reader(socket.fileno(), self._drain, channel, socket)
            self._loop.call_soon(self._drain, channel, socket)

    async def last_words(self) -> None:
        """Take everything that a process which has ended had sent: libzmq may still be reading it."""
        connected = False
        heard = self._loop.time()
        while (connected := self._is_connected(connected)) and self._loop.time() - heard < LAST_WORDS_SILENCE:
            taken = self._taken
            await asyncio.sleep(LAST_WORDS_POLL)
            if self._taken != taken:
                heard = self._loop.time()
        for channel, socket in self._sockets.items():
            while socket.poll(0):
                self._drain(channel, socket)
                await asyncio.sleep(0)

    def close(self) -> None:
        """Disconnect; what is still held stays for the next `open`."""
        if self._monitor is not None:
            self._sockets["iopub"].disable_monitor()
            self._monitor.close(linger=0)
            self._monitor = None
        for socket in self._sockets.values():
            self._loop.remove_reader(socket.fileno())
            socket.close()
        self._sockets.clear()

    def terminate(self) -> None:
        """Disconnect for good."""
        self.close()
        self._forget_held()
        self._context.destroy(linger=0)

    def release(self) -> None:
        """The kernel is ready: send what was held."""
        self._holding = False
        for channel in self._held:
            self._send_held(channel)

    def discard_held(self) -> None:
        """Forget what the kernel has not taken: it was meant for a process that is gone."""
        was_full = self.backed_up
        self._forget_held()
        if was_full:
            self._full(False)

    def send(self, message: Message) -> None:
        """Pass a client's message to the kernel, in its channel's order; it is held while the kernel cannot take it."""
        held = self._held[message.channel]
        if self._holding or held or not self._try_send(message):
            was_full = self.backed_up
            held.append(message)
            self._held_size += message.size
            if not was_full and self.backed_up:
                self._full(True)

    def send_now(self, message: Message) -> None:
        """Pass the agent's own message to the kernel, before everything held; a kernel that takes none loses it."""
        self._try_send(message)

    def _try_send(self, message: Message) -> bool:
        socket = self._sockets.get(message.channel)
        if socket is None:
            return False
        try:
            socket.send_multipart(self._signer.encode(message), zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        self._loop.call_soon(self._drain, message.channel, socket)
        return True

    def _send_held(self, channel: str) -> None:
        was_full = self.backed_up
        held = self._held[channel]
        while held and self._try_send(held[0]):
            self._held_size -= held.popleft().size
        if was_full and not self.backed_up:
            self._full(False)

    def _drain(self, channel: str, socket: zmq.Socket[bytes]) -> None:
        if self._sockets.get(channel) is not socket:
            return
        count = size = 0
        try:
            while count < BATCH and size < BATCH_BYTES:
                frames = _receive(socket)
                count += 1
                size += sum(map(len, frames))
                self._taken += 1
                try:
                    self._received(self._signer.decode(channel, frames))
                except ProtocolError as error:
                    log.warning("Dropped a message on %s: %s", channel, error)
        except zmq.Again:
            if self._held.get(channel) and not self._holding:
                self._send_held(channel)
        else:
            self._loop.call_soon(self._drain, channel, socket)
        if count:
            self._drained()

    def _is_connected(self, before: bool) -> bool:
        """Whether iopub is connected, if it was `before` the events that were not read yet."""
        connected = before
        while self._monitor is not None and self._monitor.poll(0):
            connected = parse_monitor_message(self._monitor.recv_multipart())["event"] == zmq.Event.CONNECTED
        return connected

    def _forget_held(self) -> None:
        for held in self._held.values():
            held.clear()
        self._held_size = 0


def _receive(socket: zmq.Socket[bytes]) -> list[bytes]:
    """One multipart message.

    Half the time of `recv_multipart`, which asks for RCVMORE by an enum's constructor behind every part.
    """
    frame = socket.recv(zmq.NOBLOCK, copy=False)
    parts = [frame.bytes]
    while frame.more:
        frame = socket.recv(zmq.NOBLOCK, copy=False)
        parts.append(frame.bytes)
    return parts
