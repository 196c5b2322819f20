"""The kernel's process as a child of its agent: a process group of its own, and a bounded log of what it prints.

One event loop. The child never outlives its parent (Linux: parent-death signal), and ending it always ends its
whole group.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import sys
from pathlib import Path

from enterprise_gateway.core.agents import KernelProcessConfig

log = logging.getLogger(__name__)

TAIL_BYTES = 8 * 1024
"""How much of the last output is kept for the reason of a death."""
LOG_BYTES = 1024 * 1024
"""Size at which the log file is begun anew; one older file is kept."""
LAST_OUTPUT_SECONDS = 0.2
"""How long a dead kernel's pipes are read; a process that left its group may hold them open for ever."""
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class OutputLog:
    """What a kernel writes to its stdout and stderr: in a file of bounded size, and its tail in memory.

    A full disk costs the file's content, never the kernel.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tail = b""
        self._size = path.stat().st_size if path.exists() else 0

    @property
    def tail(self) -> str:
        """The last output, from the beginning of a line."""
        text = self._tail.decode(errors="replace")
        return text if len(self._tail) < TAIL_BYTES else text.partition("\n")[2]

    def write(self, data: bytes) -> None:
        """Append."""
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        with contextlib.suppress(OSError):
            if self._size + len(data) > LOG_BYTES:
                self.path.replace(self.path.with_suffix(".log.1"))
                self._size = 0
            with self.path.open("ab") as file:
                file.write(data)
            self._size += len(data)


class KernelProcess(asyncio.SubprocessProtocol):
    """One life of the kernel; made by `spawn`."""

    def __init__(self, output: OutputLog) -> None:
        self.pid = 0
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """The exit code; negative is the signal that ended it."""
        self._output = output
        self._drained = asyncio.Event()
        self._transport: asyncio.SubprocessTransport | None = None

    @classmethod
    async def spawn(cls, config: KernelProcessConfig, output: OutputLog) -> KernelProcess:
        """Start the process.

        Raises:
            OSError: the command cannot be run; the message says why.
        """
        loop = asyncio.get_running_loop()
        transport, process = await loop.subprocess_exec(
            lambda: cls(output),
            *config.argv,
            env=config.env | {"JPY_PARENT_PID": str(os.getpid())},
            cwd=config.cwd,
            start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL,
            preexec_fn=_die_with_parent if _LIBC is not None else None,
        )
        process._transport = transport  # noqa: SLF001 - our own attribute, set by our own constructor
        process.pid = transport.get_pid()
        return process

    def pipe_data_received(self, fd: int, data: bytes) -> None:  # noqa: ARG002 - asyncio's interface
        self._output.write(data)

    def process_exited(self) -> None:
        if self._transport is not None and not self.exited.done():
            code = self._transport.get_returncode()
            self.exited.set_result(code if code is not None else -1)

    def signal_group(self, signum: int) -> None:
        """Send a signal to every process of the kernel's group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signum)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's interface
        self._drained.set()

    async def close(self) -> None:
        """End what is left of the group, read what it still had to say, let go of its pipes."""
        self.signal_group(signal.SIGKILL)
        await self.exited
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_OUTPUT_SECONDS):
                await self._drained.wait()
        if self._transport is not None:
            self._transport.close()

    def __repr__(self) -> str:
        return f"<KernelProcess {self.pid} {'exited' if self.exited.done() else 'running'}>"


def describe_exit(code: int) -> str:
    """An exit code in words: `exit code 1`, `signal 9 (SIGKILL)`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    return f"signal {-code} ({name})"


def _die_with_parent() -> None:
    assert _LIBC is not None  # noqa: S101 - only ever passed where it is loaded
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
