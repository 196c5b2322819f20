"""Websockets of an agent with a real kernel behind them."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator

import pytest
from agent_parts import DEADLINE, InProcessAgent, RawWebSocket, header

from enterprise_gateway.wire import v1

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


@pytest.fixture
async def agent(start_agent) -> InProcessAgent:
    return await (await start_agent(max_message=50_000)).ready()


@pytest.fixture
async def raw(agent: InProcessAgent) -> AsyncIterator[RawWebSocket]:
    made = await RawWebSocket.open(agent.path)
    yield made
    made.writer.close()


def execute(code: str, channel: str = "shell") -> bytes:
    return json.dumps({"header": header("execute_request"), "content": {"code": code}, "channel": channel}).encode()


async def stream_text(raw: RawWebSocket) -> str:
    """What the next stream message says."""
    while True:
        message = json.loads(await raw.receive_until(TEXT))
        if message["msg_type"] == "stream":
            return message["content"]["text"]


async def test_a_ping_is_answered_with_what_it_said(raw):
    raw.send(PING, b"are you there")
    assert await raw.receive_until(PONG) == b"are you there"


async def test_a_clients_close_is_answered_and_ends_the_connection(agent, raw):
    raw.send(CLOSE, struct.pack("!H", 4000) + b"bye")
    assert (await raw.receive_until(CLOSE))[:2] == struct.pack("!H", 4000)
    await raw.ended()
    await asyncio.wait_for(agent.kernel.hub.closed(), DEADLINE)


async def test_a_clients_end_without_a_word_is_noticed(agent, raw):
    assert agent.kernel.status.connections == 1
    raw.writer.transport.abort()
    await asyncio.wait_for(agent.kernel.hub.closed(), DEADLINE)
    assert agent.kernel.status.connections == 0


@pytest.mark.parametrize(
    ("opcode", "payload", "code"),
    [(3, b"", 1002), (0, b"", 1002), (TEXT, b"\xff", 1007), (BINARY, bytes(50_001), 1009)],
)
async def test_who_breaks_the_protocol_is_told_so_and_closed(agent, raw, opcode, payload, code):
    raw.send(opcode, payload)
    closing = await raw.receive_until(CLOSE)
    assert struct.unpack("!H", closing[:2]) == (code,)
    assert len(closing) > 10
    raw.writer.close()
    await asyncio.wait_for(agent.kernel.hub.closed(), DEADLINE)


async def test_what_came_before_the_broken_frame_still_counts(agent, raw):
    watcher = await agent.client()
    raw.send(TEXT, execute("kernel.print('it ran')"))
    raw.send(3, b"")
    assert (await watcher.until("stream"))[-1]["content"]["text"] == "it ran"


@pytest.mark.parametrize(
    ("opcode", "payload"),
    [
        (TEXT, b"not json"),
        (TEXT, b"{}"),
        (TEXT, b'{"header": {"msg_id": 1}}'),
        (TEXT, execute("", channel="iopub")),
        (TEXT, execute("", channel="nowhere")),
        (BINARY, b""),
        (BINARY, b"\0\0\0\1\0\0\0\xff"),
    ],
)
async def test_a_message_that_makes_no_sense_is_ignored_and_the_next_is_not(raw, opcode, payload):
    raw.send(opcode, payload)
    raw.send(TEXT, execute("kernel.print('next')"))
    assert await stream_text(raw) == "next"


async def test_a_message_may_come_in_fragments_with_a_ping_between(raw):
    message = execute("kernel.print('whole')")
    raw.send(TEXT, message[:10], final=False)
    raw.send(PING, b"")
    raw.send(0, message[10:])
    assert await raw.receive_until(PONG) == b""
    assert await stream_text(raw) == "whole"


async def test_a_client_speaks_v1_when_it_offers_it(agent):
    client = await agent.client(subprotocols=[v1.SUBPROTOCOL])
    assert client.socket.subprotocol == v1.SUBPROTOCOL
    parts = [
        b"shell",
        json.dumps(header("execute_request")).encode(),
        b"{}",
        b"{}",
        b'{"code": "kernel.print(str(1))"}',
    ]
    offsets = [8 * (len(parts) + 2)]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    await client.socket.send(struct.pack(f"<{len(offsets) + 1}Q", len(offsets), *offsets) + b"".join(parts))
    async with asyncio.timeout(DEADLINE):
        while b'"execute_reply"' not in (frame := await client.socket.recv()):
            assert isinstance(frame, bytes)


async def test_an_unknown_subprotocol_is_not_agreed_on(agent):
    client = await agent.client(subprotocols=["v9.unheard.of"])
    assert client.socket.subprotocol is None
    assert await client.run("pass")


async def test_what_was_not_acknowledged_comes_again_and_what_was_does_not(agent):
    first = await RawWebSocket.open(agent.path, "ann")
    first.send(TEXT, execute("kernel.print('one')"))
    assert await stream_text(first) == "one"
    first.writer.transport.abort()

    second = await RawWebSocket.open(agent.path, "ann")
    assert await stream_text(second) == "one"
    while json.loads(await second.receive_until(TEXT))["content"].get("execution_state") != "idle":
        pass
    second.send(PONG, await second.receive_until(PING))
    second.send(PING, b"done")  # answered once the PONG was taken
    await second.receive_until(PONG)
    second.writer.transport.abort()

    third = await RawWebSocket.open(agent.path, "ann")
    third.send(TEXT, execute("kernel.print('two')"))
    assert await stream_text(third) == "two"
    third.writer.close()


async def test_a_second_websocket_of_a_session_closes_the_first(agent):
    first = await agent.client("ann")
    second = await agent.client("ann")
    assert await first.closed() == 1001
    assert await second.run("pass")
    assert agent.kernel.status.connections == 1


async def test_clients_of_both_protocols_and_one_that_reads_nothing_share_a_kernel(agent):
    reader, deaf = await agent.client("reader"), await RawWebSocket.open(agent.path, "deaf")
    received = await reader.run("[kernel.print('x' * 100_000) for _ in range(200)]")
    assert sum(message["msg_type"] == "stream" for message in received) == 200
    texts = [await stream_text(deaf) for _ in range(200)]
    assert {len(text) for text in texts} == {100_000}
    deaf.writer.close()


async def test_a_quiet_websocket_is_pinged(start_agent):
    agent = await (await start_agent(ping_interval=0.05)).ready()
    raw = await RawWebSocket.open(agent.path)
    for _ in range(3):
        assert (await raw.receive_until(PING)).isdigit()
    raw.writer.close()


async def test_closing_waits_for_the_clients_answer_and_sends_nothing_behind_the_close(agent, raw):
    (socket,) = agent.kernel.hub.sockets
    socket.close(1012, "the gateway restarts")
    agent.kernel.hub.tell("too late")
    raw.send(TEXT, execute("kernel.print('too late')"))
    assert await raw.receive_until(CLOSE) == struct.pack("!H", 1012) + b"the gateway restarts"
    raw.send(CLOSE, struct.pack("!H", 1012))
    with pytest.raises(asyncio.IncompleteReadError):
        await raw.receive()


async def test_a_client_that_asks_nothing_hears_everything(agent):
    quiet, loud = await agent.client(), await agent.client()
    await loud.run("kernel.print('hello')")
    assert (await quiet.until("stream"))[-1]["content"]["text"] == "hello"
