"""A websocket as an agent's session sees it: takes as many writes as a test allows, and shows what they held."""

from __future__ import annotations

import json
import struct
from itertools import pairwise
from typing import Any

from enterprise_gateway.agent.session import Session
from enterprise_gateway.wire import v1
from enterprise_gateway.wire.message import Part

Decoded = dict[str, Any]


class FakeSocket:
    """Implements `agent.session.Socket`. Frames are read here independently of the product."""

    def __init__(self, subprotocol: str | None = None, *, via: str = "", room: int | None = None) -> None:
        self.subprotocol = subprotocol
        self.via = via
        self.room = room
        """How many more writes it takes before it is full; None for any number."""
        self.written: list[list[Decoded]] = []
        """The messages of each write."""
        self.pings: list[bytes] = []
        self.closed: tuple[int, str] | None = None
        self.paused = False

    @property
    def writable(self) -> bool:
        return self.closed is None and (self.room is None or self.room > 0)

    def write(self, pieces: list[Part]) -> None:
        assert self.closed is None, "written to after it was closed"
        if self.room is not None:
            self.room -= 1
        self.written.append(self._read_frames(b"".join(pieces)))

    def close(self, code: int, reason: str, *, await_answer: bool = True) -> None:  # noqa: ARG002 - the interface
        self.closed = (code, reason)

    def pause(self, paused: bool) -> None:
        self.paused = paused

    # What tests ask.

    @property
    def messages(self) -> list[Decoded]:
        """Every message it was sent."""
        return [message for write in self.written for message in write]

    @property
    def texts(self) -> list[str]:
        """The text of every stream message."""
        return [message["content"]["text"] for message in self.messages if message["msg_type"] == "stream"]

    def of(self, msg_type: str) -> list[Decoded]:
        return [message for message in self.messages if message["msg_type"] == msg_type]

    def answer_ping(self, session: Session) -> None:
        """What a client's websocket library does with the last PING."""
        session.acknowledge(self.pings[-1])

    def _read_frames(self, data: bytes) -> list[Decoded]:
        found = []
        while data:
            opcode, length, start = data[0] & 0x0F, data[1], 2
            if length == 126:
                length, start = struct.unpack_from("!H", data, 2)[0], 4
            elif length == 127:
                length, start = struct.unpack_from("!Q", data, 2)[0], 10
            payload, data = data[start : start + length], data[start + length :]
            assert len(payload) == length, "a write ended within a frame"
            if opcode == 9:
                self.pings.append(payload)
            else:
                found.append(self._read_message(opcode, payload))
        return found

    def _read_message(self, opcode: int, payload: bytes) -> Decoded:
        if self.subprotocol == v1.SUBPROTOCOL:
            assert opcode == 2
            count = int.from_bytes(payload[:8], "little")
            offsets = struct.unpack_from(f"<{count}Q", payload, 8)
            channel, *parts = [payload[start:end] for start, end in pairwise(offsets)]
            header, parent, _, content = (json.loads(part) for part in parts[:4])
            names = {"channel": channel.decode(), "msg_type": header["msg_type"], "msg_id": header["msg_id"]}
            return names | {"header": header, "parent_header": parent, "content": content, "buffers": parts[4:]}
        assert opcode == 1, "a legacy frame with buffers; read it in the test"
        return dict(json.loads(payload))
