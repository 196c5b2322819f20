"""A kernel held by the `sh` of another container of its pod, which runs `supervisor.sh`; its head explains the fifos.

Neither side waits for the other: each opens the fifos for reading and writing, except that this one only reads
`events`, so the supervisor's end is the end of that stream. What comes from there is the user's container talking,
and is believed only about itself. One event loop.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import logging
import os
import signal
from pathlib import Path

import msgspec

from enterprise_gateway.agent.holding import Exit
from enterprise_gateway.core.exits import describe_exit
from enterprise_gateway.core.records import ConnectionInfo, EndReport

log = logging.getLogger(__name__)

MESSAGE_BYTES = 4096
"""What Kubernetes keeps of a container's last words."""
KILL_SECONDS = 10.0
"""How long a supervisor has to report the exit of a kernel it was told to kill."""
MAX_LINE = 4096
NO_LIMIT = 1 << 60
"""Memory limits of so many bytes are a cgroup's way to say that there is none."""
_SIGNALLED = 128
"""What a shell adds to the signal that ended a command."""
_SHELL_CODES = {126: "it cannot be executed", 127: "command not found"}
_OPEN = os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW


class SupervisedProcess:
    """One life of the kernel in its container."""

    def __init__(self, supervisor: Supervisor, pid: int) -> None:
        self.pid = pid
        self.exited: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._supervisor = supervisor

    def signal_group(self, signum: int) -> None:
        """Have a signal sent to every process of the kernel's group."""
        if not self.exited.done():
            self._supervisor.send_signal(self.pid, signum)

    async def close(self) -> None:
        """Have everything in the kernel's container but the supervisor killed."""
        self.signal_group(signal.SIGKILL)
        await asyncio.wait({self.exited}, timeout=KILL_SECONDS)
        if not self.exited.done():
            self._supervisor.give_up("its container does not obey")

    def end(self, how: Exit) -> None:
        """It has ended."""
        if not self.exited.done():
            self.exited.set_result(how)

    def __repr__(self) -> str:
        return f"<SupervisedProcess {self.pid} {'exited' if self.exited.done() else 'running'}>"


class Supervisor:
    """The agent's side of the fifos in `folder`; the first life has begun already, unless the supervisor waits."""

    silence = ""
    """Where the kernel listens is always known."""
    log_tail = ""
    """A container's output goes to its node's log."""
    forsaken = ""
    """The cluster knows the pod."""

    def __init__(self, folder: Path, message_file: Path) -> None:
        """The end report goes to `message_file`.

        Raises:
            OSError: the folder cannot be used.
        """
        self.ready = asyncio.Event()
        self._message_file = message_file
        self._process: SupervisedProcess | None = None
        self._lives: asyncio.Queue[SupervisedProcess] = asyncio.Queue()
        self._began = False
        """Whether the next life needs an order."""
        self._over = ""
        self._buffer = b""
        self._events, self._signals, self._orders = _open_fifos(folder)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._events, self._read)

    async def start(self) -> SupervisedProcess:
        """The first life, which may have begun without an order, or another."""
        if self._began:
            _write(self._orders, "start")
        self._began = True
        return await self._lives.get()

    async def connection(self, planned: ConnectionInfo) -> ConnectionInfo:
        """As the kernel's connection file has it."""
        return planned

    def leave(self, report: EndReport) -> None:
        """Let the kernel's container end, and make the report this container's last words."""
        # Of a container that fails kubelet keeps the last output.
        _write(self._orders, "stop" if report.exit_code is None else "fail")
        with contextlib.suppress(OSError):
            self._message_file.write_bytes(encode_report(report, MESSAGE_BYTES))

    def send_signal(self, pid: int, signum: int) -> None:
        """Have the group of `pid` sent a signal."""
        _write(self._signals, f"{signal.Signals(signum).name.removeprefix('SIG')} {pid}")

    def give_up(self, reason: str) -> None:
        """There is no supervisor any more, or none that answers."""
        if self._over:
            return
        self._over = reason
        self._loop.remove_reader(self._events)
        if self._process is not None:
            self.send_signal(self._process.pid, signal.SIGKILL)  # somebody may be left who reads it
            self._process.end(Exit(None, reason, final=True))
        stillborn = SupervisedProcess(self, 0)
        stillborn.end(Exit(None, reason, final=True))
        self._lives.put_nowait(stillborn)
        self.ready.set()

    def close(self) -> None:
        """Let go of the fifos; a supervisor that still runs ends its kernel then."""
        self._loop.remove_reader(self._events)
        for descriptor in (self._events, self._signals, self._orders):
            os.close(descriptor)

    def _read(self) -> None:
        try:
            data = os.read(self._events, 65536)
        except BlockingIOError:
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._event(line.decode(errors="replace"))
        if not data or len(self._buffer) > MAX_LINE:
            self.give_up("its container ended" if not data else "its container talks nonsense")

    def _event(self, line: str) -> None:
        alive = self._process is not None and not self._process.exited.done()
        match line.split():
            case ["waiting"] if not self._began:
                self._began = True
                self.ready.set()
            case ["started", pid] if pid.isdecimal() and not alive:
                self._process = SupervisedProcess(self, int(pid))
                self._lives.put_nowait(self._process)
                self.ready.set()
            case ["exit", code, kills, limit] if code.isdecimal() and self._process is not None:
                self._process.end(describe_end(int(code), kills, limit))
            case _:
                log.warning("The supervisor said %.100r", line)

    def __repr__(self) -> str:
        return f"<Supervisor {self._process!r} {self._over}>"


