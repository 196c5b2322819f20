"""Bytes both ways, back-pressure both ways, and both connections end together: over real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from enterprise_gateway.web.splice import Splice

BOUND = 4 * 1024 * 1024
"""More than all buffers on the way hold together, and less than what `FLOOD` sends."""
FLOOD = b"0123456789abcdef" * 4096 * 256
"""16 MiB."""
DEADLINE = 30.0


@dataclass
class Joined:
    """Both ends of a splice as the outside sees them."""

    splice: Splice
    client: socket.socket
    agent: socket.socket
    transports: tuple[asyncio.Transport, asyncio.Transport]


async def end() -> tuple[asyncio.Transport, socket.socket]:
    """A transport of the gateway and the far end of its connection."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
    return transport, theirs


async def join(from_client: bytes = b"", from_agent: bytes = b"") -> Joined:
    (client, client_end), (agent, agent_end) = await end(), await end()
    agent.pause_reading()
    splice = Splice.join(client, agent, from_client=from_client, from_agent=from_agent)
    return Joined(splice, client_end, agent_end, (client, agent))


@pytest.fixture
async def joined() -> AsyncIterator[Joined]:
    joined = await join()
    yield joined
    hang_up(joined)


def hang_up(joined: Joined) -> None:
    for transport in joined.transports:
        transport.abort()
    for far_end in (joined.client, joined.agent):
        far_end.close()


async def receive(end: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    received = bytearray()
    async with asyncio.timeout(DEADLINE):
        while len(received) < size:
            data = await loop.sock_recv(end, 1 << 20)
            if not data:
                break
            received += data
    return bytes(received)


async def flood_until_it_blocks(end: socket.socket) -> int:
    """Sends as much as is taken while nobody reads at the far side; returns how much that was."""
    sent, refused = 0, 0
    while sent < len(FLOOD) and refused < 50:
        try:
            sent += end.send(FLOOD[sent : sent + 65536])
            refused = 0
        except BlockingIOError:
            refused += 1
        # The splice runs in the same loop: give it turns, and time to nobody else.
        for _ in range(5):
            await asyncio.sleep(0)
    return sent


async def test_bytes_go_both_ways_unchanged(joined: Joined) -> None:
    loop = asyncio.get_running_loop()
    sending = asyncio.gather(loop.sock_sendall(joined.client, FLOOD), loop.sock_sendall(joined.agent, FLOOD[::-1]))
    to_agent, to_client = await asyncio.gather(receive(joined.agent, len(FLOOD)), receive(joined.client, len(FLOOD)))
    await sending
    assert (to_agent, to_client) == (FLOOD, FLOOD[::-1])


async def test_what_came_before_the_splice_goes_first() -> None:
    joined = await join(from_client=b"early ", from_agent=b"rest ")
    joined.client.send(b"client")
    joined.agent.send(b"agent")
    assert await receive(joined.agent, 12) == b"early client"
    assert await receive(joined.client, 10) == b"rest agent"
    hang_up(joined)


@pytest.mark.parametrize("slow", ["client", "agent"])
async def test_a_side_that_does_not_read_stops_the_other(joined: Joined, slow: str) -> None:
    fast_end, slow_end = (joined.agent, joined.client) if slow == "client" else (joined.client, joined.agent)
    sent = await flood_until_it_blocks(fast_end)
    assert sent < BOUND
    assert sum(each.get_write_buffer_size() for each in joined.transports) < BOUND
    assert await receive(slow_end, sent) == FLOOD[:sent]
    fast_end.send(b"more")
    assert await receive(slow_end, 4) == b"more"


@pytest.mark.parametrize("slow", ["client", "agent"])
async def test_a_side_that_does_not_even_take_the_first_bytes_stops_the_other(slow: str) -> None:
    joined = await join(from_agent=FLOOD) if slow == "client" else await join(from_client=FLOOD)
    fast_end = joined.agent if slow == "client" else joined.client
    assert await flood_until_it_blocks(fast_end) < BOUND
    hang_up(joined)


@pytest.mark.parametrize("leaving", ["client", "agent"])
async def test_both_connections_end_together_and_what_was_sent_arrives(joined: Joined, leaving: str) -> None:
    leaver, other = (joined.client, joined.agent) if leaving == "client" else (joined.agent, joined.client)
    leaver.send(b"last words")
    leaver.close()
    assert await receive(other, 100) == b"last words"
    counted: list[tuple[int, int]] = []
    async with asyncio.timeout(DEADLINE):
        await joined.splice.closed(lambda client, agent: counted.append((client, agent)))
    assert counted == [(10, 0) if leaving == "client" else (0, 10)]


async def test_a_cancelled_wait_ends_both_connections(joined: Joined) -> None:
    waiting = asyncio.create_task(joined.splice.closed(lambda *_: None))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert await receive(joined.client, 1) == b""
    assert await receive(joined.agent, 1) == b""
