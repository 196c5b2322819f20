"""A warm parent that forks agents, so that none pays for an interpreter and its imports.

It reads one JSON line per request on its control socket and answers each with one line. For a start it binds the
agent's listening socket before it answers, so whoever asked may connect at once. Told to keep some warm, it also
forks agents ahead, each with a parked interpreter for a kernel, while nobody asks for anything else.

Single-threaded; it creates neither event loop nor ZMQ context before a fork, and ends when its control socket
does. Agents live on; parked ones end with it.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import NamedTuple, NoReturn

import msgspec

from enterprise_gateway.agent import local
from enterprise_gateway.agent.parked import ParkedProcess
from enterprise_gateway.core.warm import NurseryAnswer, NurseryRequest, Recipe
from enterprise_gateway.files import replace_file

AGENT_LOG = "agent.log"
AGENT_PID = "agent.pid"
BACKLOG = 64
QUIET_SECONDS = 0.5
"""Parked agents are made when nobody has asked for anything for so long: a start must not wait for them."""
MAX_LINE = 1024 * 1024


class _Parked(NamedTuple):
    pid: int
    channel: socket.socket
    """Takes a kernel's folder and its listening socket; closing it ends the agent."""


class Nursery:
    """Forks on request."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._recipe: Recipe | None = None
        self._wanted = 0
        self._parked: list[_Parked] = []

    def serve(self) -> None:
        """Answer requests until the other side closes."""
        while True:
            lacking = self._recipe is not None and len(self._parked) < self._wanted
            readable, _, _ = select.select([self._control], [], [], QUIET_SECONDS if lacking else None)
            if not readable:
                self._park()
                continue
            line = _read_line(self._control)
            if not line:
                return
            try:
                answer = self._answer(msgspec.json.decode(line, type=NurseryRequest))
            except OSError as error:
                answer = NurseryAnswer(error=str(error))
            with contextlib.suppress(BrokenPipeError):  # the gateway was killed: the next line is the end
                self._control.sendall(msgspec.json.encode(answer) + b"\n")

    def _answer(self, request: NurseryRequest) -> NurseryAnswer:
        if request.recipe is not None:
            self._recipe, self._wanted = request.recipe, request.count
            return NurseryAnswer()
        folder = Path(request.folder)
        with _listen(request.socket) as listener:
            pid = (self._assign(folder, listener) if request.parked else 0) or self._fork(folder, listener)
        try:
            replace_file(folder / AGENT_PID, str(pid).encode())
        except OSError:
            # A full disk. An agent that nobody could find again must not live.
            os.kill(pid, signal.SIGKILL)
            raise
        return NurseryAnswer(pid=pid)

    def _assign(self, folder: Path, listener: socket.socket) -> int:
        """Give the kernel to a parked agent; 0 when there is none."""
        while self._parked:
            parked = self._parked.pop(0)
            with parked.channel, contextlib.suppress(OSError):
                socket.send_fds(parked.channel, [os.fsencode(folder)], [listener.fileno()])
                return parked.pid
        return 0

    def _fork(self, folder: Path, listener: socket.socket) -> int:
        pid = os.fork()
        if pid == 0:
            self._become_agent(folder, listener, None)
        return pid

    def _park(self) -> None:
        assert self._recipe is not None  # noqa: S101 - only called with one
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            self._wait_parked(self._recipe, theirs)
        theirs.close()
        self._parked.append(_Parked(pid, ours))

    def _wait_parked(self, recipe: Recipe, channel: socket.socket) -> NoReturn:
        """In the child: park an interpreter and wait for its kernel."""
        try:
            self._leave()
            parked = ParkedProcess(recipe)
            folder, descriptors, _, _ = socket.recv_fds(channel, 4096, 1)
            channel.close()
            if not folder:
                parked.end()
                os._exit(0)
        except BaseException:
            logging.exception("A parked agent failed")  # noqa: LOG015 - it has no log of its own yet
            os._exit(1)
        self._become_agent(Path(os.fsdecode(folder)), socket.socket(fileno=descriptors[0]), parked)

    def _become_agent(self, folder: Path, listener: socket.socket, parked: ParkedProcess | None) -> NoReturn:
        """In the child: be the kernel's agent to its end."""
        status = 1
        try:
            if parked is None:
                self._leave()
            log = os.open(folder / AGENT_LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.close(log)
            logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname).1s %(name)s: %(message)s")
            local.run(folder, listener, parked)
            status = 0
        except BaseException:
            logging.exception("The agent failed")  # noqa: LOG015 - the agent's own log, set up above
        finally:
            os._exit(status)

    def _leave(self) -> None:
        """In the child: let go of what is the parent's."""
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._control.close()
        for parked in self._parked:
            parked.channel.close()


def _listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(path)
        Path(path).chmod(0o600)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _read_line(control: socket.socket) -> bytes:
    """One request; empty when the other side has closed. Its next one comes only after our answer."""
    line = b""
    while not line.endswith(b"\n"):
        data = control.recv(65536)
        if not data or len(line) > MAX_LINE:
            return b""
        line += data
    return line


def run(control: socket.socket) -> None:
    """Be the nursery."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    with control:
        Nursery(control).serve()


if __name__ == "__main__":
    run(socket.socket(fileno=int(sys.argv[1])))
