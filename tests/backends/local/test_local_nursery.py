"""A warm parent, its agents, and what is left when one of them goes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable

import msgspec
import psutil
import pytest
from local_parts import DEADLINE, new_launch, new_record
from support.ended import have_ended

from enterprise_gateway.backends.local.folder import AGENT_PID, KERNEL_PID, StateFolder
from enterprise_gateway.backends.local.nursery import Nursery
from enterprise_gateway.backends.local.ports import free_ports
from enterprise_gateway.config.ports import PortRange
from enterprise_gateway.core.agents import AgentConfig, KernelProcessConfig
from enterprise_gateway.core.records import ConnectionInfo
from enterprise_gateway.errors import BackendUnavailable

NO_COMMAND = KernelProcessConfig(argv=["/no/such/command"], env={}, cwd="/")


@pytest.fixture
async def nursery() -> AsyncIterator[Nursery]:
    made = Nursery(os.environ | {"EG_AUTH_TOKEN": "secret", "AWS_SECRET_ACCESS_KEY": "secret"}, None, 0)
    yield made
    await made.close()


@pytest.fixture
def claim(folder: StateFolder) -> Callable[..., AgentConfig]:
    """Claims an id for a kernel, by default one whose command does not exist, so that its agent soon ends."""

    def make(*flags: str) -> AgentConfig:
        record = new_record()
        shell, iopub, stdin, control, heartbeat = free_ports(5, PortRange(), ())
        connection = ConnectionInfo(
            shell_port=shell, iopub_port=iopub, stdin_port=stdin, control_port=control, hb_port=heartbeat, key="k"
        )
        launch = new_launch(record, *flags)
        file = str(folder.connection_file(record.kernel_id))
        argv = [argument.replace("{connection_file}", file) for argument in launch.argv]
        process = KernelProcessConfig(argv=argv, env=launch.env, cwd="/") if flags else NO_COMMAND
        config = AgentConfig(
            kernel_id=record.kernel_id, token="t", connection=connection, process=process, rules=launch.rules
        )
        assert folder.claim(record, config)
        return config

    return make


async def start(nursery: Nursery, folder: StateFolder, config: AgentConfig) -> int:
    """Start an agent; its process id."""
    kernel_id = config.kernel_id
    return await nursery.start(folder.of(kernel_id), folder.socket(kernel_id), config.process)


async def ended(*pids: int) -> bool:
    return await asyncio.to_thread(have_ended, *pids)


async def kernel_of(folder: StateFolder, config: AgentConfig) -> int:
    """The kernel's process, once its agent has put it on record."""
    async with asyncio.timeout(DEADLINE):
        while not (pid := folder.pid(config.kernel_id, KERNEL_PID)):  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.01)
    return pid


async def test_an_agent_listens_and_is_on_record_when_its_start_is_answered(nursery, folder, claim):
    config = claim("--mute")
    agent = await start(nursery, folder, config)
    _, writer = await asyncio.open_unix_connection(str(folder.socket(config.kernel_id)))
    writer.close()
    assert folder.pid(config.kernel_id, AGENT_PID) == agent
    assert folder.socket(config.kernel_id).stat().st_mode & 0o777 == 0o600
    os.kill(agent, signal.SIGKILL)
    assert await ended(agent)


async def test_an_agent_writes_why_its_kernel_ended_and_goes(nursery, folder, claim):
    config = claim()
    agent = await start(nursery, folder, config)
    assert await ended(agent)
    report = folder.end(config.kernel_id)
    assert report is not None
    assert "/no/such/command" in report.reason


async def test_many_starts_at_once_are_all_answered(nursery, folder, claim):
    agents = await asyncio.gather(*(start(nursery, folder, claim()) for _ in range(10)))
    assert len(set(agents)) == 10
    assert await ended(*agents)
    assert all(folder.end(kernel_id) for kernel_id in folder.kernel_ids())


async def test_agents_and_kernels_get_no_secret_of_the_gateway(nursery, folder, claim):
    config = claim("--mute")
    agent = await start(nursery, folder, config)
    kernel = await kernel_of(folder, config)
    for process in (agent, kernel):
        assert "secret" not in json.dumps(psutil.Process(process).environ())
    os.kill(agent, signal.SIGKILL)
    assert await ended(agent, kernel)  # a kernel does not outlive its agent


async def test_agents_outlive_the_gateway(nursery, folder, claim):
    config = claim("--mute")
    agent = await start(nursery, folder, config)
    await nursery.close()
    reader, writer = await asyncio.open_unix_connection(str(folder.socket(config.kernel_id)))
    writer.write(b"GET /status HTTP/1.1\r\nAuthorization: token t\r\n\r\n")
    async with asyncio.timeout(DEADLINE):
        assert b" 200 " in await reader.readline()
    writer.close()
    os.kill(agent, signal.SIGKILL)
    assert await ended(agent)


async def test_an_agent_that_is_told_to_end_ends_its_kernel_politely(nursery, folder, claim):
    config = claim("--mute")
    agent = await start(nursery, folder, config)
    kernel = await kernel_of(folder, config)
    os.kill(agent, signal.SIGTERM)
    assert await ended(agent, kernel)
    report = folder.end(config.kernel_id)
    assert report is not None
    assert "SIGTERM" in report.reason


async def test_closing_ends_the_parent(nursery):
    await nursery.warm_up()
    (parent,) = [
        child for child in psutil.Process().children() if "enterprise_gateway.agent.nursery" in child.cmdline()
    ]
    await nursery.close()
    assert not parent.is_running()


async def test_a_killed_parent_is_replaced(nursery, folder, claim):
    await nursery.warm_up()
    assert nursery._process is not None
    nursery._process.send_signal(signal.SIGKILL)
    await nursery._process.wait()
    assert await ended(await start(nursery, folder, claim()))


async def test_a_socket_that_cannot_be_made_is_an_error_of_this_start_alone(nursery, folder, claim):
    bad, good = claim(), claim()
    folder.socket(bad.kernel_id).write_text("in the way")
    with pytest.raises(BackendUnavailable, match="Address already in use"):
        await start(nursery, folder, bad)
    assert await ended(await start(nursery, folder, good))


async def test_an_agent_that_cannot_be_put_on_record_does_not_live(nursery, folder, claim):
    config = claim("--mute")
    path = folder.of(config.kernel_id) / AGENT_PID
    path.mkdir()
    with pytest.raises(BackendUnavailable, match="No agent could be started"):
        await start(nursery, folder, config)
    (parent,) = [
        child for child in psutil.Process().children() if "enterprise_gateway.agent.nursery" in child.cmdline()
    ]
    assert await ended(*(child.pid for child in parent.children()))


async def test_a_configuration_that_cannot_be_read_ends_the_agent_with_a_word_in_its_log(nursery, folder, claim):
    config = claim()
    (folder.of(config.kernel_id) / "agent.json").write_bytes(msgspec.json.encode({"token": 1}))
    assert await ended(await start(nursery, folder, config))
    assert "The agent failed" in folder.log_tail(config.kernel_id, "agent.log")
    assert folder.end(config.kernel_id) is None
