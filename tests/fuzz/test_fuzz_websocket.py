"""Four thousand hostile websocket inputs: a bad message costs itself, a bad frame its connection, and nothing more."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
from collections.abc import Callable
from typing import Self
from urllib.parse import urlsplit

import pytest
from fuzz_target import Target
from hostile_frames import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Fault,
    fault,
    frame,
    harmless,
    legacy_binary,
    legacy_text,
    v1_binary,
)

V1 = "v1.kernel.websocket.jupyter.org"
AT_ONCE = 8
DEADLINE = 60.0
MESSAGES = 50
"""Hostile messages sent on one connection."""


class Client:
    """A websocket that sends what it is told and understands the server's frames."""

    def __init__(self, target: Target, subprotocol: str | None = None) -> None:
        self._target = target
        self._subprotocol = subprotocol

    async def __aenter__(self) -> Self:
        address = urlsplit(self._target.gateway.url)
        self.reader, self.writer = await asyncio.open_connection(address.hostname, address.port)
        lines = [
            f"GET /api/kernels/{self._target.kernel_id}/channels HTTP/1.1",
            f"Host: {address.netloc}",
            f"Authorization: token {self._target.gateway.token}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}",
            *([f"Sec-WebSocket-Protocol: {self._subprotocol}"] if self._subprotocol else []),
        ]
        self.writer.write("\r\n".join([*lines, "", ""]).encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    async def read_frame(self) -> tuple[int, bytes]:
        """The next frame's opcode and payload."""
        first, length = await self.reader.readexactly(2)
        if length == 126:
            length = int.from_bytes(await self.reader.readexactly(2), "big")
        elif length == 127:
            length = int.from_bytes(await self.reader.readexactly(8), "big")
        payload = await self.reader.readexactly(length)
        return first & 0x0F, payload

    async def until_pong(self, payload: bytes) -> None:
        """Claims that the server has read everything so far and is still willing."""
        self.writer.write(frame(PING, payload))
        while (received := await self.read_frame()) != (PONG, payload):
            if received[0] == PING:
                self.writer.write(frame(PONG, received[1]))

    async def until_close(self) -> int:
        """The code of the server's CLOSE; a client that has sent its own answers no pings any more."""
        while True:
            opcode, payload = await self.read_frame()
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big") if payload else 1005


async def side_by_side(clients: list[Callable[[], contextlib.AbstractAsyncContextManager[object]]]) -> None:
    few = asyncio.Semaphore(AT_ONCE)

    async def one(make: Callable[[], contextlib.AbstractAsyncContextManager[object]]) -> None:
        async with few, asyncio.timeout(DEADLINE), make():
            pass

    async with asyncio.TaskGroup() as group:
        for each in clients:
            group.create_task(one(each))


@pytest.mark.parametrize(
    ("make", "opcode", "subprotocol"),
    [(legacy_text, TEXT, None), (legacy_binary, BINARY, None), (v1_binary, BINARY, V1)],
    ids=["legacy text", "legacy binary", "v1"],
)
def test_a_thousand_malformed_messages_cost_themselves_alone(
    target: Target, make: Callable[[random.Random], bytes], opcode: int, subprotocol: str | None
) -> None:
    rng = random.Random(f"{make.__name__}")

    @contextlib.asynccontextmanager
    async def conversation():
        async with Client(target, subprotocol) as client:
            for _ in range(MESSAGES):
                client.writer.write(harmless(rng, make(rng), opcode))
            await client.until_pong(b"still open")
            yield

    def attack(count: int) -> None:
        asyncio.run(side_by_side([conversation] * (count // MESSAGES)))

    target.survives(attack, 1000)


def test_a_thousand_broken_frames_cost_their_connection_alone(target: Target) -> None:
    rng = random.Random("faults")

    @contextlib.asynccontextmanager
    async def conversation():
        async with Client(target) as client:
            made: Fault = fault(rng)
            at = rng.randrange(len(made.data))
            for piece in (made.data[:at], made.data[at:]):
                client.writer.write(piece)
                await asyncio.sleep(0)
            if made.codes:
                assert await client.until_close() in made.codes, made.data[-300:]
            yield

    def attack(count: int) -> None:
        asyncio.run(side_by_side([conversation] * count))

    target.survives(attack, 1000)
