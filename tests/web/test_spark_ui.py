"""The Spark UI through a gateway and the agent's tunnel: who gets in, what crosses, what a hostile UI can do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientPayloadError, ClientSession
from fakes.backend import FakeBackend
from support.served import KEYS, TOKEN, Served, new_record, served
from yarl import URL

from enterprise_gateway.agent.connection import Connection
from enterprise_gateway.agent.tunnel import Tunnel
from enterprise_gateway.core.agents import SPARK_UI_PATH
from enterprise_gateway.wire import http1
from enterprise_gateway.wire.http1 import RequestHead

DEADLINE = 30.0
RECORD = new_record("5f0c2e1a-9a3b-4c57-8a61-0d2f6f1f7b90")
ENTRANCE = f"/api/kernels/{RECORD.kernel_id}/spark-ui"
BASE = f"{ENTRANCE}/~{KEYS.spark_ui_capability(RECORD).reveal()}"
BUFFERS = 16 * 1024 * 1024
"""More than the socket buffers between a browser and the UI hold."""

Answer = Callable[[RequestHead, asyncio.StreamWriter], Awaitable[None]]


class UI:
    """What listens at the UI's port: notes what it is asked, and answers with whatever bytes the test wants."""

    def __init__(self) -> None:
        self.asked: list[RequestHead] = []
        self.closed = asyncio.Event()
        """Set when the other side has closed a connection."""
        self.answer: Answer = self.fixed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nui")

    def fixed(self, raw: bytes) -> Answer:
        async def answer(head: RequestHead, writer: asyncio.StreamWriter) -> None:  # noqa: ARG001 - an answer's shape
            writer.write(raw)
            await writer.drain()

        return answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            raw = await reader.readuntil(b"\r\n\r\n")
            head = http1.parse_request(raw.replace(b" HTTP/1.0\r\n", b" HTTP/1.1\r\n"))
            self.asked.append(head)
            await self.answer(head, writer)
            writer.close()
        except (EOFError, ConnectionError):
            self.closed.set()
        finally:
            writer.close()


class Place:
    """A gateway with one kernel, whose agent has a tunnel to `ui`, which may not be there."""

    def __init__(self, gateway: Served, backend: FakeBackend, ui: UI, port: int) -> None:
        self.gateway = gateway
        self.backend = backend
        self.ui = ui
        self.port: int | None = port


@pytest.fixture
async def ui() -> UI:
    return UI()


@pytest.fixture
async def place(ui: UI, tmp_path: Path) -> AsyncIterator[Place]:
    listener = await asyncio.start_server(ui.serve, "127.0.0.1", 0)
    backend = FakeBackend()
    backend.put(RECORD)
    backend.agent_appears(RECORD.kernel_id, str(tmp_path / "agent.sock"))
    async with served(backend, cors={"Access-Control-Allow-Origin": "https://lab.example"}) as gateway:
        place = Place(gateway, backend, ui, listener.sockets[0].getsockname()[1])

        def upgrade(connection: Connection, head: RequestHead) -> Any:
            expected = KEYS.secrets(RECORD.key_id, RECORD.kernel_id).token.reveal()
            assert head.get("Authorization") == f"token {expected}"
            assert place.port is not None
            return b"", Tunnel(connection, place.port)

        agent = await asyncio.get_running_loop().create_unix_server(
            lambda: Connection(None, upgrade, [SPARK_UI_PATH], lambda _: None),  # type: ignore[arg-type]
            str(tmp_path / "agent.sock"),
        )
        async with asyncio.timeout(DEADLINE):
            yield place
        agent.close()
    listener.close()


@pytest.fixture
async def browser(place: Place) -> AsyncIterator[ClientSession]:
    """A client without credentials that follows no redirect and takes the paths as they are."""
    async with ClientSession(place.gateway.url, auto_decompress=False) as client:
        yield client


async def get(browser: ClientSession, path: str, **options: Any) -> tuple[int, bytes]:
    async with browser.get(URL(path, encoded=True), allow_redirects=False, **options) as answer:
        return answer.status, await answer.read()


# Who gets in.


@pytest.mark.usefixtures("place")
async def test_an_owner_is_shown_an_address_that_needs_no_credential(browser: ClientSession) -> None:
    async with browser.get(f"{ENTRANCE}?token={TOKEN}", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, f"{BASE}/")
    assert await get(browser, f"{BASE}/") == (200, b"ui")


async def test_nobody_else_is_shown_one(place: Place, browser: ClientSession) -> None:
    place.backend.put(new_record(RECORD.kernel_id, owner="somebody else"))
    status, body = await get(browser, f"{ENTRANCE}?token={TOKEN}")
    assert status == 404
    assert b"~" not in body


