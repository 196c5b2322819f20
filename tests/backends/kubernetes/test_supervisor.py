"""The script of a kernel's container, alone: the test is the agent at the other end of its fifos."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.ended import have_ended
from support.supervisor import DEADLINE, SHELLS, end_session, supervisor_command
from support.wait import eventually

from enterprise_gateway.core import pods

FIFOS = ("events", "signals", "orders")
LASTING = "import signal; print('ready', flush=True); signal.pause()"
"""A kernel that ends by a signal."""
ISOLATE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"]
"""What makes the next command number 1 of its own processes, as a container does."""


class Container:
    """The script, and what an agent holds of it."""

    def __init__(self, root: Path, shell: tuple[str, ...]) -> None:
        self.root = root
        self.folder = root / pods.SHARED_FOLDER.lstrip("/")
        self.cgroup = root / "sys/fs/cgroup"
        self.command = supervisor_command(root, shell)
        self.process: subprocess.Popen[bytes]
        self._descriptors: dict[str, int] = {}

    def start(self, *argv: str, before: list[str] | None = None, **env: str) -> None:
        env = {"PATH": os.environ["PATH"], **env}
        with (self.root / "output").open("wb") as output:
            self.process = subprocess.Popen(
                [*(before or []), *self.command, *argv],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def start_python(self, program: str, **env: str) -> None:
        self.start(sys.executable, "-c", program, **env)

    def join(self) -> None:
        """Come as the agent does: make what is not there, wait for nobody."""
        for name in FIFOS:
            with contextlib.suppress(FileExistsError):
                os.mkfifo(self.folder / name)
            mode = os.O_RDONLY if name == "events" else os.O_RDWR
            self._descriptors[name] = os.open(self.folder / name, mode | os.O_NONBLOCK)

    def leave(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def event(self) -> list[str]:
        """The next line."""
        events = self._descriptors["events"]
        line = b""
        while not line.endswith(b"\n"):
            assert select.select([events], [], [], DEADLINE)[0], f"no event; the output is {self.output!r}"
            byte = os.read(events, 1)
            assert byte, "the supervisor has gone"
            line += byte
        return line.decode().split()

    def started(self) -> int:
        """The number of the life that begins."""
        word, pid = self.event()
        assert word == "started"
        return int(pid)

    def exited(self) -> int:
        word, code, _, _ = self.event()
        assert word == "exit"
        return int(code)

    def send(self, signal_name: str, pid: int) -> None:
        os.write(self._descriptors["signals"], f"{signal_name} {pid}\n".encode())

    def order(self, word: str) -> None:
        os.write(self._descriptors["orders"], f"{word}\n".encode())

    def ended(self) -> int:
        return self.process.wait(DEADLINE)

    @property
    def output(self) -> str:
        return (self.root / "output").read_text()

    def await_output(self, words: str) -> None:
        """Nothing announces what a process prints."""
        read = subprocess.run(
            ["timeout", str(DEADLINE), "sh", "-c", 'until grep -q "$0" "$1"; do sleep 0.02; done', words, "output"],
            cwd=self.root,
            check=False,
        )
        assert read.returncode == 0, f"{words!r} did not come; {self.output!r}"


@pytest.fixture(params=SHELLS.values(), ids=SHELLS.keys())
def container(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Container]:
    made = Container(tmp_path, request.param)
    try:
        yield made
    finally:
        made.leave()
        if hasattr(made, "process"):
            end_session(made.process)


@pytest.fixture
def lasting(container: Container) -> Container:
    """One with a kernel that ends by a signal, and an agent."""
    container.start_python(LASTING)
    container.await_output("ready")
    container.join()
    return container


@pytest.fixture
def tools(tmp_path: Path) -> Callable[..., str]:
    """Makes a PATH with these tools alone."""

    def make(*names: str) -> str:
        folder = tmp_path / "tools"
        folder.mkdir()
        for name in names:
            (folder / name).symlink_to(shutil.which(name) or name)
        return str(folder)

    return make


# A life.


def test_the_first_life_does_not_wait_for_an_agent_and_is_announced_to_a_late_one(container):
    container.start_python(LASTING)
    container.await_output("ready")
    container.join()
    os.kill(container.started(), signal.SIGKILL)
    assert container.exited() == 128 + signal.SIGKILL


def test_an_agent_that_was_there_first_hears_of_the_start(container):
    container.join()
    container.start_python(LASTING)
    assert container.started() > 0


def test_a_life_ends_with_its_code_which_is_the_containers_too(container):
    container.join()
    container.start("/bin/sh", "-c", "exit 3")
    container.started()
    assert container.exited() == 3
    container.order("stop")
    assert container.ended() == 3


def test_another_life_is_another_process_and_its_code_is_the_last(container):
    container.join()
    container.start("/bin/sh", "-c", 'exit "$(cat "$FILE")"', FILE=str(container.root / "code"))
    (container.root / "code").write_text("4")
    container.started()
    container.exited()
    lives = set()
    for code in (4, 5):
        (container.root / "code").write_text(str(code))
        container.order("start")
        lives.add(container.started())
        assert container.exited() == code
    assert len(lives) == 2
    container.order("stop")
    assert container.ended() == 5


def test_told_to_wait_it_says_so_and_begins_the_first_life_when_it_is_ordered(container):
    container.start("--wait", "/bin/sh", "-c", "exit 3")
    container.join()
    assert container.event() == ["waiting"]
    container.order("start")
    container.started()
    assert container.exited() == 3
    container.order("stop")
    assert container.ended() == 3


@pytest.mark.parametrize("how", ["an order", "the kubelet", "the agent's end"])
def test_while_it_waits_it_can_be_ended(container, how):
    container.start("--wait", "/bin/sh", "-c", "echo it runs")
    container.join()
    container.event()
    match how:
        case "an order":
            container.order("stop")
        case "the kubelet":
            container.process.send_signal(signal.SIGTERM)
        case "the agent's end":
            eventually((container.folder / "met").exists)
            container.leave()
    assert container.ended() == 0
    assert container.output == ""


@pytest.mark.parametrize(("code", "of_container"), [(0, 1), (3, 3)])
def test_the_container_of_a_kernel_that_should_not_have_ended_fails(container, code, of_container):
    container.join()
    container.start("/bin/sh", "-c", f"exit {code}")
    container.started()
    assert container.exited() == code
    container.order("fail")
    assert container.ended() == of_container


@pytest.mark.parametrize(("command", "code"), [("/no/such/command", 127), ("/etc/passwd", 126)])
def test_a_command_that_cannot_be_run_is_named_in_the_log(container, command, code):
    container.join()
    container.start(command)
    container.started()
    assert container.exited() == code
    assert command in container.output


def test_arguments_arrive_as_they_are(container):
    words = ["", "two words", "a'b\"c", "$HOME `id` \\", "-n", "line\nline", "*"]
    container.join()
    container.start(sys.executable, "-c", "import json, sys; print(json.dumps(sys.argv[1:]))", *words)
    container.started()
    container.exited()
    assert json.loads(container.output) == words


def test_a_kernel_starts_from_a_clean_slate(container):
    """Signals, descriptors, stdin, process group and the variables it was given."""
    program = """
