"""A kernel held as the agent's own child, with its folder as the place for what others should find. One event loop."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import msgspec

from enterprise_gateway.agent.parked import ParkedProcess
from enterprise_gateway.agent.process import KernelProcess, OutputLog
from enterprise_gateway.core.agents import KernelProcessConfig
from enterprise_gateway.core.records import ConnectionInfo, EndReport
from enterprise_gateway.files import replace_file

KERNEL_LOG = "kernel.log"
PID_FILE = "kernel.pid"
END_FILE = "end.json"


class ChildHolder:
    """Starts the kernel's command here; the first life may begin in a parked process."""

    silence = ""
    """Where it listens is always known."""

    def __init__(
        self, config: KernelProcessConfig, folder: Path, parked: ParkedProcess | None = None, *, own: bool = True
    ) -> None:
        """`own` is whether the command is the kernel's, which then ends with this process."""
        self._own = own
        self.ready = asyncio.Event()
        self.ready.set()
        self._config = config
        self._folder = folder
        self._parked = parked
        self._output = OutputLog(folder / KERNEL_LOG)

    async def start(self) -> KernelProcess:
        """Begin a life; leaves its group's id where it is found should this agent be killed."""
        parked, self._parked = self._parked, None
        if parked is not None and parked.alive:
            process = await parked.become(self._config, self._output)
        else:
            process = await KernelProcess.spawn(self._config, self._output, own=self._own)
        with contextlib.suppress(OSError):
            replace_file(self._folder / PID_FILE, str(process.pid).encode())
        return process

    async def connection(self, planned: ConnectionInfo) -> ConnectionInfo:
        """As the kernel's connection file has it."""
        return planned

    @property
    def log_tail(self) -> str:
        """The last output."""
        return self._output.tail

    @property
    def forsaken(self) -> str:
        """Whether the folder is there."""
        return "" if self._folder.is_dir() else "its folder is gone, so no gateway could find it again"

    def leave(self, report: EndReport) -> None:
        """Write the report into the folder; a full disk costs no more than that."""
        with contextlib.suppress(OSError):
            replace_file(self._folder / END_FILE, msgspec.json.encode(report))
