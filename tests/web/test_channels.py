"""The websocket route over an agent that comes in time, late or never: what the client sees, what the agent gets."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import ClassVar

import pytest
from fakes.agent import AgentSocket, FakeAgent
from fakes.backend import FakeBackend
from support.served import KEYS, REPLICA, TOKEN, Served, new_record, served

from enterprise_gateway.web.channels import MAX_EARLY
from enterprise_gateway.wire import http1, v1
from enterprise_gateway.wire.http1 import ResponseHead
from enterprise_gateway.wire.websocket import accept_key

DEADLINE = 30.0
BUFFERS = 16 * 1024 * 1024
"""More than the socket buffers between a client and the gateway hold."""

RECORD = new_record("5f0c2e1a-9a3b-4c57-8a61-0d2f6f1f7b90")
PATH = f"/api/kernels/{RECORD.kernel_id}/channels"


class Client:
    """A websocket client that shows the bytes."""

    opened: ClassVar[list[asyncio.StreamWriter]] = []
    """Those of the test that runs, to be closed at its end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
        self.reader = reader
        self.writer = writer
        self.key = key

    @classmethod
    async def connect(cls, gateway: Served, query: str = "", **headers: str) -> Client:
        """Connects and sends a handshake; `headers` replace the usual ones, an empty one is left out."""
        key = base64.b64encode(os.urandom(16)).decode()
        fields = {
            "Host": f"127.0.0.1:{gateway.port}",
            "Authorization": f"token {TOKEN}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": key,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        cls.opened.append(writer)
        pairs = [(name, value) for name, value in fields.items() if value]
        writer.write(http1.encode_request("GET", PATH + query, pairs))
        return cls(reader, writer, key)

    async def head(self) -> ResponseHead:
        return http1.parse_response(await self.reader.readuntil(b"\r\n\r\n"))

    async def close_frame(self) -> tuple[int, str]:
        """The code and the reason of the CLOSE that must come next, and last."""
        frame = await self.reader.read()
        assert (frame[0], frame[1]) == (0x88, len(frame) - 2)
        return int.from_bytes(frame[2:4], "big"), frame[4:].decode()


@pytest.fixture(autouse=True)
async def deadline() -> AsyncIterator[None]:
    """Nothing here takes long, and no task may be left."""
    before = asyncio.all_tasks()
    Client.opened.clear()

    def running() -> set[asyncio.Task[object]]:
        return asyncio.all_tasks() - before - {asyncio.current_task()}

    alarm = asyncio.get_running_loop().call_later(DEADLINE, lambda: [task.cancel() for task in running()])
    yield
    alarm.cancel()
    for writer in Client.opened:
        writer.transport.abort()
    if left := running():
        await asyncio.wait(left, timeout=DEADLINE)
    assert not running()


@pytest.fixture
async def backend() -> FakeBackend:
    """It holds one kernel, whose agent nobody knows yet."""
    backend = FakeBackend()
    backend.put(RECORD)
    return backend


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[FakeAgent]:
    async with FakeAgent(tmp_path / "agent.sock") as agent:
        yield agent


@pytest.fixture
async def patient(backend: FakeBackend) -> AsyncIterator[Served]:
    """A gateway that waits for the agent as long as it takes."""
    async with served(backend) as gateway:
        yield gateway


@pytest.fixture
async def hasty(backend: FakeBackend) -> AsyncIterator[Served]:
    """A gateway that answers a handshake itself as soon as the agent is not there."""
    async with served(backend, agent_wait=0.0) as gateway:
        yield gateway


async def until(condition: Callable[[], object]) -> None:
    """Give the gateway, which runs in the same loop, turns until `condition` holds."""
    while not condition():  # noqa: ASYNC110 - nothing announces what the tests wait for
        await asyncio.sleep(0)


async def until_idle(gateway: Served) -> None:
    """Wait until the gateway carries no websocket."""
    await until(lambda: not gateway.channels.kernel_ids)


async def talk(client: Client, at_agent: AgentSocket) -> None:
    """Claims that bytes go both ways, then ends both sides."""
    client.writer.write(b"question")
    assert await at_agent.reader.readexactly(8) == b"question"
    at_agent.writer.write(b"answer")
    assert await client.reader.readexactly(6) == b"answer"
    client.writer.close()
    assert await at_agent.reader.read() == b""
    at_agent.writer.close()


# The agent is there in time: the handshake is its own.


async def test_the_agents_answer_reaches_the_client_as_it_is(
    patient: Served, backend: FakeBackend, agent: FakeAgent
) -> None:
    backend.agent_appears(RECORD.kernel_id, agent.path)
    client = await Client.connect(patient, "?session_id=a%26b&token=" + TOKEN, Sec_WebSocket_Extensions="x-offer")
    head = await client.head()
    at_agent = await agent.sockets.get()
    assert (head.status, head.get("Sec-WebSocket-Accept")) == (101, accept_key(client.key))
    assert at_agent.head.target == "/channels?session_id=a%26b"
    assert at_agent.head.get("X-Gateway-Replica") == REPLICA
    assert at_agent.head.get("Sec-WebSocket-Extensions") == "x-offer"
    await talk(client, at_agent)


async def test_the_agent_gets_its_own_token_and_never_the_clients_credentials(
    patient: Served, backend: FakeBackend, agent: FakeAgent
) -> None:
    backend.agent_appears(RECORD.kernel_id, agent.path)
    client = await Client.connect(patient, f"?token={TOKEN}", Cookie=f"c={TOKEN}", X_Gateway_Replica="forged")
    await client.head()
    at_agent = await agent.sockets.get()
    token = KEYS.secrets(KEYS.newest_id, RECORD.kernel_id).token.reveal()
    assert at_agent.head.get("Authorization") == f"token {token}"
    assert at_agent.head.get("X-Gateway-Replica") == REPLICA
    assert TOKEN not in repr(at_agent.head)
    await talk(client, at_agent)


async def test_a_handshake_waits_for_an_agent_that_is_about_to_come(
    patient: Served, backend: FakeBackend, agent: FakeAgent
) -> None:
    client = await Client.connect(patient)
    client.writer.write(b"sent before the answer")
    backend.agent_appears(RECORD.kernel_id, agent.path)
    await client.head()
    at_agent = await agent.sockets.get()
    assert await at_agent.reader.readexactly(22) == b"sent before the answer"
    await talk(client, at_agent)


async def test_what_the_agent_sends_with_its_answer_arrives(
    patient: Served, backend: FakeBackend, agent: FakeAgent
) -> None:
    agent.sends_with_handshake = b"replayed"
    backend.agent_appears(RECORD.kernel_id, agent.path)
    client = await Client.connect(patient)
    await client.head()
    assert await client.reader.readexactly(8) == b"replayed"
    await talk(client, await agent.sockets.get())


async def test_a_client_that_leaves_during_the_handshake_leaves_nothing_at_the_agent(
    patient: Served, backend: FakeBackend, agent: FakeAgent, caplog: pytest.LogCaptureFixture
) -> None:
    agent.may_answer.clear()
    backend.agent_appears(RECORD.kernel_id, agent.path)
    client = await Client.connect(patient)
    await agent.asked.acquire()
    caplog.set_level(logging.INFO)
    client.writer.transport.abort()
    for _ in range(10):  # turns for the gateway, in which it sees the client go
        await asyncio.sleep(0)
    agent.may_answer.set()
    at_agent = await agent.sockets.get()
    assert await at_agent.reader.read() == b""
    await until_idle(patient)
    await until(lambda: "499 GET" in caplog.text)
    assert "Traceback" not in caplog.text


async def test_a_kernel_whose_agent_cannot_be_reached_is_not_declared_dead(
    hasty: Served, backend: FakeBackend, tmp_path: Path
) -> None:
    backend.agent_appears(RECORD.kernel_id, str(tmp_path / "nobody.sock"))
    assert (await (await Client.connect(hasty)).head()).status == 503


async def test_a_refusal_by_the_agent_is_not_the_clients_fault(
    patient: Served, backend: FakeBackend, agent: FakeAgent
) -> None:
    agent.refuses = True
    backend.agent_appears(RECORD.kernel_id, agent.path)
    assert (await (await Client.connect(patient)).head()).status == 503


async def test_a_kernel_that_ends_while_the_handshake_waits_is_a_404(patient: Served, backend: FakeBackend) -> None:
    client = await Client.connect(patient)
    await until(lambda: backend.is_watched(RECORD.kernel_id))
    backend.end(RECORD.kernel_id, "no image")
    head = await client.head()
    body = await client.reader.readexactly(http1.content_length(head))
    assert head.status == 404
    assert b"no image" in body


@pytest.mark.parametrize(
    "wrong",
    [
        {"Upgrade": ""},
        {"Connection": "keep-alive"},
        {"Sec_WebSocket_Version": "12"},
        {"Sec_WebSocket_Key": ""},
        {"Sec_WebSocket_Key": "short"},
    ],
    ids=str,
)
async def test_a_malformed_handshake_is_a_400_before_anybody_waits(hasty: Served, wrong: dict[str, str]) -> None:
    assert (await (await Client.connect(hasty, **wrong)).head()).status == 400
    assert not hasty.channels.kernel_ids


# The agent is late: the gateway answers in its place.


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [("", None), (v1.SUBPROTOCOL, v1.SUBPROTOCOL), (f"other, {v1.SUBPROTOCOL}", v1.SUBPROTOCOL), ("other", None)],
)
async def test_the_gateway_answers_for_a_late_agent(
    hasty: Served, backend: FakeBackend, agent: FakeAgent, offered: str, chosen: str | None
) -> None:
    client = await Client.connect(
        hasty, "?session_id=mine", Sec_WebSocket_Protocol=offered, Sec_WebSocket_Extensions="permessage-deflate"
    )
    head = await client.head()
    assert (head.status, head.get("Sec-WebSocket-Accept")) == (101, accept_key(client.key))
    assert (head.get("Sec-WebSocket-Protocol"), head.get("Sec-WebSocket-Extensions")) == (chosen, None)
    backend.agent_appears(RECORD.kernel_id, agent.path)
    at_agent = await agent.sockets.get()
    assert at_agent.head.target == "/channels?session_id=mine"
    assert (at_agent.head.get("Sec-WebSocket-Protocol"), at_agent.head.get("Sec-WebSocket-Extensions")) == (
        chosen,
        None,
    )
    assert at_agent.head.get("X-Gateway-Replica") == REPLICA
    await talk(client, at_agent)


