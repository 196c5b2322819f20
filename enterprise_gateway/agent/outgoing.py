"""A message on its way to clients, encoded once for each websocket protocol however many clients there are."""

from __future__ import annotations

import datetime
import json
import uuid
from typing import Any

import msgspec

from enterprise_gateway.wire import legacy, v1
from enterprise_gateway.wire.message import Header, Message, Part
from enterprise_gateway.wire.websocket import Opcode, frame_header

JOIN_BYTES = 64 * 1024
"""Frames below this size are one piece; larger ones stay in pieces, which are never copied."""


class Outgoing:
    """A message with its parsed header; `frame` is what goes to a websocket."""

    __slots__ = ("_legacy", "_v1", "essential", "header", "message")

    def __init__(self, message: Message, header: Header, *, essential: bool) -> None:
        self.message = message
        self.header = header
        self.essential = essential
        """Whether a front end would wait for ever without it."""
        self._legacy: list[Part] | None = None
        self._v1: list[Part] | None = None

    def frame(self, subprotocol: str | None) -> list[Part]:
        """The pieces of one websocket frame in the client's protocol."""
        if subprotocol == v1.SUBPROTOCOL:
            if self._v1 is None:
                self._v1 = _framed(Opcode.BINARY, v1.encode(self.message))
            return self._v1
        if self._legacy is None:
            binary, pieces = legacy.encode(self.message, self.header)
            self._legacy = _framed(Opcode.BINARY if binary else Opcode.TEXT, pieces)
        return self._legacy


def _framed(opcode: Opcode, pieces: list[Part]) -> list[Part]:
    size = sum(map(len, pieces))
    pieces.insert(0, frame_header(opcode, size))
    return [b"".join(pieces)] if size < JOIN_BYTES else pieces


class Author:
    """Makes messages in the kernel's name for what only its agent can tell."""

    def __init__(self, session: str) -> None:
        self.session = session
        """Session of the agent's own requests to the kernel."""
        self.kernel_session = session
        """Session of messages in the kernel's name: JupyterLab drops what it has queued when that changes."""

    def request(self, channel: str, msg_type: str, content: dict[str, Any]) -> Message:
        """A request to the kernel on `channel`."""
        header, _ = _header(msg_type, self.session)
        return Message(channel, header, b"{}", b"{}", json.dumps(content).encode(), [])

    def status(self, execution_state: str, parent: bytes = b"{}") -> Outgoing:
        """`status` on iopub."""
        return self._outgoing("iopub", "status", {"execution_state": execution_state}, parent, essential=True)

    def stderr(self, text: str, parent: bytes = b"{}") -> Outgoing:
        """A line on the notebook's stderr, in the output of the cell whose request header is `parent`."""
        content = {"name": "stderr", "text": f"[gateway] {text}\n"}
        return self._outgoing("iopub", "stream", content, parent, essential=False)

    def failure(self, request: Header, parent: bytes, channel: str, reason: str) -> Outgoing:
        """The error reply to a request whose kernel is gone."""
        reply = request.msg_type.removesuffix("_request") + "_reply"
        content = {"status": "error", "ename": "KernelDied", "evalue": reason, "traceback": []}
        return self._outgoing(channel, reply, content, parent, essential=True)

    def _outgoing(
        self, channel: str, msg_type: str, content: dict[str, Any], parent: bytes, *, essential: bool
    ) -> Outgoing:
        raw, header = _header(msg_type, self.kernel_session)
        message = Message(channel, raw, parent, b"{}", json.dumps(content).encode(), [])
        return Outgoing(message, header, essential=essential)


def _header(msg_type: str, session: str) -> tuple[bytes, Header]:
    msg_id = uuid.uuid4().hex
    fields = {
        "msg_id": msg_id,
        "msg_type": msg_type,
        "session": session,
        "username": "gateway",
        "date": datetime.datetime.now(datetime.UTC).isoformat(),
        "version": "5.4",
    }
    return msgspec.json.encode(fields), Header(msg_id=msg_id, msg_type=msg_type, session=session)
