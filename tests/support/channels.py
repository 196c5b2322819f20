"""A kernel's channels as the package `websocket-client` sees them, in all three framings Jupyter has.

Frames: https://jupyter-server.readthedocs.io/en/latest/developers/websocket-protocols.html. They are packed
and unpacked here independently of the product, so a mistake cannot cancel itself out.
"""

from __future__ import annotations

import itertools
import json
import struct
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import websocket
from support.gateway import Gateway

V1 = "v1.kernel.websocket.jupyter.org"
DEADLINE = 60.0
"""Seconds the next message may take, unless told otherwise."""

Message = dict[str, Any]


class ClosedByServerError(ConnectionResetError):
    """The server sent CLOSE."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        super().__init__(f"the server closed the websocket: {code} {reason}")


@dataclass
class Execution:
    """Everything that came back for one execute request, in order."""

    messages: list[Message] = field(default_factory=list)

    @property
    def reply(self) -> dict[str, Any]:
        """The content of the reply."""
        return next(m["content"] for m in self.messages if m["msg_type"] == "execute_reply")

    @property
    def text(self) -> str:
        """What it printed."""
        return "".join(m["content"]["text"] for m in self.of("stream"))

    def of(self, msg_type: str) -> list[Message]:
        return [m for m in self.messages if m["msg_type"] == msg_type]

    @property
    def complete(self) -> bool:
        idle = any(m["content"]["execution_state"] == "idle" for m in self.of("status"))
        return idle and bool(self.of("execute_reply"))


class Channels:
    """One websocket; `session_id` None leaves the parameter out, `token` None sends no credential."""

    def __init__(
        self,
        url: str,
        kernel_id: str,
        *,
        token: str | None = None,
        session_id: str | None = None,
        subprotocols: Sequence[str] = (),
        deadline: float = DEADLINE,
        **options: Any,
    ) -> None:
        self._deadline = deadline
        self.session = session_id or uuid.uuid4().hex
        query = "" if session_id is None else "?" + urlencode({"session_id": session_id})
        self.socket = websocket.create_connection(
            f"{url}/api/kernels/{kernel_id}/channels{query}",
            timeout=deadline,
            subprotocols=list(subprotocols) or None,
            header={} if token is None else {"Authorization": f"token {token}"},
            suppress_origin=True,
            enable_multithread=True,
            **options,
        )

    @classmethod
    def of(cls, gateway: Gateway, kernel_id: str, **options: Any) -> Self:
        """A websocket opened with the gateway's own token."""
        return cls(gateway.ws_url, kernel_id, token=gateway.token, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Says goodbye and ends the connection."""
        self.socket.close(timeout=5)
        # After a close by the server the package would leave its socket open.
        self.socket.shutdown()

    def drop(self) -> None:
        """Ends the connection without a word, as a lost network does."""
        self.socket.shutdown()

    def message(self, channel: str, msg_type: str, content: dict[str, Any]) -> Message:
        """A message in the form JupyterLab sends it."""
        header = {
            "msg_id": uuid.uuid4().hex,
            "msg_type": msg_type,
            "session": self.session,
            "username": "",
            "version": "5.2",
            "date": "2020-01-01T00:00:00.000000Z",
        }
        return {
            "channel": channel,
            "header": header,
            "parent_header": {},
            "metadata": {},
            "content": content,
            "buffers": [],
        }

    def send(self, channel: str, msg_type: str, content: dict[str, Any], buffers: Sequence[bytes] = ()) -> str:
        """Sends a message and returns its id."""
        message = self.message(channel, msg_type, content)
        if self.socket.subprotocol == V1:
            self.socket.send_binary(pack_v1(message, buffers))
        elif buffers:
            self.socket.send_binary(pack_legacy(message, buffers))
        else:
            self.socket.send(json.dumps(message))
        return str(message["header"]["msg_id"])

    def recv(self) -> Message:
        """The next message; pings are answered on the way, and do not extend its deadline."""
        end = time.monotonic() + self._deadline
        while True:
            opcode, data = self.socket.recv_data(control_frame=True)
            if opcode == websocket.ABNF.OPCODE_TEXT:
                return dict(json.loads(data))
            if opcode == websocket.ABNF.OPCODE_BINARY:
                return unpack_v1(data) if self.socket.subprotocol == V1 else unpack_legacy(data)
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                raise ClosedByServerError(int.from_bytes(data[:2], "big"), data[2:].decode())
            if time.monotonic() > end:
                raise TimeoutError(f"no message within {self._deadline:g} s")

    def recv_until(self, wanted: Callable[[Message], bool]) -> list[Message]:
        """All messages up to and with the first `wanted` one."""
        messages = [self.recv()]
        while not wanted(messages[-1]):
            messages.append(self.recv())
        return messages

    def recv_close(self) -> int:
        """Reads until the server closes the websocket, and returns the code it gives."""
        opcode, data = self.socket.recv_data(control_frame=True)
        while opcode != websocket.ABNF.OPCODE_CLOSE:
            opcode, data = self.socket.recv_data(control_frame=True)
        return int.from_bytes(data[:2], "big")

    def recv_execution(self, msg_id: str) -> Execution:
        """Everything that answers the request `msg_id`, each message once, up to its reply and idle."""
        execution = Execution()
        seen: set[str] = set()
        while not execution.complete:
            message = self.recv()
            # What was on its way when a connection broke may come a second time.
            fresh = message["header"]["msg_id"] not in seen
            if fresh and message["parent_header"].get("msg_id") == msg_id:
                seen.add(message["header"]["msg_id"])
                execution.messages.append(message)
        return execution

    def send_code(self, code: str, **content: Any) -> str:
        """Sends an execute request and returns its id."""
        request = {"code": code, "silent": False, "store_history": True, "user_expressions": {}}
        return self.send("shell", "execute_request", {**request, "allow_stdin": False, **content})

    def execute(self, code: str, **content: Any) -> Execution:
        """Runs code to its end."""
        return self.recv_execution(self.send_code(code, **content))


def pack_legacy(message: Message, buffers: Sequence[bytes]) -> bytes:
    parts = [json.dumps({**message, "buffers": []}).encode(), *buffers]
    offsets = [4 * (len(parts) + 1)]
    for part in parts[:-1]:
        offsets.append(offsets[-1] + len(part))
    return struct.pack(f"!{len(parts) + 1}I", len(parts), *offsets) + b"".join(parts)


def unpack_legacy(frame: bytes) -> Message:
    (count,) = struct.unpack_from("!I", frame)
    offsets = [*struct.unpack_from(f"!{count}I", frame, 4), len(frame)]
    parts = [frame[start:end] for start, end in itertools.pairwise(offsets)]
    return {**json.loads(parts[0]), "buffers": parts[1:]}


def pack_v1(message: Message, buffers: Sequence[bytes]) -> bytes:
    names = ("header", "parent_header", "metadata", "content")
    parts = [message["channel"].encode(), *(json.dumps(message[name]).encode() for name in names), *buffers]
    offsets = [8 * (len(parts) + 2)]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    return struct.pack(f"<{len(offsets) + 1}Q", len(offsets), *offsets) + b"".join(parts)


def unpack_v1(frame: bytes) -> Message:
    (count,) = struct.unpack_from("<Q", frame)
    offsets = struct.unpack_from(f"<{count}Q", frame, 8)
    parts = [frame[start:end] for start, end in itertools.pairwise(offsets)]
    header, parent, metadata, content = (json.loads(part) for part in parts[1:5])
    return {
        "channel": parts[0].decode(),
        "header": header,
        "msg_id": header["msg_id"],
        "msg_type": header["msg_type"],
        "parent_header": parent,
        "metadata": metadata,
        "content": content,
        "buffers": parts[5:],
    }
