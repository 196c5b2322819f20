"""The ways a client reaches a kernel: ZMQ directly, or a gateway's websocket in either protocol.

One shape for all: `send` a request, `receive` what has arrived. Blocking and single-threaded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec
import zmq

from benchmarks.client import messages
from benchmarks.client.messages import Message
from benchmarks.client.websocket import BINARY, RECEIVE_TIMEOUT, TEXT, WebSocket

BATCH = 500
"""Most messages taken from one ZMQ socket before the others get their turn."""


class Peer(msgspec.Struct):
    """Where a kernel is reached: `protocol` "zmq" by a connection file, "json" and "v1" through a gateway."""

    protocol: str
    connection_file: str = ""
    port: int = 0
    token: str = ""
    host: str = "127.0.0.1"
    kernel_id: str = ""
    session: str = ""


class Transport(Protocol):
    """A client's connection to one kernel."""

    def send(self, channel: str, msg_type: str, content: dict[str, Any]) -> str:
        """Send a request; returns its msg_id."""

    def receive(self) -> Iterator[Message]:
        """What has arrived, perhaps nothing; blocks until something has, at most RECEIVE_TIMEOUT."""

    def close(self) -> None:
        """Let the connection go."""


def connect(peer: Peer) -> Transport:
    return BareZmq(peer.connection_file) if peer.protocol == "zmq" else Channels(peer)


class BareZmq:
    """The floor: the kernel's own shell and iopub, signatures checked, nothing in between."""

    def __init__(self, connection_file: str) -> None:
        connection = json.loads(Path(connection_file).read_text())
        self._address = f"{connection['transport']}://{connection['ip']}"
        self._key = connection["key"].encode()
        self._session = os.urandom(8).hex()
        self._context = zmq.Context()
        self._sockets = {
            self._connect(zmq.DEALER, connection["shell_port"]): "shell",
            self._connect(zmq.SUB, connection["iopub_port"]): "iopub",
        }
        self._by_channel = {channel: socket for socket, channel in self._sockets.items()}
        self._poller = zmq.Poller()
        for socket in self._sockets:
            self._poller.register(socket, zmq.POLLIN)

    def send(self, channel: str, msg_type: str, content: dict[str, Any]) -> str:
        header = messages.new_header(msg_type, self._session)
        self._by_channel[channel].send_multipart(messages.encode_zmq(self._key, header, content))
        return str(header["msg_id"])

    def receive(self) -> Iterator[Message]:
        ready = self._poller.poll(RECEIVE_TIMEOUT * 1000)
        if not ready:
            raise TimeoutError(f"no message for {RECEIVE_TIMEOUT} s")
        for socket, _ in ready:
            yield from self._drain(socket)

    def close(self) -> None:
        self._context.destroy(linger=0)

    def _connect(self, kind: int, port: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.rcvhwm = socket.sndhwm = 0
        # ms. The default of 100 would be seen in the time of a start; 1 takes CPU from twenty starts at once.
        socket.reconnect_ivl = 10
        if kind == zmq.SUB:
            socket.subscribe(b"")
        socket.connect(f"{self._address}:{port}")
        return socket

    def _drain(self, socket: zmq.Socket[bytes]) -> Iterator[Message]:
        channel = self._sockets[socket]
        for _ in range(BATCH):
            try:
                frames = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            yield messages.decode_zmq(self._key, channel, frames)


class Channels:
    """A gateway's `/channels` websocket."""

    def __init__(self, peer: Peer, buffer_size: int = 1 << 18) -> None:
        self._session = peer.session or os.urandom(8).hex()
        headers = {"Authorization": f"token {peer.token}"}
        self._opcode = TEXT
        self._encode = messages.encode_legacy
        self._decode: Callable[[messages.Bytes], Message] = messages.decode_legacy
        if peer.protocol == "v1":
            headers["Sec-WebSocket-Protocol"] = messages.V1_SUBPROTOCOL
            self._opcode, self._encode, self._decode = BINARY, messages.encode_v1, messages.decode_v1
        target = f"/api/kernels/{peer.kernel_id}/channels?session_id={self._session}"
        self._websocket = WebSocket((peer.host, peer.port), target, headers, buffer_size)

    def fileno(self) -> int:
        return self._websocket.fileno()

    def send(self, channel: str, msg_type: str, content: dict[str, Any]) -> str:
        header = messages.new_header(msg_type, self._session)
        self._websocket.send(self._encode(channel, header, content), self._opcode)
        return str(header["msg_id"])

    def receive(self) -> Iterator[Message]:
        return map(self._decode, self._websocket.receive())

    def close(self) -> None:
        self._websocket.close()
