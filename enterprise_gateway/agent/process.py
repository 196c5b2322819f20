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
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from enterprise_gateway.agent.holding import Exit
from enterprise_gateway.core.agents import KernelProcessConfig
from enterprise_gateway.core.exits import describe_exit

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
        """The last output, from the beginning of a line if it has more than one."""
        text = self._tail.decode(errors="replace")
        return text if len(self._tail) < TAIL_BYTES else text.partition("\n")[2] or text

    def write(self, data: bytes) -> None:
        """Append."""
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        with contextlib.suppress(OSError):
            if self._size + len(data) > LOG_BYTES:
                self.path.replace(self.path.with_suffix(".log.1"))
                self._size = 0
            with open(self.path, "ab", opener=_private) as file:
                file.write(data)
            self._size += len(data)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class KernelProcess:
    """One life of the kernel; made by `spawn` or, of a process that waits for its command, by `ParkedProcess`."""

    def __init__(self, popen: subprocess.Popen[bytes], output: OutputLog) -> None:
        """`popen` has one pipe for both its outputs and is the leader of a group of its own."""
        self.pid = popen.pid
        self._loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[Exit] = self._loop.create_future()
        self._popen = popen
        self._output = _Output(output)
        self._pipe: asyncio.ReadTransport | None = None
        self._waiter = threading.Thread(target=self._wait, name=f"exit of {self.pid}", daemon=True)
        self._waiter.start()

    @classmethod
    async def spawn(cls, config: KernelProcessConfig, output: OutputLog, *, own: bool = True) -> KernelProcess:
        """Start the kernel's own command, or one whose kernel need not be its child.

        Raises:
            OSError: the command cannot be run; the message says why.
            ValueError: likewise, of a command or environment with a NUL in it.
        """
        env = config.env | parent_marker() if own else config.env
        process = cls(start_child(config.argv, env, config.cwd, subprocess.DEVNULL), output)
        await process.read_output()
        return process

    async def read_output(self) -> None:
        """Begin to read what it prints."""
        assert self._popen.stdout is not None  # noqa: S101 - it was asked for
        with self._popen.stdout as pipe:
            # uvloop closes the descriptor and then the file, whose number may be one of libzmq's sockets by then.
            unowned = os.fdopen(os.dup(pipe.fileno()), "rb", 0, closefd=False)
        self._pipe, _ = await self._loop.connect_read_pipe(lambda: self._output, unowned)

    def signal_group(self, signum: int) -> None:
        """Send a signal to every process of the kernel's group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signum)

    async def close(self) -> None:
        """End what is left of the group, read what it still had to say, let go of its pipe."""
        self.signal_group(signal.SIGKILL)
        await self.exited
        self._waiter.join()  # it only has to return; uvloop aborts when it is called while it closes
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_OUTPUT_SECONDS):
                await self._output.ended.wait()
        if self._pipe is not None:
            self._pipe.close()

    def _wait(self) -> None:
        code = self._popen.wait()
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody asks any more
            self._loop.call_soon_threadsafe(self.exited.set_result, Exit(code, describe_exit(code)))

    def __repr__(self) -> str:
        return f"<KernelProcess {self.pid} {'exited' if self.exited.done() else 'running'}>"


class _Output(asyncio.Protocol):
    def __init__(self, log: OutputLog) -> None:
        self.ended = asyncio.Event()
        self._log = log

    def data_received(self, data: bytes) -> None:
        self._log.write(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's interface
        self.ended.set()


def start_child(argv: Sequence[str], env: Mapping[str, str], cwd: str | None, stdin: int) -> subprocess.Popen[bytes]:
    """A child in a session of its own, that dies with this process and has one pipe for both its outputs."""
    return subprocess.Popen(  # noqa: S603 - running a kernel's command is what an agent is for
        argv,
        env=env,
        cwd=cwd,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_die_with_parent if _LIBC is not None else None,  # noqa: PLW1509 - calls prctl, nothing else
    )


def parent_marker() -> dict[str, str]:
    """The variable by which ipykernel knows its parent, to end when that is gone."""
    return {"JPY_PARENT_PID": str(os.getpid())}


def _die_with_parent() -> None:
    assert _LIBC is not None  # noqa: S101 - only ever passed where it is loaded
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
