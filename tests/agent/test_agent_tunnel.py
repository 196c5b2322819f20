"""The way to the Spark UI's port: one port, with the kernel's token alone, no faster than both sides read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from agent_parts import DEADLINE, TOKEN, InProcessAgent

from enterprise_gateway.agent.routes import Routes

BUFFERS = 32 * 1024 * 1024
"""More than the socket buffers on the way hold."""
ASK = f"GET /spark-ui HTTP/1.1\r\nAuthorization: token {TOKEN}\r\n\r\n".encode()
OPEN = b"HTTP/1.1 101 \r\n\r\n"

Side = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Tunnels:
    """An agent whose tunnels lead to `port`, where the test takes the connections."""

    def __init__(self, agent: InProcessAgent, path: str) -> None:
        self.kernel = agent.kernel
        self.path = path
        self.arrived: asyncio.Queue[Side] = asyncio.Queue()
        self.writers: list[asyncio.StreamWriter] = []

    async def arrive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        await self.arrived.put((reader, writer))

    async def ask(self, request: bytes = ASK) -> Side:
        reader, writer = await asyncio.open_unix_connection(self.path)
        self.writers.append(writer)
        writer.write(request)
        return reader, writer

    async def opened(self) -> tuple[Side, Side]:
        """A gateway's side and the UI's side of a tunnel."""
        gateway = await self.ask()
        assert await gateway[0].readexactly(len(OPEN)) == OPEN
        return gateway, await self.arrived.get()


@pytest.fixture
async def tunnels(start_agent: Callable[..., InProcessAgent], folder: Path) -> AsyncIterator[Tunnels]:
    agent = await start_agent("--mute", shutdown_wait=0.1)
    tunnels = Tunnels(agent, str(folder / "tunnels.sock"))
    ui = await asyncio.start_server(tunnels.arrive, "127.0.0.1", 0)
    routes = Routes(agent.kernel, ui.sockets[0].getsockname()[1])
    server = await asyncio.get_running_loop().create_unix_server(routes.connection, tunnels.path)
    async with asyncio.timeout(DEADLINE):
        yield tunnels
    for writer in tunnels.writers:
        writer.transport.abort()
    server.close()
    ui.close()


async def test_bytes_go_both_ways_and_are_not_looked_at(tunnels: Tunnels) -> None:
    gateway, ui = await tunnels.opened()
    anything = bytes(range(256)) * 1000
    for (_, writer), (reader, _) in ((gateway, ui), (ui, gateway)):
        writer.write(anything)
        assert await reader.readexactly(len(anything)) == anything


@pytest.mark.parametrize("authorization", ["", "token", "token wrong", f"token {TOKEN}x"])
async def test_without_the_kernels_token_there_is_no_tunnel(tunnels: Tunnels, authorization: str) -> None:
    reader, _ = await tunnels.ask(f"GET /spark-ui HTTP/1.1\r\nAuthorization: {authorization}\r\n\r\n".encode())
    assert (await reader.read()).startswith(b"HTTP/1.1 401")
    assert tunnels.arrived.empty()


@pytest.mark.parametrize("target", ["/spark-ui?port=22", "/spark-ui/", "/spark-ui/22", "http://127.0.0.1:22/spark-ui"])
async def test_no_other_port_can_be_named(tunnels: Tunnels, target: str) -> None:
    reader, _ = await tunnels.ask(ASK.replace(b"/spark-ui", target.encode()))
    assert (await reader.readline()).split()[1] in (b"400", b"404")
    assert tunnels.arrived.empty()


async def test_a_local_kernels_agent_has_none(
    start_agent: Callable[..., InProcessAgent],
) -> None:
    agent = await start_agent("--mute", shutdown_wait=0.1)
    reader, writer = await asyncio.open_unix_connection(agent.path)
    writer.write(ASK)
    async with asyncio.timeout(DEADLINE):
        assert (await reader.read()).startswith(b"HTTP/1.1 404")
    writer.close()


async def test_where_nobody_listens_the_answer_is_503(tunnels: Tunnels, folder: Path) -> None:
    routes = Routes(tunnels.kernel, 1)
    server = await asyncio.get_running_loop().create_unix_server(routes.connection, str(folder / "nobody.sock"))
    tunnels.path = str(folder / "nobody.sock")
    reader, _ = await tunnels.ask()
    assert (await reader.read()).startswith(b"HTTP/1.1 503")
    server.close()


async def test_a_gateway_that_speaks_before_it_is_answered_is_cut_off(tunnels: Tunnels) -> None:
    reader, _ = await tunnels.ask(ASK + b"GET / HTTP/1.0\r\n\r\n")
    assert await reader.read() == b""


async def test_what_the_ui_has_said_arrives_although_it_has_gone(tunnels: Tunnels) -> None:
    gateway, ui = await tunnels.opened()
    ui[1].write(b"last words" * 10000)
    ui[1].close()
    assert await gateway[0].read() == b"last words" * 10000


async def test_a_gateway_that_leaves_leaves_no_connection_to_the_ui(tunnels: Tunnels) -> None:
    gateway, ui = await tunnels.opened()
    gateway[1].transport.abort()
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await ui[0].readexactly(1)


@pytest.mark.parametrize("fast", ["the ui", "the gateway"])
async def test_a_slow_side_holds_the_other_one_up_and_loses_nothing(tunnels: Tunnels, fast: str) -> None:
    sides = await tunnels.opened()
    (slow_reader, _), (_, writer) = sides if fast == "the ui" else sides[::-1]
    slow_reader._transport.pause_reading()  # type: ignore[attr-defined]
    writer.transport.set_write_buffer_limits(0)
    written = 0
    try:
        while written < BUFFERS:
            writer.write(b"x" * 65536)
            written += 65536
            async with asyncio.timeout(1):
                await writer.drain()
    except TimeoutError:
        pass
    assert written < BUFFERS
    slow_reader._transport.resume_reading()  # type: ignore[attr-defined]
    assert await slow_reader.readexactly(written) == b"x" * written
