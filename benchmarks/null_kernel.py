"""A Jupyter kernel that costs nothing, so that what is measured is everything around it.

Run as `python null_kernel.py -f CONNECTION_FILE`. The code of an execute_request is one command:

    stream COUNT SIZE     COUNT stream messages of SIZE characters, as fast as the socket takes them
    display COUNT SIZE    COUNT display_data messages of SIZE characters, likewise
    ticks COUNT SECONDS   COUNT stream messages, one every SECONDS
    pid                   the kernel's process id as a stream message
    anything else         nothing but the reply

Messages of one command are numbered at the end of their `msg_id` (`…-0`, `…-1`), so that a client sees loss
and reordering in the header alone. The PUB socket has no high-water mark: it queues and never drops.
One thread serves the channels, one echoes the heartbeat. Protocol: jupyter_client, "Messaging in Jupyter".
"""

from __future__ import annotations

import hmac
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import zmq

DELIMITER = b"<IDS|MSG>"
PROTOCOL_VERSION = "5.3"
DATE = "2018-01-01T00:00:00.000000Z"
ZERO_COPY_BYTES = 65536
"""Frames from this size on are handed to ZMQ without a copy; below it the bookkeeping costs more."""

Frames = list[bytes]


class NullKernel:
    """Binds the five sockets of a connection file and answers until it is told to shut down."""

    def __init__(self, connection: dict[str, Any]) -> None:
        self._connection = connection
        self._key = connection["key"].encode()
        self._session = os.urandom(8).hex()
        self._serial = 0
        self._running = True
        self._context = zmq.Context()
        self._context.linger = 1000
        self._shell = self._bind(zmq.ROUTER, "shell")
        self._control = self._bind(zmq.ROUTER, "control")
        self._stdin = self._bind(zmq.ROUTER, "stdin")
        self._iopub = self._bind(zmq.PUB, "iopub")
        heartbeat = self._bind(zmq.ROUTER, "hb")
        threading.Thread(target=echo_forever, args=(heartbeat,), daemon=True).start()

    def serve(self) -> None:
        """Answer requests one after the other; control first."""
        self._publish("status", b"{}", b'{"execution_state":"starting"}')
        poller = zmq.Poller()
        poller.register(self._control, zmq.POLLIN)
        poller.register(self._shell, zmq.POLLIN)
        while self._running:
            try:
                ready = dict(poller.poll())
                self._answer(self._control if self._control in ready else self._shell)
            except KeyboardInterrupt:
                continue
        self._context.destroy(linger=1000)

    def _bind(self, kind: int, name: str) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.sndhwm = socket.rcvhwm = 0
        separator = "-" if self._connection["transport"] == "ipc" else ":"
        port = self._connection[f"{name}_port"]
        socket.bind(f"{self._connection['transport']}://{self._connection['ip']}{separator}{port}")
        return socket

    def _answer(self, socket: zmq.Socket[bytes]) -> None:
        frames = socket.recv_multipart()
        at = frames.index(DELIMITER)
        signature, header, signed_rest = frames[at + 1], frames[at + 2], frames[at + 3 : at + 6]
        if not hmac.compare_digest(signature, self._sign(header, *signed_rest)):
            return
        msg_type = json.loads(header)["msg_type"]
        if not msg_type.endswith("_request"):
            return
        self._publish("status", header, b'{"execution_state":"busy"}')
        content = self._handle(msg_type, header, json.loads(signed_rest[2]))
        reply = self._message(msg_type.replace("_request", "_reply"), header, json.dumps(content).encode())
        socket.send_multipart([*frames[:at], *reply])
        self._publish("status", header, b'{"execution_state":"idle"}')

    def _handle(self, msg_type: str, header: bytes, content: dict[str, Any]) -> dict[str, Any]:
        match msg_type:
            case "execute_request":
                return self._execute(header, content["code"])
            case "kernel_info_request":
                return KERNEL_INFO
            case "shutdown_request":
                self._running = False
                return {"status": "ok", "restart": content.get("restart", False)}
            case _:
                return {"status": "ok"}

    def _execute(self, header: bytes, code: str) -> dict[str, Any]:
        began = 0.0
        try:
            match code.split():
                case ["stream", count, size]:
                    began = self._emit("stream", header, stream_content("x" * int(size)), int(count))
                case ["display", count, size]:
                    began = self._emit("display_data", header, display_content("x" * int(size)), int(count))
                case ["ticks", count, seconds]:
                    self._tick(header, int(count), float(seconds))
                case ["pid"]:
                    self._emit("stream", header, stream_content(str(os.getpid())), 1)
        except KeyboardInterrupt:
            error = {"ename": "KeyboardInterrupt", "evalue": "", "traceback": []}
            return {"status": "error", "execution_count": 1, **error}
        return {"status": "ok", "execution_count": 1, "user_expressions": {}, "began": began}

    def _emit(self, msg_type: str, header: bytes, content: bytes, count: int) -> float:
        """Build and sign everything first, then send; returns when sending began, on the monotonic clock."""
        topic = f"kernel.{msg_type}".encode()
        batch = [[topic, *self._message(msg_type, header, content, number)] for number in range(count)]
        copy = len(content) < ZERO_COPY_BYTES
        began = time.monotonic()
        for frames in batch:
            self._iopub.send_multipart(frames, copy=copy)
        return began

    def _tick(self, header: bytes, count: int, seconds: float) -> None:
        content = stream_content("tick")
        for number in range(count):
            self._iopub.send_multipart([b"kernel.stream", *self._message("stream", header, content, number)])
            if self._control.poll(int(seconds * 1000)):
                self._answer(self._control)
                if not self._running:
                    return

    def _publish(self, msg_type: str, header: bytes, content: bytes) -> None:
        self._iopub.send_multipart([f"kernel.{msg_type}".encode(), *self._message(msg_type, header, content)])

    def _message(self, msg_type: str, parent: bytes, content: bytes, number: int = 0) -> Frames:
        self._serial += 1
        header = (
            f'{{"msg_id":"{self._session}-{self._serial}-{number}","session":"{self._session}",'
            f'"username":"null","date":"{DATE}","msg_type":"{msg_type}","version":"{PROTOCOL_VERSION}"}}'
        ).encode()
        return [DELIMITER, self._sign(header, parent, b"{}", content), header, parent, b"{}", content]

    def _sign(self, *parts: bytes) -> bytes:
        return hmac.digest(self._key, b"".join(parts), "sha256").hex().encode()


KERNEL_INFO = {
    "status": "ok",
    "protocol_version": PROTOCOL_VERSION,
    "implementation": "null",
    "implementation_version": "1",
    "language_info": {"name": "null", "version": "1", "mimetype": "text/plain", "file_extension": ".txt"},
    "banner": "",
}


def stream_content(text: str) -> bytes:
    return json.dumps({"name": "stdout", "text": text}).encode()


def display_content(text: str) -> bytes:
    return json.dumps({"data": {"text/plain": text}, "metadata": {}, "transient": {}}).encode()


def echo_forever(heartbeat: zmq.Socket[bytes]) -> None:
    """Send every frame back; ends with the context."""
    try:
        zmq.proxy(heartbeat, heartbeat)
    except zmq.ZMQError:
        return


if __name__ == "__main__":
    NullKernel(json.loads(Path(sys.argv[sys.argv.index("-f") + 1]).read_text())).serve()
