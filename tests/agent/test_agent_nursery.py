"""The warm parent by its own protocol: a socket, a line for each request, and what goes when it goes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
from agent_parts import DEADLINE, agent_config
from support.ended import have_ended
from support.wait import eventually

from enterprise_gateway.core.warm import NurseryAnswer, NurseryRequest, Recipe

ENVIRONMENT = {"PATH": os.environ["PATH"]}


class Parent:
    """A nursery and our end of its control socket."""

    def __init__(self) -> None:
        self.control, theirs = socket.socketpair()
        self.control.settimeout(DEADLINE)
        with theirs:
            command = [sys.executable, "-P", "-m", "enterprise_gateway.agent.nursery", str(theirs.fileno())]
            self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=ENVIRONMENT)

    def ask(self, request: NurseryRequest) -> NurseryAnswer:
        self.control.sendall(msgspec.json.encode(request) + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            answer += self.control.recv(65536)
        return msgspec.json.decode(answer, type=NurseryAnswer)

    @property
    def descendants(self) -> list[int]:
        return [child.pid for child in psutil.Process(self.process.pid).children(recursive=True)]

    def end(self) -> int:
        self.control.close()
        return self.process.wait(DEADLINE)


@pytest.fixture
def parent() -> Iterator[Parent]:
    made = Parent()
    yield made
    made.end()


def start_request(folder: Path, *, parked: bool = False) -> NurseryRequest:
    """For a kernel that ends at once."""
    (folder / "agent.json").write_bytes(msgspec.json.encode(agent_config(folder, ["--dies", "3"], linger=0.0)))
    return NurseryRequest(str(folder), str(folder / "agent.sock"), parked=parked)


def recipe() -> Recipe:
    made = Recipe.of([sys.executable, "-m", "platform"], ENVIRONMENT)
    assert made is not None
    return made


def test_it_ends_when_its_control_socket_does(parent):
    assert parent.end() == 0


def test_an_agent_does_not_end_with_it(parent, folder):
    answer = parent.ask(start_request(folder))
    assert answer.pid in parent.descendants
    parent.end()
    assert have_ended(answer.pid)
    assert b"exit code 3" in (folder / "end.json").read_bytes()


def test_an_error_is_an_answer_and_the_next_request_is_answered_too(parent, folder):
    request = start_request(folder)
    Path(request.socket).write_text("in the way")
    assert "in use" in parent.ask(request).error
    Path(request.socket).unlink()
    assert have_ended(parent.ask(request).pid)


def test_parked_agents_and_their_interpreters_end_with_it(parent):
    assert parent.ask(NurseryRequest(recipe=recipe(), count=2)) == NurseryAnswer()
    parked = eventually(lambda: found if len(found := parent.descendants) == 4 else [])
    parent.end()
    assert have_ended(*parked)


def test_a_start_that_may_not_be_parked_gets_an_agent_of_its_own(parent, folder):
    parent.ask(NurseryRequest(recipe=recipe(), count=1))
    parked = eventually(lambda: found if len(found := parent.descendants) == 2 else [])
    answer = parent.ask(start_request(folder))
    assert answer.pid not in parked
    assert have_ended(answer.pid)
    assert b"exit code 3" in (folder / "end.json").read_bytes()
