"""A kernel of a launcher: the test is the supervisor and the launcher."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from agent_parts import DEADLINE, connection_info
from agent_pod_parts import Container, free_port
from support.launchers import seal

from enterprise_gateway.agent.launched import SIGNAL_SECONDS, LaunchedProcess, LauncherHolder
from enterprise_gateway.backends.report_key import ReportKey, make_report_key
from enterprise_gateway.core.agents import LauncherConfig
from enterprise_gateway.core.records import ConnectionInfo

KERNEL = "3b9c5a9e-0000-4000-8000-000000000001"
PLANNED = connection_info()


class Launched:
    """A holder, and both parts of the other container."""

    def __init__(self, folder: Path, key: ReportKey) -> None:
        self.container = Container(folder)
        self.key = key
        self.port = free_port()
        config = LauncherConfig(private_key=key.private.reveal(), host="127.0.0.1", port=self.port)
        self.holder = LauncherHolder(self.container.supervisor, KERNEL, config)
        self.process: LaunchedProcess | None = None

    async def start(self, pid: int = 7) -> LaunchedProcess:
        """A life, as the supervisor begins it."""
        starting = asyncio.create_task(self.holder.start())
        assert await until(lambda: self.container.told("orders")) == "start\n"
        self.container.say(f"started {pid}\n")
        self.process = await asyncio.wait_for(starting, DEADLINE)
        return self.process

    async def report(self, **changes: Any) -> ConnectionInfo:
        """What a launcher does; what it reported."""
        chosen = connection_info()
        info = {name: getattr(chosen, name) for name in chosen.__struct_fields__} | {"kernel_id": KERNEL} | changes
        await self.send(seal(json.dumps(info).encode(), self.key.public))
        return chosen

    async def send(self, payload: bytes) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(payload)
        writer.close()
        await writer.wait_closed()

    async def connection(self) -> ConnectionInfo:
        return await asyncio.wait_for(self.holder.connection(PLANNED), DEADLINE)


class CommPort:
    """Where a launcher takes signals."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()
        self.port = 0

    async def open(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard.put_nowait(await reader.read())
        writer.close()


@pytest.fixture(scope="module")
def key() -> ReportKey:
    return make_report_key()


@pytest.fixture
async def launched(folder: Path, key: ReportKey) -> AsyncIterator[Launched]:
    made = Launched(folder, key)
    made.container.say("waiting\n")
    yield made
    made.container.end()  # which is the end of a life that is left
    if made.process is not None:
        await made.process.close()
    made.container.supervisor.close()


@pytest.fixture
async def comm() -> AsyncIterator[CommPort]:
    made = CommPort()
    server = await made.open()
    yield made
    server.close()


async def until(ask: Callable[[], str]) -> str:
    """The first answer, of what nobody announces."""
    async with asyncio.timeout(DEADLINE):
        while not (answer := ask()):  # noqa: ASYNC110 - that is what it is for
            await asyncio.sleep(0.001)
    return answer


async def refused(launched: Launched) -> str:
    """Why a report was refused, once that is told."""
    return await until(lambda: launched.holder.silence if "refused" in launched.holder.silence else "")


async def test_the_launcher_is_started_when_its_report_can_be_heard(launched):
    await asyncio.wait_for(launched.holder.ready.wait(), DEADLINE)
    starting = asyncio.create_task(launched.holder.start())
    await until(lambda: launched.container.told("orders"))
    chosen = await launched.report()
    launched.container.say("started 7\n")
    launched.process = await asyncio.wait_for(starting, DEADLINE)
    assert launched.process.pid == 7
    assert await launched.connection() == chosen


async def test_each_life_has_the_connection_that_its_launcher_reports(launched):
    seen = []
    for pid in (7, 8):
        process = await launched.start(pid)
        chosen = await launched.report()
        assert await launched.connection() == chosen
        seen.append(chosen)
        launched.container.say("exit 0 0 max\n")
        await process.close()
    assert seen[0] != seen[1]


async def test_nobody_listens_any_more_once_the_report_has_come(launched):
    await launched.start()
    await launched.report()
    await launched.connection()
    with pytest.raises(ConnectionError):
        await launched.report()


@pytest.mark.parametrize(
    ("change", "told"), [({"kernel_id": "another"}, "about another kernel"), ({"shell_port": 0}, "shell_port")]
)
async def test_a_report_that_cannot_be_used_is_refused_and_the_right_one_is_still_heard(launched, change, told):
    await launched.start()
    await launched.report(**change)
    assert told in await refused(launched)
    chosen = await launched.report()
    assert await launched.connection() == chosen


async def test_garbage_is_refused_and_its_secrets_are_in_no_log(launched, caplog):
    await launched.start()
    await launched.send(b"hunter2")
    assert "not base64" in await refused(launched)
    assert "hunter2" not in caplog.text


async def test_waiting_for_the_report_can_be_given_up_and_begun_again(launched):
    await launched.start()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(launched.holder.connection(PLANNED), 0.01)
    chosen = await launched.report()
    assert await launched.connection() == chosen


async def test_a_launcher_that_ends_without_a_word_is_said_to_have(launched):
    process = await launched.start()
    launched.container.say("exit 0 0 max\n")
    end = await asyncio.wait_for(process.exited, DEADLINE)
    assert (end.code, end.reason) == (0, "exit code 0; its launcher did not report")
    await process.close()


async def test_a_kernel_that_had_reported_ends_as_any_other(launched):
    process = await launched.start()
    await launched.report()
    await launched.connection()
    launched.container.say("exit 3 0 max\n")
    assert (await asyncio.wait_for(process.exited, DEADLINE)).reason == "exit code 3"
    await process.close()


async def test_an_interrupt_goes_through_the_launcher(launched, comm):
    process = await launched.start()
    await launched.report(comm_port=comm.port)
    await launched.connection()
    for signum in (signal.SIGINT, signal.SIGUSR2):
        process.signal_group(signum)
        assert json.loads(await asyncio.wait_for(comm.heard.get(), DEADLINE)) == {"signum": signum}
    assert launched.container.told("signals") == ""


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
async def test_what_ends_a_kernel_is_for_all_of_its_processes(launched, comm, signum):
    process = await launched.start()
    await launched.report(comm_port=comm.port)
    await launched.connection()
    process.signal_group(signum)
    assert launched.container.told("signals") == f"{signum.name[3:]} 7\n"
    assert comm.heard.empty()


async def test_where_no_launcher_takes_signals_all_processes_get_them(launched):
    process = await launched.start()
    process.signal_group(signal.SIGINT)
    assert await until(lambda: launched.container.told("signals")) == "INT 7\n", "it has not reported yet"
    await launched.report(comm_port=None)
    await launched.connection()
    process.signal_group(signal.SIGINT)
    assert await until(lambda: launched.container.told("signals")) == "INT 7\n", "its report had no port for them"


async def test_a_launcher_that_takes_no_signals_any_more_is_passed_over(launched):
    process = await launched.start()
    await launched.report(comm_port=free_port())
    await launched.connection()
    process.signal_group(signal.SIGINT)
    assert await until(lambda: launched.container.told("signals")) == "INT 7\n"


async def test_the_end_of_a_life_is_not_held_up_by_a_signal(launched):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = await launched.start()
        await launched.report(comm_port=silent.getsockname()[1])
        await launched.connection()
        process.signal_group(signal.SIGINT)
        launched.container.say("exit 0 0 max\n")
        async with asyncio.timeout(SIGNAL_SECONDS / 2):
            await process.close()