async def test_what_a_client_sends_before_the_agent_comes_is_kept_in_order(
    hasty: Served, backend: FakeBackend, agent: FakeAgent
) -> None:
    client = await Client.connect(hasty)
    client.writer.write(b"with the handshake ")
    await client.head()
    client.writer.write(b"and after it")
    await client.writer.drain()
    backend.agent_appears(RECORD.kernel_id, agent.path)
    at_agent = await agent.sockets.get()
    assert await at_agent.reader.readexactly(31) == b"with the handshake and after it"
    await talk(client, at_agent)


async def test_a_client_that_sends_too_much_too_early_is_slowed_down_and_loses_nothing(
    hasty: Served, backend: FakeBackend, agent: FakeAgent
) -> None:
    client = await Client.connect(hasty)
    await client.head()
    much = os.urandom(1024) * ((MAX_EARLY + 2 * BUFFERS) // 1024)
    client.writer.write(much)
    before, waiting = -1, client.writer.transport.get_write_buffer_size()
    while waiting != before:  # it goes on as long as it is read: until two looks see the same
        await asyncio.sleep(0.1)
        before, waiting = waiting, client.writer.transport.get_write_buffer_size()
    assert len(much) - waiting < MAX_EARLY + BUFFERS
    backend.agent_appears(RECORD.kernel_id, agent.path)
    at_agent = await agent.sockets.get()
    assert await at_agent.reader.readexactly(len(much)) == much
    await talk(client, at_agent)


async def test_a_kernel_that_does_not_start_closes_the_websocket_with_its_reason(
    hasty: Served, backend: FakeBackend
) -> None:
    client = await Client.connect(hasty)
    await client.head()
    reason = "ErrImagePull: " + "é" * 200
    backend.end(RECORD.kernel_id, reason)
    code, text = await client.close_frame()
    assert code == 1011
    assert text.startswith("Kernel does not exist")
    await until_idle(hasty)


async def test_an_agent_that_refuses_late_closes_the_websocket(
    hasty: Served, backend: FakeBackend, agent: FakeAgent
) -> None:
    agent.refuses = True
    client = await Client.connect(hasty)
    await client.head()
    backend.agent_appears(RECORD.kernel_id, agent.path)
    assert (await client.close_frame())[0] == 1011


async def test_a_backend_that_loses_its_state_closes_the_websocket(hasty: Served, backend: FakeBackend) -> None:
    client = await Client.connect(hasty)
    await client.head()
    backend.synced = False
    backend.put(RECORD)
    assert (await client.close_frame())[0] == 1011


async def test_a_client_that_leaves_while_it_waits_leaves_nothing_behind(
    hasty: Served, backend: FakeBackend, agent: FakeAgent
) -> None:
    client = await Client.connect(hasty)
    await client.head()
    client.writer.close()
    await until_idle(hasty)
    backend.agent_appears(RECORD.kernel_id, agent.path)
    await asyncio.sleep(0)
    assert agent.asked.locked(), "somebody asked the agent"


async def test_a_client_that_leaves_as_the_agent_answers_leaves_nothing_behind(
    hasty: Served, backend: FakeBackend, agent: FakeAgent
) -> None:
    agent.may_answer.clear()
    client = await Client.connect(hasty)
    await client.head()
    backend.agent_appears(RECORD.kernel_id, agent.path)
    await agent.asked.acquire()
    client.writer.transport.abort()
    agent.may_answer.set()
    at_agent = await agent.sockets.get()
    with contextlib.suppress(ConnectionError):
        assert await at_agent.reader.read() == b""
    await until_idle(hasty)


async def test_a_gateway_that_stops_lets_go_of_waiting_clients(backend: FakeBackend) -> None:
    async with served(backend, agent_wait=0.0) as gateway:
        client = await Client.connect(gateway)
        await client.head()
        client.writer.close()


async def test_an_open_websocket_is_counted_under_its_kernel(
    hasty: Served, backend: FakeBackend, agent: FakeAgent
) -> None:
    client = await Client.connect(hasty)
    await client.head()
    assert hasty.channels.kernel_ids == [RECORD.kernel_id]
    backend.agent_appears(RECORD.kernel_id, agent.path)
    await talk(client, await agent.sockets.get())
    await until_idle(hasty)