def describe_end(status: int, kills: str, limit: str) -> Exit:
    """What a shell's `$?`, the count of the cgroup's OOM kills and its memory limit say of a life."""
    code = _SIGNALLED - status if status > _SIGNALLED else status
    if code == -signal.SIGKILL and kills.isdecimal() and int(kills):
        return Exit(code, f"it used more memory than {_limit(limit)} (OOMKilled)")
    hint = f" ({_SHELL_CODES[code]})" if code in _SHELL_CODES else ""
    return Exit(code, describe_exit(code) + hint)


def encode_report(report: EndReport, size: int) -> bytes:
    """The report as JSON of at most `size` bytes: first the log loses its beginning, then the reason its end."""

    def cut(count: int) -> bytes:
        kept = max(len(report.reason) + len(report.log_tail) - count, 0)
        shorter = msgspec.structs.replace(report, log_tail=report.log_tail[count:], reason=report.reason[:kept])
        return msgspec.json.encode(shorter)

    longest = len(report.reason) + len(report.log_tail)
    return cut(bisect.bisect_left(range(longest), True, key=lambda count: len(cut(count)) <= size))


def _limit(limit: str) -> str:
    if not limit.isdecimal() or int(limit) >= NO_LIMIT:
        return "there was"
    mebibytes = int(limit) / 2**20
    return f"its limit of {mebibytes / 1024:.3g} GiB" if mebibytes >= 1024 else f"its limit of {mebibytes:.4g} MiB"


def _open_fifos(folder: Path) -> tuple[int, int, int]:
    umask = os.umask(0)  # the other container may run as another user
    try:
        for name in ("events", "signals", "orders"):
            with contextlib.suppress(FileExistsError):
                os.mkfifo(folder / name, 0o666)
    finally:
        os.umask(umask)
    return (
        os.open(folder / "events", os.O_RDONLY | _OPEN),
        os.open(folder / "signals", os.O_RDWR | _OPEN),
        os.open(folder / "orders", os.O_RDWR | _OPEN),
    )


def _write(descriptor: int, line: str) -> None:
    try:
        os.write(descriptor, f"{line}\n".encode())
    except BlockingIOError:
        log.warning("The supervisor does not read; lost: %s", line)
