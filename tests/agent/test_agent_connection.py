"""HTTP/1.1 on a unix socket, with handlers of the test's own."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from agent_parts import DEADLINE

from enterprise_gateway.agent.connection import MAX_BODY, Connection, Request, Response
from enterprise_gateway.core import tls
from enterprise_gateway.core.secret import Secret
from enterprise_gateway.wire.http1 import MAX_HEAD, RequestHead


class Echo:
    """What an upgraded connection is handed to: sends back what it gets."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.ended = asyncio.Event()
        self.drained = asyncio.Event()

    def received(self, data: bytes) -> None:
        self.connection.transport.write(data)

    def writable_again(self) -> None:
        self.drained.set()

    def lost(self) -> None:
        self.ended.set()


class Server:
    """Answers each request with its method, target and body; some targets mean more."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.hold = asyncio.Event()
        self.holding = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.open = 0
        self.echoes: list[Echo] = []

    def count(self, change: int) -> None:
        self.open += change

    async def answer(self, request: Request) -> Response:
        if request.head.target == "/fail":
            raise ValueError("a mistake")
        if request.head.target == "/hold":
            self.holding.set()
            try:
                await self.hold.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        return Response(200, f"{request.head.method} {request.head.target} ".encode() + request.body)

    def upgrade(self, connection: Connection, head: RequestHead) -> tuple[bytes, Echo] | Response:
        if "refuse" in head.target:
            return Response(403, b"no")
        self.echoes.append(Echo(connection))
        return b"HTTP/1.1 101 \r\n\r\n", self.echoes[-1]


class Client:
    """Raw bytes, and answers as status and body."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, target: str, body: bytes = b"", method: str = "POST", extra: str = "") -> None:
        head = f"{method} {target} HTTP/1.1\r\nHost: agent\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)

    async def answer(self) -> tuple[int, bytes]:
        async with asyncio.timeout(DEADLINE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            length = next(line.split(":")[1] for line in head.split("\r\n") if line.startswith("Content-Length"))
            return int(head.split()[1]), await self.reader.readexactly(int(length))

    async def ended(self) -> bytes:
        """What else came before the end."""
        async with asyncio.timeout(DEADLINE):
            return await self.reader.read()


@pytest.fixture
async def server(folder: Path) -> AsyncIterator[Server]:
    made = Server(folder / "http.sock")
    listening = await asyncio.get_running_loop().create_unix_server(
        lambda: Connection(made.answer, made.upgrade, ["/channels"], made.count), made.path
    )
    yield made
    listening.close()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    made = Client(*await asyncio.open_unix_connection(server.path))
    yield made
    made.writer.close()


async def test_a_connection_is_kept_for_the_next_request(client):
    for number in range(3):
        client.send(f"/{number}", b"body")
        assert await client.answer() == (200, f"POST /{number} body".encode())


async def test_a_request_may_come_byte_by_byte(client):
    for byte in b"POST /x HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody":
        client.writer.write(bytes([byte]))
        await asyncio.sleep(0)
    assert await client.answer() == (200, b"POST /x body")


async def test_requests_that_come_together_are_answered_one_after_the_other(client, server):
    client.send("/hold", b"1")
    client.send("/second", b"2")
    await asyncio.wait_for(server.holding.wait(), DEADLINE)
    server.hold.set()
    assert [await client.answer(), await client.answer()] == [(200, b"POST /hold 1"), (200, b"POST /second 2")]


async def test_a_mistake_in_a_handler_is_an_answer_and_not_the_end(client, caplog):
    client.send("/fail")
    status, body = await client.answer()
    assert status == 500
    assert b"a mistake" not in body
    assert "a mistake" in caplog.text
    client.send("/next")
    assert (await client.answer())[0] == 200


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1),
        b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD,
    ],
)
async def test_what_is_no_request_is_refused_and_the_connection_closed(client, data):
    client.writer.write(data)
    assert (await client.answer())[0] == 400
    assert await client.ended() == b""


async def test_nobody_may_send_without_end_before_the_answer(client, server):
    client.send("/hold")
    await asyncio.wait_for(server.holding.wait(), DEADLINE)
    for _ in range(3):
        client.writer.write(bytes(MAX_BODY))
    assert (await client.answer())[0] == 400
    await asyncio.wait_for(server.cancelled.wait(), DEADLINE)


async def test_the_largest_body_allowed_is_read(client):
    client.send("/x", b"x" * MAX_BODY)
    status, body = await client.answer()
    assert (status, len(body)) == (200, MAX_BODY + len("POST /x "))


async def test_nobody_works_for_a_client_that_has_gone(client, server):
    client.send("/hold")
    await asyncio.wait_for(server.holding.wait(), DEADLINE)
    assert server.open == 1
    client.writer.close()
    await asyncio.wait_for(server.cancelled.wait(), DEADLINE)
    assert server.open == 0


async def test_after_an_upgrade_the_bytes_are_somebody_elses_the_early_ones_too(client, server):
    client.writer.write(b"GET /channels?session_id=1 HTTP/1.1\r\n\r\nearly")
    async with asyncio.timeout(DEADLINE):
        assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        assert await client.reader.readexactly(5) == b"early"
        client.writer.write(b"later")
        assert await client.reader.readexactly(5) == b"later"
        client.writer.close()
        await server.echoes[0].ended.wait()


async def test_a_refused_upgrade_ends_the_connection(client):
    client.writer.write(b"GET /channels?refuse HTTP/1.1\r\n\r\n")
    assert await client.answer() == (403, b"no")
    assert await client.ended() == b""


async def test_whoever_took_over_is_told_when_the_client_takes_bytes_again(client, server):
    client.writer.write(b"GET /channels HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(DEADLINE):
        await client.reader.readuntil(b"\r\n\r\n")
        (echo,) = server.echoes
        assert echo.connection.writable
        size = 8 * 1024 * 1024
        echo.connection.transport.write(bytes(size))
        assert not echo.connection.writable
        await client.reader.readexactly(size)
        await echo.drained.wait()
        assert echo.connection.writable


async def test_who_never_comes_through_the_tls_handshake_was_never_there(server, tmp_path):
    """A kubelet's probe, for example: it connects and leaves."""
    identity = tmp_path / "tls.pem"
    identity.write_bytes(tls.make_identity(Secret("5e" * 32)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity)
    made = asyncio.Event()

    def connection() -> Connection:
        made.set()
        return Connection(server.answer, server.upgrade, ["/channels"], server.count)

    listening = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0, ssl=context)
    reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
    await asyncio.wait_for(made.wait(), DEADLINE)
    assert server.open == 0
    writer.write_eof()
    await asyncio.wait_for(reader.read(), DEADLINE)
    writer.close()
    listening.close()
    assert server.open == 0
