"""A launch command of an agent's: the kernel begins with the report and ends when nobody listens where it was."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from agent_parts import DEADLINE, connection_info
from agent_pod_parts import free_port
from support.launchers import seal

from enterprise_gateway.agent.child import ChildHolder
from enterprise_gateway.agent.launch_command import CommandedProcess, LaunchCommandHolder
from enterprise_gateway.backends.report_key import ReportKey, make_report_key
from enterprise_gateway.core.agents import KernelProcessConfig, LauncherConfig
from enterprise_gateway.core.records import ConnectionInfo

KERNEL = "3b9c5a9e-0000-4000-8000-000000000001"
PLANNED = connection_info()
STAYS = "import time; print('here', flush=True); time.sleep(600)"


class Launcher:
    """What the command starts: a port for signals, and a report."""

    def __init__(self, key: ReportKey, port: int) -> None:
        self.heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._key = key
        self._port = port
        self._server: asyncio.Server | None = None

    async def report(self, **changes: Any) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        chosen = connection_info()
        info = {name: getattr(chosen, name) for name in chosen.__struct_fields__} | {
            "kernel_id": KERNEL,
            "ip": "0.0.0.0",
        }
        info["comm_port"] = self._server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(seal(json.dumps(info | changes).encode(), self._key.public))
        writer.close()
        await writer.wait_closed()

    async def hears(self, message: dict[str, Any]) -> None:
        async with asyncio.timeout(DEADLINE):
            while await self.heard.get() != message:
                pass

    def end(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard.put_nowait(json.loads(await reader.read()))
        writer.close()


class Command:
    """A holder of a launch command, and the launcher that comes of it."""

    def __init__(self, folder: Path, key: ReportKey, code: str) -> None:
        port = free_port()
        process = KernelProcessConfig(argv=[sys.executable, "-c", code], env={}, cwd="/")
        config = LauncherConfig(private_key=key.private.reveal(), host="127.0.0.1", port=port)
        self.holder = LaunchCommandHolder(ChildHolder(process, folder, own=False), KERNEL, config)
        self.launcher = Launcher(key, port)
        self.process: CommandedProcess | None = None

    async def start(self) -> CommandedProcess:
        self.process = await self.holder.start()
        return self.process

    async def connection(self) -> ConnectionInfo:
        return await asyncio.wait_for(self.holder.connection(PLANNED), DEADLINE)

    async def close(self) -> None:
        self.launcher.end()
        if self.process is not None:
            await self.process.close()


@pytest.fixture(scope="module")
def key() -> ReportKey:
    return make_report_key()


@pytest.fixture
def code() -> str:
    return STAYS


@pytest.fixture
async def command(folder: Path, key: ReportKey, code: str) -> AsyncIterator[Command]:
    made = Command(folder, key, code)
    yield made
    await made.close()


async def test_the_kernel_is_where_its_report_came_from(command: Command) -> None:
    await command.start()
    await command.launcher.report()
    assert (await command.connection()).ip == "127.0.0.1"


async def test_signals_go_through_the_launcher(command: Command) -> None:
    process = await command.start()
    await command.launcher.report()
    await command.connection()
    process.signal_group(signal.SIGINT)
    await command.launcher.hears({"signum": signal.SIGINT})
    assert not process.exited.done()


async def test_a_launcher_that_is_gone_is_the_kernels_end(command: Command) -> None:
    process = await command.start()
    await command.launcher.report()
    await command.connection()
    command.launcher.end()
    how = await asyncio.wait_for(process.exited, DEADLINE)
    assert how.reason.startswith("nobody listens at 127.0.0.1 (port ")


async def test_without_a_port_for_signals_the_kernels_own_is_looked_at(command: Command) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    process = await command.start()
    await command.launcher.report(comm_port=None, shell_port=port)
    await command.connection()
    assert not process.exited.done()
    server.close()
    how = await asyncio.wait_for(process.exited, DEADLINE)
    assert how.reason == f"nobody listens at 127.0.0.1 (port {port}) any more"


async def test_an_end_asks_the_launcher_to_kill_its_kernel(command: Command) -> None:
    process = await command.start()
    await command.launcher.report()
    await command.connection()
    closing = asyncio.create_task(process.close())
    await command.launcher.hears({"signum": signal.SIGKILL})
    await command.launcher.hears({"shutdown": 1})
    command.launcher.end()
    await asyncio.wait_for(closing, DEADLINE)
    assert process.exited.done()


@pytest.mark.parametrize("code", ["import sys; print('no such host'); sys.exit(3)"])
async def test_a_command_that_fails_before_the_report_is_the_end(command: Command) -> None:
    process = await command.start()
    how = await asyncio.wait_for(process.exited, DEADLINE)
    assert how.code == 3
    assert how.reason == "its launch command ended with exit code 3; its launcher did not report"
    await process.close()
    assert command.holder.log_tail.strip() == "no such host"


@pytest.mark.parametrize("code", ["pass"])
async def test_a_command_that_ends_well_is_waited_for(command: Command) -> None:
    process = await command.start()
    await asyncio.wait_for(asyncio.shield(process._command.exited), DEADLINE)
    assert command.holder.silence == "its launch command has ended, and its launcher did not report"
    assert not process.exited.done()
    await command.launcher.report()
    await command.connection()
    assert not process.exited.done()


async def test_lives_follow_each_other_at_the_same_port(command: Command) -> None:
    for _ in range(2):
        process = await command.start()
        await command.launcher.report()
        await command.connection()
        command.launcher.end()
        await process.close()
