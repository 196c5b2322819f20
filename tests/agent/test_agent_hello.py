"""An agent's first words, to a server that answers well, badly, late or not at all."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import msgspec
import pytest
from agent_parts import DEADLINE

from enterprise_gateway.agent.hello import say_hello
from enterprise_gateway.core.pods import Hello
from enterprise_gateway.wire import http1

HELLO = Hello(host="10.0.0.7", port=8443, proof="f00d")


class Home:
    """A replica that only knows how to answer."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, str, bytes]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = http1.parse_request(await reader.readuntil(b"\r\n\r\n"))
        body = await reader.readexactly(http1.content_length(head))
        self.requests.append((head.method, head.target, body))
        writer.write(self.answers.pop(0))
        writer.close()


OK = b"HTTP/1.1 204 No Content\r\n\r\n"


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@pytest.fixture
async def serve(port: int) -> AsyncIterator[object]:
    servers = []

    async def start(*answers: bytes) -> Home:
        home = Home(*answers)
        servers.append(await asyncio.start_server(home.serve, "127.0.0.1", port))
        return home

    yield start
    for server in servers:
        server.close()


async def hello(port: int) -> None:
    await asyncio.wait_for(say_hello(f"127.0.0.1:{port}", "kernel-1", HELLO), DEADLINE)


async def test_it_says_where_the_agent_listens_and_proves_who_it_is(serve, port):
    home = await serve(OK)
    await hello(port)
    ((method, target, body),) = home.requests
    assert (method, target) == ("POST", "/agents/kernel-1")
    assert msgspec.json.decode(body, type=Hello) == HELLO


async def test_a_refusal_is_an_answer(serve, port):
    home = await serve(b"HTTP/1.1 403 No\r\n\r\n", OK)
    await hello(port)
    assert len(home.requests) == 1


@pytest.mark.parametrize("bad", [b"HTTP/1.1 503 Not yet\r\n\r\n", b"", b"what?\r\n\r\n", b"x" * 100_000])
async def test_a_home_that_is_not_ready_is_asked_again(serve, port, bad):
    home = await serve(bad, OK)
    await hello(port)
    assert len(home.requests) == 2


async def test_a_home_that_comes_late_is_told(serve, port):
    saying = asyncio.create_task(hello(port))
    await asyncio.sleep(0)
    home = await serve(OK)
    await saying
    assert len(home.requests) == 1


@pytest.mark.parametrize("home", ["nowhere", "", "127.0.0.1:http", "[::1"])
async def test_an_address_that_is_none_harms_nobody(home):
    await say_hello(home, "kernel-1", HELLO, pauses=())


async def test_nobody_is_asked_for_ever(port):
    await asyncio.wait_for(say_hello(f"127.0.0.1:{port}", "kernel-1", HELLO, pauses=(0.0, 0.0)), DEADLINE)