@pytest.mark.parametrize("path", ["", "/", "/jobs/", "?token=wrong"])
async def test_without_a_credential_there_is_no_way_in(place: Place, browser: ClientSession, path: str) -> None:
    status, _ = await get(browser, ENTRANCE + path)
    assert status == (404 if path == "/jobs/" else 401)
    assert place.ui.asked == []


@pytest.mark.parametrize(
    "capability",
    ["", "x", "0" * 64, BASE[-64:-1], BASE[-64:] + "0", BASE[-64:].upper(), "%2e%2e", "%ff", f"%00{BASE[-64:]}"],
)
async def test_a_wrong_capability_looks_like_no_kernel(place: Place, browser: ClientSession, capability: str) -> None:
    status, body = await get(browser, f"{ENTRANCE}/~{capability}/jobs/")
    assert status == 404
    assert BASE[-64:].encode() not in body
    assert place.ui.asked == []


async def test_a_later_kernel_of_the_same_id_is_not_opened_by_the_earlier_ones_link(
    place: Place, browser: ClientSession
) -> None:
    later = new_record(RECORD.kernel_id)
    place.backend.put(later)
    assert later.created != RECORD.created
    assert (await get(browser, f"{BASE}/"))[0] == 404


async def test_an_ended_kernel_has_no_ui_and_its_link_says_why(place: Place, browser: ClientSession) -> None:
    place.backend.end(RECORD.kernel_id, "it was shut down")
    status, body = await get(browser, f"{BASE}/")
    assert status == 404
    assert b"it was shut down" in body


async def test_a_kernel_without_spark_says_so(place: Place, browser: ClientSession) -> None:
    place.port = 1  # nobody listens there
    status, body = await get(browser, f"{BASE}/")
    assert status == 503
    assert b"Spark is not running in this kernel" in body


@pytest.mark.usefixtures("place")
async def test_the_link_is_not_logged(browser: ClientSession, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await get(browser, f"{BASE}/jobs/")
    await get(browser, f"{BASE}/../nothing")
    assert "/spark-ui/********/jobs/" in caplog.text
    assert BASE[-64:] not in caplog.text


# What crosses.


async def test_the_ui_is_told_its_address_and_nothing_of_the_browsers(place: Place, browser: ClientSession) -> None:
    headers = {
        "Authorization": f"token {TOKEN}",
        "Cookie": "session=secret",
        "Origin": "null",
        "X-Forwarded-For": "10.0.0.1",
        "Accept-Language": "eo",
    }
    await get(browser, f"{BASE}/jobs/job/?id=0&x=%2F", headers=headers)
    [head] = place.ui.asked
    assert head.target == "/jobs/job/?id=0&x=%2F"
    assert {name.lower(): value for name, value in head.headers} == {
        "host": "localhost",
        "x-forwarded-context": BASE,
        "accept": "*/*",
        "accept-encoding": head.get("Accept-Encoding"),
        "accept-language": "eo",
    }


async def test_a_token_behind_a_link_is_refused_before_the_kernel_sees_it(place: Place, browser: ClientSession) -> None:
    assert (await get(browser, f"{BASE}/?token={TOKEN}"))[0] == 400
    assert place.ui.asked == []


@pytest.mark.parametrize(
    "path",
    [
        "/../../kernels",
        "/%2e%2e/%2e%2e/x",
        "//elsewhere.example/x",
        "/http://elsewhere.example/",
        "/;a=b",
    ],
)
async def test_no_path_leads_anywhere_but_to_the_ui(place: Place, path: str) -> None:
    async with ClientSession() as client, client.get(URL(place.gateway.url + BASE + path, encoded=True)) as answer:
        assert answer.status == 200
    [head] = place.ui.asked
    assert head.target == path


@pytest.mark.parametrize("path", ["/a%0d%0aX:%20y", "/a%0aX:%20y"])
async def test_a_path_with_a_line_break_is_no_path(place: Place, browser: ClientSession, path: str) -> None:
    assert (await get(browser, BASE + path))[0] == 404
    assert place.ui.asked == []


async def test_a_request_in_absolute_form_is_for_the_same_ui(place: Place) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", place.gateway.port)
    writer.write(f"GET http://127.0.0.1:1{BASE}/jobs/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    assert place.ui.asked[0].target == "/jobs/"
    writer.close()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_nothing_can_be_changed_through_it(place: Place, browser: ClientSession, method: str) -> None:
    async with browser.request(method, f"{BASE}/jobs/job/kill/?id=0") as answer:
        assert answer.status == 405
    assert place.ui.asked == []


async def test_scripts_of_a_page_may_ask_the_ui_although_they_have_no_origin(
    place: Place, browser: ClientSession
) -> None:
    asking = {"Origin": "null", "Access-Control-Request-Headers": "x-requested-with"}
    async with browser.options(f"{BASE}/api/v1/applications", headers=asking) as answer:
        assert (answer.status, answer.headers.getall("Access-Control-Allow-Origin")) == (204, ["*"])
        assert answer.headers["Access-Control-Allow-Headers"] == "X-Requested-With"
    assert place.ui.asked == []
    async with browser.get(f"{BASE}/api/v1/applications", headers={"Origin": "null"}) as answer:
        assert (answer.status, answer.headers.getall("Access-Control-Allow-Origin")) == (200, ["*"])


async def test_pages_have_no_share_in_the_gateways_origin(place: Place, browser: ClientSession) -> None:
    hostile = (
        "Set-Cookie: a=b",
        "Content-Security-Policy: sandbox allow-same-origin",
        "Access-Control-Allow-Credentials: true",
        "Service-Worker-Allowed: /",
        "Content-Length: 2",
    )
    place.ui.answer = place.ui.fixed("\r\n".join(["HTTP/1.1 200 OK", *hostile, "", "ui"]).encode())
    async with browser.get(f"{BASE}/") as answer:
        assert answer.headers.getall("Content-Security-Policy") == [
            "sandbox allow-downloads allow-forms allow-popups allow-scripts"
        ]
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert not {"Set-Cookie", "Access-Control-Allow-Credentials", "Service-Worker-Allowed"} & set(answer.headers)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("http://localhost/jobs/?a=b", f"{BASE}/jobs/?a=b"),
        (f"{BASE}/jobs/", f"{BASE}/jobs/"),
        ("/jobs/", f"{BASE}/jobs/"),
        ("//elsewhere.example/x", f"{BASE}/x"),
        ("https://elsewhere.example", f"{BASE}/"),
        ("javascript:alert(1)", f"{BASE}/alert(1)"),
        ("/../../kernels", f"{BASE}/../../kernels"),
    ],
)
async def test_a_redirect_stays_in_the_ui(place: Place, browser: ClientSession, location: str, expected: str) -> None:
    place.ui.answer = place.ui.fixed(
        f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
    )
    async with browser.get(f"{BASE}/", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, expected)


