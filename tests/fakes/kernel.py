"""A kernel whose start costs 0.1 s: it echoes code as output, and shrugs at every message it does not understand.

Run as `python kernel.py -f CONNECTION_FILE`. One thread. Protocol: jupyter_client, "Messaging in Jupyter".
"""

from __future__ import annotations

import hmac
import json
import sys
import uuid
from pathlib import Path
from typing import Any

import zmq

DELIMITER = b"<IDS|MSG>"
KERNEL_INFO = {
    "status": "ok",
    "protocol_version": "5.3",
    "implementation": "echo",
    "implementation_version": "1",
    "language_info": {"name": "echo", "version": "1", "mimetype": "text/plain", "file_extension": ".txt"},
    "banner": "",
}


class EchoKernel:
    """The sockets of one connection file."""

    def __init__(self, connection: dict[str, Any]) -> None:
        self._connection = connection
        self._key = connection["key"].encode()
        self._context = zmq.Context()
        self._iopub = self._bind("iopub", zmq.PUB)
        self._requests = [self._bind("control", zmq.ROUTER), self._bind("shell", zmq.ROUTER)]
        self._silent = [self._bind("stdin", zmq.ROUTER), self._bind("hb", zmq.REP)]

    def serve(self) -> None:
        """Answer requests until one asks for the end; control first."""
        poller = zmq.Poller()
        for socket in self._requests:
            poller.register(socket, zmq.POLLIN)
        while True:
            try:
                ready = dict(poller.poll())
                socket = next(socket for socket in self._requests if socket in ready)
                if self._answer(socket):
                    return
            except (ValueError, TypeError, LookupError, AttributeError, RecursionError, KeyboardInterrupt):
                continue

    def _bind(self, channel: str, kind: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.linger = 1000
        socket.bind(f"tcp://{self._connection['ip']}:{self._connection[channel + '_port']}")
        return socket

    def _answer(self, socket: zmq.Socket[bytes]) -> bool:
        frames = socket.recv_multipart()
        at = frames.index(DELIMITER)
        header, content = json.loads(frames[at + 2]), json.loads(frames[at + 5])
        msg_type = header["msg_type"]
        self._publish("status", {"execution_state": "busy"}, header)
        if msg_type == "execute_request":
            self._publish("stream", {"name": "stdout", "text": content["code"]}, header)
        reply = KERNEL_INFO if msg_type == "kernel_info_request" else {"status": "ok", "execution_count": 1}
        parts = self._message(msg_type.replace("_request", "_reply"), reply, header)
        socket.send_multipart([*frames[:at], *parts])
        self._publish("status", {"execution_state": "idle"}, header)
        return bool(msg_type == "shutdown_request")

    def _publish(self, msg_type: str, content: dict[str, Any], parent: dict[str, Any]) -> None:
        self._iopub.send_multipart([b"kernel", *self._message(msg_type, content, parent)])

    def _message(self, msg_type: str, content: dict[str, Any], parent: dict[str, Any]) -> list[bytes]:
        header = {
            "msg_id": uuid.uuid4().hex,
            "msg_type": msg_type,
            "session": "echo",
            "username": "",
            "date": "2026-01-01T00:00:00.000000Z",
            "version": "5.3",
        }
        parts = [json.dumps(part).encode() for part in (header, parent, {}, content)]
        signature = hmac.digest(self._key, b"".join(parts), "sha256").hex().encode()
        return [DELIMITER, signature, *parts]


if __name__ == "__main__":
    EchoKernel(json.loads(Path(sys.argv[sys.argv.index("-f") + 1]).read_text())).serve()
