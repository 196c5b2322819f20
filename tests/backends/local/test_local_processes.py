"""Signals to processes that may be somebody else's by now."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_parts import DEADLINE, new_id
from support.ended import have_ended
from support.wait import eventually

from enterprise_gateway.backends.local.processes import PROC, kill_agent, kill_group

pytestmark = pytest.mark.skipif(not PROC.is_dir(), reason="without /proc nothing can be checked")

STARTS_A_CHILD = "import os, subprocess, sys; subprocess.Popen(['sleep', '600']); print(flush=True); sys.stdin.read()"


class Group:
    """A process and its child, in a group of their own."""

    def __init__(self, output: Path, **env: str) -> None:
        with output.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", STARTS_A_CHILD],
                stdin=subprocess.PIPE,
                stdout=log,
                env={"PATH": os.environ["PATH"], **env},
                start_new_session=True,
            )
        self.pid = self.process.pid
        eventually(lambda: output.stat().st_size)  # it says so when its child is there

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.communicate()

    @property
    def killed(self) -> bool:
        """Whether its leader dies of SIGKILL now."""
        return self.process.wait(DEADLINE) == -signal.SIGKILL

    @property
    def untouched(self) -> bool:
        """Whether its leader lives on until it is told to end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(DEADLINE) == 0


@pytest.fixture
def log(tmp_path) -> Path:
    return tmp_path / "agent.log"


@pytest.fixture
def kernel_id() -> str:
    return new_id()


@pytest.fixture
def group(log, kernel_id) -> Iterator[Group]:
    made = Group(log, KERNEL_ID=kernel_id)
    yield made
    made.end()


def test_an_agent_is_known_by_the_log_it_writes(group, log):
    kill_agent(group.pid, log)
    assert group.killed


def test_a_process_that_only_has_an_agents_old_id_is_left_alone(group, log):
    kill_agent(group.pid, log.with_name("another.log"))
    assert group.untouched


def test_a_group_is_killed_when_one_of_it_is_the_kernels(group, kernel_id):
    kill_group(group.pid, kernel_id)
    assert group.killed


def test_a_group_without_its_leader_is_killed_too(group, kernel_id):
    child = next(int(path.name) for path in PROC.iterdir() if path.name.isdigit() and _is_child(path, group.pid))
    os.kill(group.pid, signal.SIGKILL)
    group.process.wait(DEADLINE)
    assert os.getpgid(child) == group.pid
    kill_group(group.pid, kernel_id)
    assert have_ended(child)


def test_a_group_that_only_has_the_kernels_old_id_is_left_alone(group):
    kill_group(group.pid, new_id())
    assert group.untouched


@pytest.mark.parametrize("pid", [0, 2**22 + 1])
def test_nobody_is_killed_for_an_id_that_nobody_has(pid, log, kernel_id):
    kill_agent(pid, log)
    kill_group(pid, kernel_id)


def _is_child(path: Path, parent: int) -> bool:
    try:
        return int((path / "stat").read_text().rpartition(")")[2].split()[1]) == parent
    except OSError:
        return False