async def test_head_has_the_length_and_no_body(place: Place, browser: ClientSession) -> None:
    place.ui.answer = place.ui.fixed(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    async with browser.head(f"{BASE}/") as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (200, "1000")
    assert place.ui.asked[0].method == "HEAD"


@pytest.mark.parametrize("length", [b"", b"Content-Length: %d\r\n" % BUFFERS])
async def test_a_large_body_arrives_whole_with_and_without_a_length(
    place: Place, browser: ClientSession, length: bytes
) -> None:
    body = bytes(range(256)) * (BUFFERS // 256)
    place.ui.answer = place.ui.fixed(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n" + body)
    assert await get(browser, f"{BASE}/") == (200, body)


# A hostile UI, and browsers that leave.


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nui\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nui",
        b"HTTP/1.1 200 OK\r\nA: b\n c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"a" * (2 * http1.MAX_HEAD) + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"\x00" * 1000,
    ],
)
async def test_what_is_no_answer_is_a_503_of_the_gateways_own(place: Place, browser: ClientSession, raw: bytes) -> None:
    place.ui.answer = place.ui.fixed(raw)
    status, body = await get(browser, f"{BASE}/")
    assert status == 503
    assert b"The Spark UI gave no proper answer" in body


async def test_a_body_that_breaks_off_is_never_taken_for_a_whole_one(place: Place, browser: ClientSession) -> None:
    place.ui.answer = place.ui.fixed(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    with pytest.raises(ClientPayloadError):
        await get(browser, f"{BASE}/")


async def test_what_comes_behind_a_body_is_no_second_answer(place: Place, browser: ClientSession) -> None:
    place.ui.answer = place.ui.fixed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nuiHTTP/1.1 200 OK\r\n\r\nforged")
    assert await get(browser, f"{BASE}/") == (200, b"ui")
    assert (await get(browser, "/api/swagger.json"))[0] == 200


async def test_an_endless_body_is_read_no_faster_than_the_browser_reads(place: Place, browser: ClientSession) -> None:
    written = 0

    async def endless(head: RequestHead, writer: asyncio.StreamWriter) -> None:  # noqa: ARG001 - an answer's shape
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            written += 65536
            await writer.drain()

    place.ui.answer = endless
    answer = await browser.get(f"{BASE}/")
    before = -1
    while before != written < BUFFERS:
        before = written
        await get(browser, "/api/swagger.json")  # takes the gateway, which is in this loop, many turns
    assert written < BUFFERS
    answer.close()
    await place.ui.closed.wait()


async def test_a_browser_that_leaves_leaves_no_connection_to_the_ui(place: Place, browser: ClientSession) -> None:
    async def slow(head: RequestHead, writer: asyncio.StreamWriter) -> None:  # noqa: ARG001 - an answer's shape
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nbegin")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    place.ui.answer = slow
    answer = await browser.get(f"{BASE}/")
    assert await answer.content.readexactly(5) == b"begin"
    answer.close()
    await place.ui.closed.wait()
