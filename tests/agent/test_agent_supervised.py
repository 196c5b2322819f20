"""The agent's side of a supervisor's fifos; the test is the supervisor."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from agent_parts import DEADLINE
from agent_pod_parts import Container
from hypothesis import given
from hypothesis import strategies as st

from enterprise_gateway.agent.supervised import (
    MAX_LINE,
    MESSAGE_BYTES,
    Supervisor,
    describe_end,
    encode_report,
)
from enterprise_gateway.core.records import EndReport


@pytest.fixture
async def container(folder: Path) -> AsyncIterator[Container]:
    made = Container(folder)
    yield made
    made.supervisor.close()
    made.end()


async def test_whoever_comes_first_both_may_use_the_fifos(container):
    folder = container.folder
    for name in ("events", "signals", "orders"):
        assert (folder / name).is_fifo()
        assert (folder / name).stat().st_mode & 0o777 == 0o666


async def test_it_is_ready_when_the_supervisor_speaks(container):
    assert not container.supervisor.ready.is_set()
    container.say("started 7\n")
    await asyncio.wait_for(container.supervisor.ready.wait(), DEADLINE)
    assert (await container.started()).pid == 7


async def test_the_first_life_needs_no_order_and_the_next_one_does(container):
    container.say("started 7\nexit 3 0 max\n")
    first = await container.started()
    assert (await first.exited).code == 3
    assert container.told("orders") == ""
    second = asyncio.create_task(container.supervisor.start())
    await asyncio.sleep(0)
    assert container.told("orders") == "start\n"
    container.say("started 8\n")
    assert (await asyncio.wait_for(second, DEADLINE)).pid == 8


async def test_a_supervisor_that_waits_is_ready_and_needs_an_order_for_the_first_life_too(container):
    container.say("waiting\n")
    await asyncio.wait_for(container.supervisor.ready.wait(), DEADLINE)
    first = asyncio.create_task(container.supervisor.start())
    await asyncio.sleep(0)
    assert container.told("orders") == "start\n"
    container.say("started 7\n")
    assert (await asyncio.wait_for(first, DEADLINE)).pid == 7


async def test_signals_name_the_life_they_are_for_and_stop_when_it_ends(container):
    container.say("started 7\n")
    process = await container.started()
    process.signal_group(signal.SIGINT)
    process.signal_group(signal.SIGUSR1)
    assert container.told("signals") == "INT 7\nUSR1 7\n"
    container.say("exit 0 0 max\n")
    await process.exited
    process.signal_group(signal.SIGINT)
    assert container.told("signals") == ""


async def test_closing_kills_what_lives(container):
    container.say("started 7\n")
    process = await container.started()
    closing = asyncio.create_task(process.close())
    await asyncio.sleep(0)
    assert container.told("signals") == "KILL 7\n"
    container.say("exit 137 0 max\n")
    await asyncio.wait_for(closing, DEADLINE)
    assert process.exited.result().code == -9


async def test_the_end_of_the_container_is_the_end_of_the_kernel_for_good(container):
    container.say("started 7\n")
    process = await container.started()
    container.end()
    end = await asyncio.wait_for(process.exited, DEADLINE)
    assert (end.code, end.reason, end.final) == (None, "its container ended", True)
    assert (await (await container.started()).exited).final


async def test_an_exit_that_was_reported_counts_though_the_container_ended_behind_it(container):
    container.say("started 7\nexit 3 0 max\n")
    container.end()
    assert (await (await container.started()).exited).code == 3


async def test_a_container_that_ends_before_its_first_life_is_noticed(container):
    container.say("starte")
    container.end()
    assert (await (await container.started()).exited).final


@pytest.mark.parametrize(
    "noise",
    ["\n", "started\n", "started x\n", "started -1\n", "exit 1\n", "exit 1 0 max\n", "started 9\n\n\0\0", "x y z\n"],
)
async def test_nonsense_is_ignored(container, noise):
    container.say("started 7\n" if "9" in noise else noise)
    container.say(noise if "9" in noise else "started 7\n")
    assert (await container.started()).pid == 7


async def test_an_endless_line_is_not_kept(container):
    container.say("started 7\n" + "x" * (MAX_LINE + 1))
    end = await asyncio.wait_for((await container.started()).exited, DEADLINE)
    assert (end.reason, end.final) == ("its container talks nonsense", True)


async def test_a_supervisor_that_does_not_read_costs_signals_and_nothing_else(container):
    container.say("started 7\n")
    process = await container.started()
    for _ in range(20_000):
        process.signal_group(signal.SIGINT)
    assert container.told("signals").startswith("INT 7\n")


async def test_at_the_end_the_container_is_stopped_and_the_report_left(container):
    report = EndReport(reason="it was shut down", time=1.5)
    container.supervisor.leave(report)
    assert container.told("orders") == "stop\n"
    assert msgspec.json.decode((container.folder / "termination-log").read_bytes(), type=EndReport) == report


async def test_the_container_of_a_kernel_that_ended_by_itself_is_to_fail(container):
    container.supervisor.leave(EndReport(reason="the kernel died", time=1.5, exit_code=0))
    assert container.told("orders") == "fail\n"


async def test_a_fifo_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "events").symlink_to("/dev/zero")
    with pytest.raises(OSError, match="events"):
        Supervisor(tmp_path, tmp_path / "termination-log")


@pytest.mark.parametrize(
    ("status", "kills", "limit", "code", "reason"),
    [
        (0, "0", "max", 0, "exit code 0"),
        (3, "0", "max", 3, "exit code 3"),
        (127, "0", "max", 127, "exit code 127 (command not found)"),
        (126, "0", "max", 126, "exit code 126 (it cannot be executed)"),
        (139, "0", "max", -11, "signal 11 (SIGSEGV)"),
        (137, "0", "1048576", -9, "signal 9 (SIGKILL)"),
        (137, "1", "536870912", -9, "it used more memory than its limit of 512 MiB (OOMKilled)"),
        (137, "2", "1610612736", -9, "it used more memory than its limit of 1.5 GiB (OOMKilled)"),
        (137, "1", "max", -9, "it used more memory than there was (OOMKilled)"),
        (137, "1", "9223372036854771712", -9, "it used more memory than there was (OOMKilled)"),
        (1, "1", "1048576", 1, "exit code 1"),
        (137, "x", "x", -9, "signal 9 (SIGKILL)"),
    ],
)
def test_an_end_in_numbers_and_words(status, kills, limit, code, reason):
    assert describe_end(status, kills, limit) == (code, reason, False)


@given(st.text(max_size=6000), st.text(max_size=9000))
def test_the_last_words_fit_and_are_the_last(reason, log_tail):
    report = EndReport(reason=reason, time=1e9, exit_code=-9, log_tail=log_tail)
    encoded = encode_report(report, MESSAGE_BYTES)
    assert len(encoded) <= MESSAGE_BYTES
    cut = msgspec.json.decode(encoded, type=EndReport)
    assert report.log_tail.endswith(cut.log_tail)
    assert report.reason.startswith(cut.reason)
    assert cut == report or cut.log_tail != log_tail or cut.reason != reason
    assert cut.reason == reason or not cut.log_tail


def test_a_huge_log_loses_its_beginning():
    encoded = encode_report(EndReport(reason="why", time=1.0, log_tail="ä" * 5000 + "the end"), MESSAGE_BYTES)
    assert len(encoded) <= MESSAGE_BYTES
    report = msgspec.json.decode(encoded, type=EndReport)
    assert report.reason == "why"
    assert report.log_tail.endswith("the end")
