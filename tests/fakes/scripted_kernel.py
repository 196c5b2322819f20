"""A kernel that starts in 0.1 s and does what the code says, dying included: `kernel` is itself there.

Run as `python scripted_kernel.py -f CONNECTION_FILE [--mute] [--stubborn] [--dies CODE]`. It answers every
request with `ok`, or with `error` where the code raised. One thread. Protocol: "Messaging in Jupyter".
"""

from __future__ import annotations

import argparse
import hmac
import json
import os
import signal
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import zmq

DELIMITER = b"<IDS|MSG>"


class ScriptedKernel:
    """The sockets of one connection file."""

    def __init__(self, connection: dict[str, Any], *, stubborn: bool) -> None:
        self._connection = connection
        self._stubborn = stubborn
        self._key = connection["key"].encode()
        self._session = uuid.uuid4().hex
        self._context = zmq.Context()
        self._sockets = {name: self._bind(name) for name in ("iopub", "stdin", "control", "shell")}
        self._asked: list[bytes] = []
        self._parent: dict[str, Any] = {}
        self._running = True
        self.variables: dict[str, Any] = {}
        self.handled: list[str] = []
        """Types of all requests."""

    def serve(self) -> None:
        """Answer requests until one asks for the end; control first."""
        self.publish("status", {"execution_state": "starting"})
        poller = zmq.Poller()
        for channel in ("control", "shell"):
            poller.register(self._sockets[channel], zmq.POLLIN)
        while self._running:
            try:
                ready = dict(poller.poll())
                self._answer("control" if self._sockets["control"] in ready else "shell")
            except KeyboardInterrupt:
                continue
        self._context.destroy(linger=2000)

    def print(self, text: str) -> None:
        """Output of the cell."""
        self.publish("stream", {"name": "stdout", "text": text})

    def input(self) -> str:
        """Ask the front end that sent the cell."""
        self._send("stdin", [*self._asked, *self._message("input_request", {"prompt": "?", "password": False})])
        return str(self._receive("stdin")[2]["value"])

    def exit(self, code: int) -> None:
        """End at once, but not before libzmq has handed over what was said."""
        self._context.destroy(linger=2000)
        os._exit(code)

    def publish(self, msg_type: str, content: dict[str, Any]) -> None:
        """Say something on iopub."""
        self._send("iopub", [msg_type.encode(), *self._message(msg_type, content)])

    def _bind(self, name: str) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.PUB if name == "iopub" else zmq.ROUTER)
        socket.sndhwm = 0
        socket.bind(f"tcp://{self._connection['ip']}:{self._connection[f'{name}_port']}")
        return socket

    def _answer(self, channel: str) -> None:
        self._asked, self._parent, content = self._receive(channel)
        msg_type = self._parent["msg_type"]
        asked, parent = self._asked, self._parent
        self.publish("status", {"execution_state": "busy"})
        try:
            reply = self._handle(msg_type, content)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - whatever the test's code raised
            reply = {"status": "error", "ename": type(error).__name__, "evalue": str(error), "traceback": []}
        self._asked, self._parent = asked, parent
        self._send(channel, [*asked, *self._message(msg_type.replace("_request", "_reply"), reply)])
        self.publish("status", {"execution_state": "idle"})

    def _handle(self, msg_type: str, content: dict[str, Any]) -> dict[str, Any]:
        self.handled.append(msg_type)
        if msg_type == "execute_request":
            exec(content["code"], {"kernel": self, "os": os, "signal": signal, "sys": sys, "time": time})
        elif msg_type == "shutdown_request":
            self._running = self._stubborn
        return {"status": "ok", "execution_count": 1}

    def _receive(self, channel: str) -> tuple[list[bytes], dict[str, Any], dict[str, Any]]:
        frames = self._sockets[channel].recv_multipart()
        at = frames.index(DELIMITER)
        parts = frames[at + 2 : at + 6]
        assert hmac.compare_digest(frames[at + 1], self._sign(*parts)), "a message was not signed with our key"
        return frames[:at], json.loads(parts[0]), json.loads(parts[3])

    def _send(self, channel: str, frames: list[bytes]) -> None:
        self._sockets[channel].send_multipart(frames)

    def _message(self, msg_type: str, content: dict[str, Any]) -> list[bytes]:
        header = {"msg_id": uuid.uuid4().hex, "msg_type": msg_type, "session": self._session, "version": "5.3"}
        parts = [json.dumps(part).encode() for part in (header, self._parent, {}, content)]
        return [DELIMITER, self._sign(*parts), *parts]

    def _sign(self, *parts: bytes) -> bytes:
        return hmac.digest(self._key, b"".join(parts), "sha256").hex().encode()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-f", type=Path, required=True)
    parser.add_argument("--mute", action="store_true", help="never listens")
    parser.add_argument("--stubborn", action="store_true", help="does not end when it is asked to, or by SIGTERM")
    parser.add_argument("--dies", type=int, help="ends at once with this code")
    options = parser.parse_args()
    if options.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if options.dies is not None:
        sys.stderr.write("no such module: pandas\n")
        sys.exit(options.dies)
    if options.mute:
        signal.pause()
    ScriptedKernel(json.loads(options.f.read_text()), stubborn=options.stubborn).serve()


if __name__ == "__main__":
    main()
