"""A kernel whose command is a launcher made for Enterprise Gateway, such as an image's `bootstrap-kernel.sh`.

A launcher chooses ports and key of its kernel anew in each life, and reports them to the port of `agent.reports`. The
supervisor begins the first life, too, only when it is told to: a launcher that finds nobody at that port does not try
again. Interrupts go through the launcher, which knows how its kernel wants them; a signal to all of its processes
would end the one that takes them. One event loop.
"""

from __future__ import annotations

import asyncio
import logging
import signal

import msgspec

from enterprise_gateway.agent.holding import Exit
from enterprise_gateway.agent.reports import ReportPort
from enterprise_gateway.agent.supervised import SupervisedProcess, Supervisor
from enterprise_gateway.aio import Tasks
from enterprise_gateway.core.agents import LauncherConfig
from enterprise_gateway.core.records import LOOPBACK, ConnectionInfo
from enterprise_gateway.errors import ProtocolError
from enterprise_gateway.wire.launcher import LauncherReport, decode_report, encode_signal

log = logging.getLogger(__name__)

SIGNAL_SECONDS = 2.0
"""How long a launcher may take to accept a signal."""


async def tell_launcher(host: str, port: int, message: bytes) -> None:
    """Send a launcher one message on a connection of its own.

    Raises:
        OSError, TimeoutError: it does not take it.
    """
    async with asyncio.timeout(SIGNAL_SECONDS):
        _, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(message)
            await writer.drain()
        finally:
            writer.close()
        await writer.wait_closed()


class AwaitedReport:
    """The report of one life; the port for it is open until it has come."""

    def __init__(self, kernel_id: str, private_key: str) -> None:
        self.come: asyncio.Future[LauncherReport] = asyncio.get_running_loop().create_future()
        self.port = ReportPort(self._take)
        self._kernel_id = kernel_id
        self._private_key = private_key
        self._refusal = ""

    @property
    def silence(self) -> str:
        """What has not come, in words for the user."""
        refused = f" (what came was refused: {self._refusal.rstrip('.')})" if self._refusal else ""
        return f"its launcher did not report{refused}"

    def _take(self, payload: bytes, address: str) -> None:
        from enterprise_gateway.agent.unseal import make_unseal  # noqa: PLC0415 - its docstring says why

        try:
            report = decode_report(payload, make_unseal(self._private_key))
        except ProtocolError as error:
            self._refuse(error.message)
            return
        if report.kernel_id != self._kernel_id:
            self._refuse("It is about another kernel.")
            return
        self.port.close()
        connection = msgspec.structs.replace(report.connection, ip=address)
        self.come.set_result(msgspec.structs.replace(report, connection=connection))

    def _refuse(self, why: str) -> None:
        log.warning("A launcher's report was refused: %s", why)
        self._refusal = why


class LaunchedProcess:
    """One life of a launcher and its kernel."""

    def __init__(self, process: SupervisedProcess, report: AwaitedReport) -> None:
        self.pid = process.pid
        self.exited: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._process = process
        self._report = report
        self._tasks = Tasks(f"launcher {process.pid}")
        process.exited.add_done_callback(self._ended)

    def signal_group(self, signum: int) -> None:
        """End all processes, or have the launcher pass on another signal if it can."""
        port = self._report.come.result().comm_port if self._report.come.done() else None
        if port is None or signum in (signal.SIGTERM, signal.SIGKILL):
            self._process.signal_group(signum)
        else:
            self._tasks.spawn(self._pass_on(port, signum), "signal")

    async def close(self) -> None:
        """Have everything in the kernel's container but the supervisor killed."""
        self._report.port.close()
        await self._tasks.close()
        await self._process.close()
        await self.exited

    async def _pass_on(self, port: int, signum: int) -> None:
        try:
            await tell_launcher(LOOPBACK, port, encode_signal(signum))
        except (OSError, TimeoutError) as error:
            log.warning("The launcher takes no signal, so all of its processes get it: %s", error)
            self._process.signal_group(signum)

    def _ended(self, ended: asyncio.Future[Exit]) -> None:
        how = ended.result()
        if not self._report.come.done():
            how = how._replace(reason=f"{how.reason}; {self._report.silence}")
        elif how.code == 0:  # EG's script ends so, whatever has become of the kernel
            how = how._replace(reason=f"its launcher ended with {how.reason}")
        self.exited.set_result(how)

    def __repr__(self) -> str:
        return f"<LaunchedProcess {self._process!r}>"


class LauncherHolder:
    """Has a supervisor start a launcher, life after life."""

    log_tail = Supervisor.log_tail
    forsaken = Supervisor.forsaken
    _report: AwaitedReport

    def __init__(self, supervisor: Supervisor, kernel_id: str, config: LauncherConfig) -> None:
        self.ready = supervisor.ready
        self.leave = supervisor.leave
        self._supervisor = supervisor
        self._kernel_id = kernel_id
        self._config = config

    async def start(self) -> LaunchedProcess:
        """Begin a life that can report."""
        self._report = AwaitedReport(self._kernel_id, self._config.private_key)
        await self._report.port.open(self._config.host, self._config.port)
        return LaunchedProcess(await self._supervisor.start(), self._report)

    async def connection(self, planned: ConnectionInfo) -> ConnectionInfo:  # noqa: ARG002 - it has plans of its own
        """What the launcher has chosen."""
        return (await asyncio.shield(self._report.come)).connection

    @property
    def silence(self) -> str:
        """That it did not report."""
        return self._report.silence

    def __repr__(self) -> str:
        return f"<LauncherHolder of {self._supervisor!r}>"
