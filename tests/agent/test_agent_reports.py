"""The port for reports: whoever sends what, or nothing, delays nobody who has something to say."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator

import pytest
from agent_parts import DEADLINE
from agent_pod_parts import free_port

from enterprise_gateway.agent.reports import MAX_CONNECTIONS, ReportPort
from enterprise_gateway.wire.launcher import MAX_REPORT


class Taken:
    """A port, and what came of it."""

    def __init__(self, seconds: float) -> None:
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()
        self.port = ReportPort(lambda message, _: self.messages.put_nowait(message), seconds)
        self.number = free_port()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.number)

    async def send(self, message: bytes) -> None:
        """What a launcher does."""
        _, writer = await self.connect()
        writer.write(message)
        writer.close()

    async def next(self) -> bytes:
        return await asyncio.wait_for(self.messages.get(), DEADLINE)


@pytest.fixture
def seconds() -> float:
    return DEADLINE


@pytest.fixture
async def taken(seconds: float) -> AsyncIterator[Taken]:
    made = Taken(seconds)
    await made.port.open("127.0.0.1", made.number)
    yield made
    made.port.close()
    await asyncio.sleep(0)  # uvloop closes it in the next round


async def dropped(reader: asyncio.StreamReader) -> bool:
    """Whether the other side has ended the connection."""
    try:
        return await asyncio.wait_for(reader.read(), DEADLINE) == b""
    except ConnectionError:
        return True


async def test_what_comes_until_the_end_of_a_connection_is_one_message(taken):
    _, writer = await taken.connect()
    for part in (b"one", b" ", b"message"):
        writer.write(part)
        await asyncio.sleep(0.01)
    assert taken.messages.empty()
    writer.close()
    assert await taken.next() == b"one message"


async def test_a_message_may_be_as_long_as_the_limit_and_no_longer(taken):
    await taken.send(b"x" * MAX_REPORT)
    assert await taken.next() == b"x" * MAX_REPORT
    reader, writer = await taken.connect()
    writer.write(b"x" * (MAX_REPORT + 1))
    assert await dropped(reader)
    assert taken.messages.empty()
    writer.close()


async def test_a_launcher_is_heard_whoever_else_is_silent(taken):
    silent = [await taken.connect() for _ in range(3 * MAX_CONNECTIONS)]
    await taken.send(b"hello")
    assert await taken.next() == b"hello"
    ended = [reader.at_eof() or reader.exception() is not None for reader, _ in silent]
    assert ended.count(False) <= MAX_CONNECTIONS
    assert not any(ended[-MAX_CONNECTIONS + 1 :]), "the oldest make room"
    for _, writer in silent:
        writer.close()


@pytest.mark.parametrize("seconds", [0.1])
@pytest.mark.parametrize("says", [b"", b"half of"])
async def test_who_takes_too_long_loses_the_connection(taken, says):
    reader, writer = await taken.connect()
    writer.write(says)
    assert await dropped(reader)
    assert taken.messages.empty()
    writer.close()


async def test_a_connection_that_breaks_has_said_nothing(taken):
    with socket.create_connection(("127.0.0.1", taken.number)) as peer:
        peer.sendall(b"half of")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing it is a reset
    await taken.send(b"hello")
    assert await taken.next() == b"hello"


async def test_once_closed_it_listens_to_nobody_and_the_port_is_free(taken):
    reader, writer = await taken.connect()
    await asyncio.sleep(0.01)
    taken.port.close()
    assert await dropped(reader)
    writer.close()
    with pytest.raises(ConnectionError):
        await taken.connect()
    with socket.create_server(("127.0.0.1", taken.number)):
        pass


async def test_it_is_on_the_loopback_alone(taken):
    addresses = {each[4][0] for each in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in addresses - {"127.0.0.1", "127.0.1.1"}:
        with pytest.raises(ConnectionError):
            await asyncio.open_connection(address, taken.number)
