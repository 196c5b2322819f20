"""A kernel that a launch command starts, somewhere: the agent runs the command, and the launcher's report says where.

The command may be the launcher itself, or a script that starts one on another machine and ends. So the kernel's life is
not the command's: it begins with the report and ends when nobody listens any more at the launcher's port for signals,
or at the kernel's own where there is none. What the command prints is the kernel's log. One event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from typing import Any, Final

from enterprise_gateway.agent.child import ChildHolder
from enterprise_gateway.agent.holding import Exit
from enterprise_gateway.agent.launched import AwaitedReport, tell_launcher
from enterprise_gateway.agent.process import KernelProcess
from enterprise_gateway.aio import Tasks
from enterprise_gateway.core.agents import LauncherConfig
from enterprise_gateway.core.records import ConnectionInfo
from enterprise_gateway.wire.launcher import LauncherReport, encode_shutdown, encode_signal

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
PATIENCE: Final = 10
"""Looks in a row without an answer after which a kernel counts as lost; one that refuses is gone at once."""
END_SECONDS: Final = 5.0
"""How long a kernel that was killed may take to be gone."""
_LIVENESS = encode_signal(0)


class CommandedProcess:
    """One life: a launch command and the kernel that comes of it."""

    def __init__(self, command: KernelProcess, report: AwaitedReport) -> None:
        self.pid = command.pid
        self.exited: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._command = command
        self._report = report
        self._tasks = Tasks(f"launch command {command.pid}")
        self._tasks.spawn(self._follow(), "its kernel")

    @property
    def silence(self) -> str:
        """What has not come, in words for the user."""
        ended = self._command.exited.done()
        return f"its launch command has ended, and {self._report.silence}" if ended else self._report.silence

    def signal_group(self, signum: int) -> None:
        """Send a signal to the kernel by way of its launcher, and to the command if it still runs."""
        if self._known is not None and self._known.comm_port is not None:
            self._tasks.spawn(self._tell(encode_signal(signum)), f"signal {signum}")
        if self._known is None or self._known.comm_port is None or signum in (signal.SIGTERM, signal.SIGKILL):
            self._command.signal_group(signum)

    async def close(self) -> None:
        """End the command and, by way of its launcher, the kernel."""
        self._report.port.close()
        await self._tasks.close()
        if self._known is not None and not self.exited.done():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    await self._tell(encode_signal(signal.SIGKILL))
                    await self._tell(encode_shutdown())
                    while await _answers(self._known) is not False:  # noqa: ASYNC110 - nobody tells
                        await asyncio.sleep(LOOK_SECONDS / 10)
        await self._command.close()
        self._end(Exit(None, "it was ended"))

    @property
    def _known(self) -> LauncherReport | None:
        return self._report.come.result() if self._report.come.done() else None

    async def _follow(self) -> None:
        ended, come = self._command.exited, self._report.come
        news: set[asyncio.Future[Any]] = {ended, come}
        await asyncio.wait(news, return_when=asyncio.FIRST_COMPLETED)
        if not come.done() and ended.result().code != 0:
            how = ended.result()
            self._end(how._replace(reason=f"its launch command ended with {how.reason}; {self._report.silence}"))
            return
        report = await asyncio.shield(come)
        missed = 0
        while missed < PATIENCE and (answer := await _answers(report)) is not False:
            missed = 0 if answer else missed + 1
            if ended.done():
                await asyncio.sleep(LOOK_SECONDS)
            else:
                await asyncio.wait({ended}, timeout=LOOK_SECONDS)
        if ended.done() and ended.result().code:
            self._end(ended.result())
        else:
            who = "whoever listened" if missed else "nobody listens"
            end = "does not answer any more" if missed else "any more"
            self._end(Exit(None, f"{who} at {report.connection.ip} (port {_port(report)}) {end}"))

    async def _tell(self, message: bytes) -> None:
        report = self._known
        if report is None or report.comm_port is None:
            return
        try:
            await tell_launcher(report.connection.ip, report.comm_port, message)
        except (OSError, TimeoutError) as error:
            log.warning("The launcher takes no message: %s", error)

    def _end(self, how: Exit) -> None:
        if not self.exited.done():
            self.exited.set_result(how)

    def __repr__(self) -> str:
        return f"<CommandedProcess {self._command!r}>"


class LaunchCommandHolder:
    """Has the agent run a launch command, life after life."""

    _process: CommandedProcess

    def __init__(self, child: ChildHolder, kernel_id: str, config: LauncherConfig) -> None:
        self.ready = child.ready
        self.leave = child.leave
        self._child = child
        self._kernel_id = kernel_id
        self._config = config

    async def start(self) -> CommandedProcess:
        """Begin a life that can report."""
        report = AwaitedReport(self._kernel_id, self._config.private_key)
        await report.port.open(self._config.host, self._config.port)
        try:
            self._process = CommandedProcess(await self._child.start(), report)
        except BaseException:
            report.port.close()
            raise
        self._report = report
        return self._process

    async def connection(self, planned: ConnectionInfo) -> ConnectionInfo:  # noqa: ARG002 - its launcher has plans
        """What the launcher has chosen, where its report came from."""
        return (await asyncio.shield(self._report.come)).connection

    @property
    def silence(self) -> str:
        """That it did not report."""
        return self._process.silence

    @property
    def log_tail(self) -> str:
        """The command's last output."""
        return self._child.log_tail

    @property
    def forsaken(self) -> str:
        """As of other kernels here."""
        return self._child.forsaken

    def __repr__(self) -> str:
        return f"<LaunchCommandHolder of {self._child!r}>"


def _port(report: LauncherReport) -> int:
    return report.comm_port or report.connection.shell_port


async def _answers(report: LauncherReport) -> bool | None:
    """Whether somebody listens where the kernel is; None when nothing can be said."""
    try:
        await tell_launcher(report.connection.ip, _port(report), _LIVENESS if report.comm_port else b"")
    except ConnectionRefusedError:
        return False
    except (OSError, TimeoutError):
        return None
    return True
