"""What gateways ask of an agent, by the gateway's own client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import psutil
import pytest
from agent_parts import DEADLINE, TOKEN, InProcessAgent, RawWebSocket
from websockets.exceptions import InvalidStatus

from enterprise_gateway.core import agents
from enterprise_gateway.core.lifecycle import KernelState
from enterprise_gateway.core.records import UnixEndpoint
from enterprise_gateway.core.secret import Secret
from enterprise_gateway.errors import KernelUnresponsive
from enterprise_gateway.kernels.agents import AgentClient
from enterprise_gateway.kernels.reach import Address

POSTS = [agents.INTERRUPT_PATH, agents.RESTART_PATH, agents.SHUTDOWN_PATH, agents.CLOSE_PATH]


@pytest.fixture
async def gateway() -> AsyncIterator[AgentClient]:
    client = AgentClient()
    yield client
    await client.close()


def address(agent: InProcessAgent, token: str = TOKEN) -> Address:
    return Address(UnixEndpoint(agent.path), Secret(token))


async def ask(
    agent: InProcessAgent, method: str, target: str, authorization: str = f"token {TOKEN}"
) -> tuple[int, str]:
    """One request on a connection of its own; status and body."""
    reader, writer = await asyncio.open_unix_connection(agent.path)
    writer.write(f"{method} {target} HTTP/1.1\r\nAuthorization: {authorization}\r\n\r\n".encode())
    async with asyncio.timeout(DEADLINE):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(line.split(":")[1] for line in head.split("\r\n") if line.startswith("Content-Length"))
        body = (await reader.readexactly(int(length))).decode()
    writer.close()
    return int(head.split()[1]), body


@pytest.mark.parametrize(
    "authorization", ["", "token", "token ", "token wrong", f"token {TOKEN}x", f"token {TOKEN[:-1]}"]
)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", agents.STATUS_PATH), ("GET", agents.LOG_PATH), *(("POST", path) for path in POSTS)]
)
async def test_without_the_kernels_token_nothing_is_told_and_nothing_done(start_agent, method, path, authorization):
    agent = await start_agent("--mute", shutdown_wait=0.1)
    status, body = await ask(agent, method, path, authorization)
    assert status == 401
    assert TOKEN not in body
    assert agent.kernel.state is KernelState.STARTING
    assert not agent.kernel.ended.is_set()


async def test_without_the_kernels_token_no_websocket_is_opened(start_agent):
    agent = await start_agent("--mute", shutdown_wait=0.1)
    with pytest.raises(InvalidStatus, match="401"):
        await agent.client(headers={"Authorization": "token wrong"})
    assert agent.kernel.status.connections == 0


async def test_a_handshake_that_is_none_is_refused(start_agent):
    agent = await start_agent("--mute", shutdown_wait=0.1)
    status, body = await ask(agent, "GET", agents.CHANNELS_PATH)
    assert status == 400
    assert "handshake" in body


@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "/"), ("GET", "/status/x"), ("POST", agents.STATUS_PATH), ("GET", agents.RESTART_PATH)],
)
async def test_there_are_no_other_routes(start_agent, method, target):
    agent = await start_agent("--mute", shutdown_wait=0.1)
    assert (await ask(agent, method, target))[0] == 404


async def test_a_gateway_that_waits_for_the_start_is_answered_when_it_is_over(start_agent, gateway):
    agent = await start_agent()
    assert (await gateway.status(address(agent))).state is KernelState.STARTING
    status = await gateway.status(address(agent), wait=DEADLINE)
    assert (status.state, status.execution_state) == (KernelState.RUNNING, "idle")
    assert psutil.pid_exists(status.pid)


async def test_a_gateway_does_not_wait_longer_than_it_wants(start_agent, gateway):
    agent = await start_agent("--mute", shutdown_wait=0.1)
    assert (await gateway.status(address(agent), wait=0.01)).state is KernelState.STARTING


@pytest.mark.parametrize("wait", ["x", "-1", "nan", ""])
async def test_a_wait_that_is_no_number_is_none(start_agent, wait):
    agent = await start_agent("--mute", shutdown_wait=0.1)
    assert (await ask(agent, "GET", f"{agents.STATUS_PATH}?wait={wait}"))[0] == 200


async def test_every_question_shows_that_a_gateway_lives(start_agent, gateway):
    agent = await start_agent("--mute", shutdown_wait=0.1)
    agent.kernel.last_gateway = 0.0
    with pytest.raises(KernelUnresponsive):
        await gateway.status(address(agent, "wrong"))
    assert agent.kernel.last_gateway == 0.0
    await gateway.status(address(agent))
    assert time.time() - agent.kernel.last_gateway < DEADLINE


async def test_what_the_kernel_printed_outside_of_cells_can_be_read(start_agent):
    agent = await start_agent("--dies", "1")
    await agent.ended()
    status, body = await ask(agent, "GET", agents.LOG_PATH)
    assert (status, body) == (200, "no such module: pandas\n")


async def test_a_restart_is_answered_with_the_new_process(start_agent, gateway):
    agent = await (await start_agent()).ready()
    before = agent.kernel.status.pid
    status = await gateway.restart(address(agent), DEADLINE)
    assert status.state is KernelState.RUNNING
    assert status.pid != before


async def test_an_interrupt_reaches_the_cell(start_agent, gateway):
    agent = await (await start_agent()).ready()
    client = await agent.client()
    await client.execute("kernel.print('begun'); time.sleep(600)")
    await client.until("stream")
    await gateway.interrupt(address(agent))
    assert (await client.until("execute_reply"))[-1]["content"]["ename"] == "KeyboardInterrupt"


async def test_a_shutdown_is_answered_when_the_end_is_on_record_and_says_why(start_agent, gateway):
    agent = await (await start_agent()).ready()
    await gateway.shutdown(address(agent), "it was shut down", DEADLINE)
    assert agent.kernel.ended.is_set()
    assert (await agent.ended()).reason == "it was shut down"
    status = await gateway.status(address(agent))
    assert (status.state, status.execution_state, status.reason) == (KernelState.ENDED, "dead", "it was shut down")


async def test_a_kernel_that_has_ended_is_shut_down_at_once_and_keeps_its_reason(start_agent, gateway):
    agent = await start_agent("--dies", "1")
    report = await agent.ended()
    await gateway.shutdown(address(agent), "again", DEADLINE)
    assert (await gateway.status(address(agent))).reason == report.reason


async def test_only_the_websockets_of_the_replica_that_leaves_are_closed(start_agent, gateway):
    agent = await (await start_agent()).ready()
    leaving = await agent.client("a", headers={agents.VIA_HEADER: "replica-1"})
    staying = await agent.client("b", headers={agents.VIA_HEADER: "replica-2"})
    await gateway.close_websockets(address(agent), "replica-1", 1012, "the gateway restarts")
    assert await leaving.closed() == 1012
    assert leaving.socket.close_reason == "the gateway restarts"
    assert await staying.run("pass")


async def test_a_polite_close_comes_behind_everything_that_was_said(start_agent, gateway):
    agent = await (await start_agent()).ready()
    socket = await RawWebSocket.open(agent.path, "ann", f"{agents.VIA_HEADER}: replica-1")
    agent.kernel.hub.tell("last words")
    closing = asyncio.create_task(gateway.close_websockets(address(agent), "replica-1", 1012, ""))
    assert b"last words" in await socket.receive_until(1)
    ping = await socket.receive_until(9)
    assert not closing.done()
    socket.send(10, ping)
    assert await socket.receive_until(8)
    await closing
    socket.writer.close()


@pytest.mark.parametrize("code", ["x", "99999999"])
async def test_a_close_code_that_is_none_is_refused(start_agent, code):
    agent = await (await start_agent()).ready()
    client = await agent.client("a", headers={agents.VIA_HEADER: "r"})
    assert (await ask(agent, "POST", f"{agents.CLOSE_PATH}?via=r&code={code}"))[0] == 400
    assert await client.run("pass")
