"""A warm parent that forks agents, so that none pays for an interpreter and its imports.

It reads one JSON line per agent on its control socket, binds the agent's listening socket, forks, and answers
with one line. The listening socket exists before the answer, so whoever asked may connect at once. It is
single-threaded, creates neither event loop nor ZMQ context before a fork, and ends when its control socket does;
the agents do not.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from enterprise_gateway.agent import main
from enterprise_gateway.files import replace_file

AGENT_LOG = "agent.log"
AGENT_PID = "agent.pid"
BACKLOG = 64


def serve(control: socket.socket) -> None:
    """Fork an agent for each line until the other side closes."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    with control, control.makefile("rb") as lines:
        for line in lines:
            try:
                answer: dict[str, Any] = {"pid": _start(json.loads(line), control)}
            except OSError as error:
                answer = {"error": str(error)}
            control.sendall(json.dumps(answer).encode() + b"\n")


def _start(request: dict[str, str], control: socket.socket) -> int:
    listener = socket.socket(socket.AF_UNIX)
    with listener:
        listener.bind(request["socket"])
        Path(request["socket"]).chmod(0o600)
        listener.listen(BACKLOG)
        pid = os.fork()
        if pid == 0:
            _be_agent(Path(request["folder"]), listener, control)
        try:
            replace_file(Path(request["folder"]) / AGENT_PID, str(pid).encode())
        except OSError:
            # A full disk. An agent that nobody could find again must not live.
            os.kill(pid, signal.SIGKILL)
            raise
        return pid


def _be_agent(folder: Path, listener: socket.socket, control: socket.socket) -> None:
    """In the child: never returns."""
    status = 1
    try:
        os.setsid()
        os.close(control.fileno())
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(folder / AGENT_LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname).1s %(name)s: %(message)s")
        main.run(folder, listener)
        status = 0
    except BaseException:
        logging.exception("The agent failed")  # noqa: LOG015 - the agent's own log, set up above
    finally:
        os._exit(status)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
