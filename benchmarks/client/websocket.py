"""The cheapest websocket client that is still one: a blocking socket, one system call for many frames.

It must not be the bottleneck of what it measures, so it does without what a real client needs: no event loop,
no compression, no check of the handshake's accept key, and a masking key of zeros, which RFC 6455 allows and
which makes masking a no-op. PINGs are answered at once: they ask for an acknowledgement. Not thread-safe.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
RECEIVE_TIMEOUT = 60
"""Seconds without a byte after which a measurement has failed."""
SMALLEST_READ = 4096

_timeval = struct.pack("ll", RECEIVE_TIMEOUT, 0)


class ConnectionClosedError(Exception):
    """The peer closed the websocket or refused it; the message says with which code or status."""


class WebSocket:
    """A connected websocket; `receive()` blocks until at least one byte has arrived."""

    def __init__(
        self, address: tuple[str, int], target: str, headers: dict[str, str], buffer_size: int = 1 << 18
    ) -> None:
        self._view = memoryview(bytearray(buffer_size))
        self._start = self._end = 0
        self._fragments = b""
        self._socket = socket.create_connection(address, RECEIVE_TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._handshake(target, {"Host": address[0], **headers})
        # A Python-level timeout would cost one more system call for every receive.
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def send(self, payload: bytes, opcode: int) -> None:
        size = len(payload)
        if size < 126:
            head = struct.pack(">BB4x", 0x80 | opcode, 0x80 | size)
        elif size < 65536:
            head = struct.pack(">BBH4x", 0x80 | opcode, 0x80 | 126, size)
        else:
            head = struct.pack(">BBQ4x", 0x80 | opcode, 0x80 | 127, size)
        self._socket.sendall(head + payload)

    def receive(self) -> list[memoryview | bytes]:
        """The payloads of the messages that one read completes, perhaps none; valid until the next call."""
        self._make_room()
        try:
            count = self._socket.recv_into(self._view[self._end :])
        except BlockingIOError:
            raise TimeoutError(f"no byte for {RECEIVE_TIMEOUT} s") from None
        if count == 0:
            raise ConnectionClosedError("end of stream")
        self._end += count
        return list(self._messages())

    def _handshake(self, target: str, headers: dict[str, str]) -> None:
        fixed = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
        }
        lines = [f"GET {target} HTTP/1.1", *(f"{name}: {text}" for name, text in (fixed | headers).items())]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        head = self._response_head()
        if not head.startswith(b"HTTP/1.1 101"):
            status = head.partition(b"\r\n")[0].decode()
            told = self._socket.recv(SMALLEST_READ).decode(errors="replace")
            self._socket.close()
            raise ConnectionClosedError(f"{status} {told}".strip())

    def _response_head(self) -> bytes:
        """Exactly the head: a byte of the first frame taken here would not wake a selector later."""
        while True:
            seen = self._socket.recv(SMALLEST_READ, socket.MSG_PEEK)
            if not seen:
                raise ConnectionClosedError("end of stream during the handshake")
            if (end := seen.find(b"\r\n\r\n")) >= 0:
                return self._socket.recv(end + 4)

    def _make_room(self) -> None:
        if self._start:
            unread = self._end - self._start
            self._view[:unread] = self._view[self._start : self._end]
            self._start, self._end = 0, unread
        if len(self._view) - self._end < SMALLEST_READ:
            larger = memoryview(bytearray(2 * len(self._view)))
            larger[: self._end] = self._view[: self._end]
            self._view = larger

    def _messages(self) -> Iterator[memoryview | bytes]:
        while (frame := self._next_frame()) is not None:
            first, payload = frame
            opcode, final = first & 0x0F, first & 0x80
            if opcode == PING:
                self.send(bytes(payload), PONG)
            elif opcode == CLOSE:
                code = int.from_bytes(payload[:2], "big")
                raise ConnectionClosedError(f"close {code} {str(payload[2:], 'utf-8', 'replace')}")
            elif opcode == PONG:
                continue
            elif final and not self._fragments:
                yield payload
            else:
                self._fragments += payload
                if final:
                    yield self._fragments
                    self._fragments = b""

    def _next_frame(self) -> tuple[int, memoryview] | None:
        start, available = self._start, self._end - self._start
        if available < 2:
            return None
        view = self._view
        size, head = view[start + 1], 2
        if size >= 126:
            head = 4 if size == 126 else 10
            if available < head:
                return None
            size = int.from_bytes(view[start + 2 : start + head], "big")
        if available < head + size:
            return None
        self._start = start + head + size
        return view[start], view[start + head : self._start]
