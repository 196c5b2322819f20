"""A client that never answers a PING counts as gone; whoever does answer stays."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from support.channels import Channels
from support.gateway import Gateway
from support.rest import answer_of
from support.specs import NULL

MIN_SILENCE = 30.0
"""Seconds a client may be silent however often it is pinged."""
MAX_SILENCE = 60.0


class SilentClient:
    """Opens a websocket by hand, reads all and answers nothing; `lived` is set when the connection ends, in seconds."""

    def __init__(self, gateway: Gateway, kernel_id: str, session_id: str) -> None:
        address = urlsplit(gateway.url)
        self._socket = socket.create_connection((address.hostname, address.port))
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET /api/kernels/{kernel_id}/channels?session_id={session_id} HTTP/1.1",
            f"Host: {address.netloc}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
            f"Authorization: token {gateway.token}",
        ]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self._opened = time.monotonic()
        self.lived = 0.0
        self._thread = threading.Thread(target=self._read, name="silent client", daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._socket.close()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while self._socket.recv(65536):
                pass
        self.lived = time.monotonic() - self._opened


@pytest.fixture(scope="module")
def pinging() -> Iterator[Gateway]:
    with Gateway(kernelspecs={"null": NULL}, EG_WS_PING_INTERVAL_SECS="1") as gateway:
        yield gateway.start()


def test_a_client_that_answers_no_ping_is_cut_off_and_others_are_not(pinging: Gateway) -> None:
    kernel_id = pinging.rest.start_kernel("null")
    silent = SilentClient(pinging, kernel_id, "silent")
    began = time.monotonic()
    with contextlib.closing(silent), Channels.of(pinging, kernel_id, session_id="other") as other:
        executions = 0
        while not silent.lived:
            assert other.execute("nothing").reply["status"] == "ok"
            executions += 1
            assert time.monotonic() - began < MAX_SILENCE, "the silent client was not cut off"
            time.sleep(0.02)
        assert silent.lived > MIN_SILENCE
        assert answer_of(pinging.rest.get(f"/api/kernels/{kernel_id}"))["connections"] == 1
    with Channels.of(pinging, kernel_id, session_id="silent") as back:
        replayed = back.recv_until(lambda message: message["msg_type"] == "status")
        assert replayed, "what it never acknowledged was not kept"
    pinging.rest.shut_down(kernel_id)