import json, os, signal, sys
handlers = [signal.getsignal(each) for each in (signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)]
print(json.dumps({
    "default": handlers == [signal.SIG_DFL] * 3 and signal.getsignal(signal.SIGINT) is signal.default_int_handler,
    "open": [fd for fd in range(3, 64) if os.path.exists(f"/proc/self/fd/{fd}")],
    "stdin": sys.stdin.read(),
    "leader": os.getpgrp() == os.getpid(),
    "pid": os.getpid(),
    "variables": {name: os.environ[name] for name in ("eg", "code", "folder", "pid", "signal")},
}))
"""
    variables = {name: f"mine: {name}" for name in ("eg", "code", "folder", "pid", "signal")}
    container.join()
    container.start_python(program, **variables)
    pid = container.started()
    assert container.exited() == 0
    clean = {"default": True, "open": [], "stdin": "", "leader": True, "pid": pid, "variables": variables}
    assert json.loads(container.output) == clean


# Signals.


@pytest.mark.parametrize("name", ["INT", "TERM", "KILL", "USR1"])
def test_a_signal_reaches_the_kernel_and_what_it_has_started(container, name):
    program = (
        "import signal, subprocess; signal.signal(signal.SIGINT, signal.SIG_DFL);"
        "print(subprocess.Popen(['sleep', '600']).pid, flush=True); signal.pause()"
    )
    container.join()
    container.start_python(program)
    pid = container.started()
    container.await_output("[0-9]")
    container.send(name, pid)
    assert container.exited() == 128 + signal.Signals[f"SIG{name}"]
    assert have_ended(int(container.output.split()[0]))


def test_a_signal_for_an_earlier_life_does_not_reach_the_next(lasting):
    first = lasting.started()
    lasting.send("KILL", first)
    lasting.exited()
    lasting.order("start")
    second = lasting.started()
    lasting.send("KILL", first)
    lasting.send("USR1", second)
    assert lasting.exited() == 128 + signal.SIGUSR1


def test_nonsense_on_the_fifo_harms_nobody(lasting):
    pid = lasting.started()
    for name in ("", "NONE", "INT; exit", "-1", "0"):
        lasting.send(name, pid)
    lasting.send("TERM", pid)
    assert lasting.exited() == 128 + signal.SIGTERM


def test_what_a_kernel_left_behind_ends_with_it(container):
    container.join()
    container.start_python("import subprocess; print(subprocess.Popen(['sleep', '600']).pid, flush=True)")
    container.started()
    assert container.exited() == 0
    assert have_ended(int(container.output))


# The supervisor's own end.


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_the_kubelet_does_not_end_a_kernel_over_its_agents_head(lasting, signum):
    pid = lasting.started()
    lasting.process.send_signal(signum)
    lasting.send("USR1", pid)
    assert lasting.exited() == 128 + signal.SIGUSR1


def test_once_told_to_end_it_waits_for_no_order(lasting):
    pid = lasting.started()
    lasting.process.send_signal(signal.SIGTERM)
    lasting.send("KILL", pid)
    assert lasting.ended() == 128 + signal.SIGKILL


def test_a_container_without_an_agent_and_without_a_kernel_ends_when_it_is_told(container):
    container.start("/bin/sh", "-c", "exit 3")
    container.join()  # only to see where it is
    container.started()
    container.exited()
    container.process.send_signal(signal.SIGTERM)
    assert container.ended() == 3


def test_an_agent_that_is_gone_takes_the_kernel_with_it(lasting):
    pid = lasting.started()
    lasting.leave()
    assert lasting.ended() == 128 + signal.SIGTERM
    assert have_ended(pid)


def test_an_agent_that_goes_without_an_order_ends_the_container(lasting):
    lasting.send("KILL", lasting.started())
    lasting.exited()
    lasting.leave()
    assert lasting.ended() == 128 + signal.SIGKILL


@pytest.mark.parametrize("container", [next(iter(SHELLS.values()))], indirect=True)  # it takes 5 s
def test_a_kernel_that_does_not_listen_goes_too(container):
    container.start_python("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + LASTING)
    container.await_output("ready")
    container.join()
    container.started()
    container.leave()
    assert container.ended() == 128 + signal.SIGKILL


def test_the_end_of_the_supervisor_is_the_end_of_its_events(lasting):
    lasting.started()
    lasting.process.kill()
    with pytest.raises(AssertionError, match="the supervisor has gone"):
        lasting.event()


def test_nothing_is_left_of_it(lasting):
    lasting.send("KILL", lasting.started())
    lasting.exited()
    lasting.order("stop")
    lasting.ended()
    with pytest.raises(ProcessLookupError):
        os.killpg(lasting.process.pid, 0)


# Memory.


@pytest.mark.parametrize(
    ("counter", "limit"),
    [("memory.events", "memory.max"), ("memory/memory.oom_control", "memory/memory.limit_in_bytes")],
    ids=["v2", "v1"],
)
def test_an_end_is_reported_with_the_oom_kills_of_that_life_and_the_limit(container, counter, limit):
    (container.cgroup / "memory").mkdir()
    (container.cgroup / counter).write_text("oom 9\noom_kill 2\noom_group_kill 7\n")
    (container.cgroup / limit).write_text("1048576\n")
    container.join()
    container.start_python(LASTING)
    for kills in ("1", "0"):
        pid = container.started()
        if kills == "1":
            (container.cgroup / counter).write_text("oom 9\noom_kill 3\noom_group_kill 7\n")
        container.send("KILL", pid)
        assert container.event() == ["exit", "137", kills, "1048576"]
        container.order("start")


def test_where_there_is_no_cgroup_nothing_is_said_of_memory(lasting):
    lasting.send("KILL", lasting.started())
    assert lasting.event() == ["exit", "137", "0", "max"]


# Poor images.


def test_an_image_without_mkfifo_waits_for_the_agents_fifos(container, tools):
    container.start("/bin/sh", "-c", "exit 3", PATH=tools("sleep", "setsid", "busybox", "dash", "bash"))
    container.join()
    container.started()
    assert container.exited() == 3


def test_without_setsid_a_signal_reaches_the_kernel_alone(container, tools):
    container.join()
    path = tools("mkfifo", "sleep", "busybox", "dash", "bash")
    container.start(sys.executable, "-c", LASTING, PATH=path)
    container.await_output("ready")
    container.send("INT", container.started())
    assert container.exited() == 128 + signal.SIGINT  # and the supervisor, of the same group, lives to tell


# As number 1 of its container.


@pytest.mark.skipif(subprocess.run([*ISOLATE, "true"], check=False).returncode != 0, reason="no namespaces here")
def test_as_the_first_process_it_ends_whatever_runs_in_the_container(container):
    program = """
import pathlib, subprocess
own = subprocess.Popen(["sleep", "600"], start_new_session=True).pid
others = [path for path in pathlib.Path("/proc").glob("[0-9]*") if path.name != str(own)]
print([path.name for path in others if (path / "cmdline").read_text().startswith("sleep")], flush=True)
"""
    container.join()
    container.start(sys.executable, "-c", program, before=ISOLATE)
    for _ in range(3):
        container.started()
        assert container.exited() == 0
        container.order("start")
    assert container.output.splitlines()[:3] == ["[]"] * 3, "some process has outlived its life"
