"""Real processes: how their ends are seen, and that nothing of them is left."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import psutil
import pytest
from agent_parts import DEADLINE, process_config
from support.ended import have_ended

from enterprise_gateway.agent.process import LOG_BYTES, TAIL_BYTES, KernelProcess, OutputLog
from enterprise_gateway.core.exits import describe_exit


@pytest.fixture
def output(tmp_path) -> OutputLog:
    return OutputLog(tmp_path / "kernel.log")


async def spawn(output: OutputLog, *argv: str, **env: str) -> KernelProcess:
    return await KernelProcess.spawn(process_config(*argv, **env), output)


@pytest.fixture
async def spawn_lasting(output: OutputLog) -> AsyncIterator[Callable[..., Awaitable[KernelProcess]]]:
    """Spawns processes that do not end by themselves; they end with the test."""
    spawned = []

    async def spawn_one(*argv: str) -> KernelProcess:
        spawned.append(await spawn(output, *argv))
        return spawned[-1]

    yield spawn_one
    for process in spawned:
        await process.close()


async def run(output: OutputLog, *argv: str, **env: str) -> int:
    """Run a command to its end; its exit code."""
    process = await spawn(output, *argv, **env)
    code, _, _ = await asyncio.wait_for(process.exited, DEADLINE)
    assert code is not None
    await process.close()
    return code


async def said(output: OutputLog, words: str) -> None:
    """Wait for `words`; nothing announces what a process prints."""
    async with asyncio.timeout(DEADLINE):
        while words not in output.tail:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", -9), ("kill -15 $$", -15)])
async def test_the_end_of_a_process_is_its_exit_code_or_its_signal(output, script, code):
    assert await run(output, "/bin/sh", "-c", script) == code


async def test_no_end_is_missed_however_early_it_comes(output):
    codes = await asyncio.gather(*(run(output, "/bin/sh", "-c", f"exit {number}") for number in range(40)))
    assert codes == list(range(40))


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "exit code 0"), (1, "exit code 1"), (-9, "signal 9 (SIGKILL)"), (-200, "signal 200 (unknown)")],
)
def test_an_end_in_words(code, words):
    assert describe_exit(code) == words


@pytest.mark.parametrize(
    ("command", "why"), [("/no/such/command", "No such file"), ("/etc/passwd", "Permission denied")]
)
async def test_a_command_that_cannot_be_run_says_why(output, command, why):
    with pytest.raises(OSError, match=why):
        await spawn(output, command)


async def test_a_command_with_a_nul_is_refused(output):
    with pytest.raises(ValueError, match="null byte"):
        await spawn(output, "/bin/echo", "\0")


async def test_a_missing_working_directory_is_an_error(output):
    config = process_config("/bin/true")
    with pytest.raises(OSError, match="No such file"):
        await KernelProcess.spawn(type(config)(argv=config.argv, env={}, cwd="/no/such"), output)


async def test_it_gets_its_environment_and_no_other(output):
    os.environ["SECRET_OF_THE_AGENT"] = "x"
    try:
        await run(output, "/usr/bin/env", NAME="value")
    finally:
        del os.environ["SECRET_OF_THE_AGENT"]
    names = {line.partition("=")[0] for line in output.tail.splitlines()}
    assert names - {"LC_CTYPE"} == {"PATH", "NAME", "JPY_PARENT_PID"}
    assert f"JPY_PARENT_PID={os.getpid()}" in output.tail


async def test_it_reads_nothing_from_stdin_and_both_its_outputs_are_kept(output):
    await run(output, "/bin/sh", "-c", "cat; echo out; echo err >&2")
    assert set(output.tail.split()) == {"out", "err"}
    assert output.path.read_text() == output.tail


async def test_the_last_words_of_a_dead_process_are_read(output):
    await run(output, sys.executable, "-c", "import os; os.write(2, b'x' * 60_000 + b'last words'); os._exit(1)")
    assert output.tail.endswith("last words")


async def test_what_a_kernel_started_ends_with_it(output, spawn_lasting):
    process = await spawn_lasting("/bin/sh", "-c", "sleep 600 & sleep 600 & echo started; wait")
    await said(output, "started")
    children = psutil.Process(process.pid).children()
    assert len(children) == 2
    await asyncio.wait_for(process.close(), DEADLINE)
    assert process.exited.result().code == -signal.SIGKILL
    assert await asyncio.to_thread(have_ended, *(child.pid for child in children))


async def test_a_signal_reaches_the_whole_group(output, spawn_lasting):
    process = await spawn_lasting("/bin/sh", "-c", "trap 'echo caught; exit 7' INT; (echo ready; exec sleep 600)")
    await said(output, "ready")
    process.signal_group(signal.SIGINT)
    await asyncio.wait({process.exited}, timeout=DEADLINE)
    assert process.exited.result().code == 7  # only because sleep has ended, too
    await process.close()
    assert "caught" in output.tail
    process.signal_group(signal.SIGINT)  # nobody is there any more


async def test_a_process_that_left_the_group_and_holds_the_output_open_does_not_hold_up_the_end(output, spawn_lasting):
    leaver = "import os, time; os.setsid(); print(os.getpid(), flush=True); time.sleep(600)"
    script = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {leaver!r}]); time.sleep(600)"
    process = await spawn_lasting(sys.executable, "-c", script)
    await said(output, "\n")
    try:
        await asyncio.wait_for(process.close(), DEADLINE)
    finally:
        os.kill(int(output.tail), signal.SIGKILL)


def test_the_log_is_bounded_and_goes_on_where_an_earlier_life_stopped(output):
    line = b"x" * 99 + b"\n"
    for _ in range(3 * LOG_BYTES // len(line)):
        output.write(line)
    files = list(output.path.parent.iterdir())
    assert sorted(path.name for path in files) == ["kernel.log", "kernel.log.1"]
    assert all(path.stat().st_size <= LOG_BYTES for path in files)
    before = output.path.stat().st_size
    OutputLog(output.path).write(line)
    assert output.path.stat().st_size == before + len(line)


def test_the_tail_is_short_and_begins_with_a_whole_line(output):
    output.write(b"short\n")
    assert output.tail == "short\n"
    for number in range(5000):
        output.write(b"line %d\n" % number)
    assert len(output.tail) <= TAIL_BYTES
    assert output.tail.startswith("line ")
    assert output.tail.endswith("line 4999\n")


def test_the_tail_of_a_single_endless_line_is_its_end(output):
    """A progress bar, for example, or a line of JSON."""
    output.write(b"x" * 2 * TAIL_BYTES + b" 99%")
    assert output.tail.endswith(" 99%")
    assert len(output.tail) <= TAIL_BYTES


def test_a_log_that_cannot_be_written_costs_the_kernel_nothing(tmp_path):
    output = OutputLog(tmp_path / "none" / "kernel.log")
    output.write(b"words\n")
    assert output.tail == "words\n"
