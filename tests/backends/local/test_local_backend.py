"""Gateways on one state folder: what one does, the others see, and nobody's end takes a kernel with it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time

import msgspec
import psutil
import pytest
from local_parts import DEADLINE, Gateways, admit_all, new_config, new_id, new_launch, new_record, until
from support.ended import have_ended

from enterprise_gateway.backends.local.backend import START_GRACE
from enterprise_gateway.backends.local.folder import AGENT_PID, KERNEL_PID, RECORD, StateFolder
from enterprise_gateway.config.ports import PortRange
from enterprise_gateway.core.lifecycle import KernelState
from enterprise_gateway.core.records import EndReport, Phase, SessionRecord
from enterprise_gateway.errors import BackendUnavailable, KernelNotFound, StartFailed


def has_ended(observed) -> bool:
    return observed is not None and observed.phase is Phase.ENDED


def is_running(observed) -> bool:
    return observed is not None and observed.phase is Phase.RUNNING


def is_gone(observed) -> bool:
    return observed is None


def with_session(name: str):
    """A change of a record that adds a session."""
    session = SessionRecord(name, f"{name}.ipynb", name, "notebook")
    return lambda record: msgspec.structs.replace(record, sessions=(*record.sessions, session))


def sessions(observed) -> list[str]:
    return [session.id for session in observed.record.sessions]


# Starts.


async def test_a_new_kernel_is_running_and_reachable_when_its_creation_returns(gateways):
    backend = await gateways.start()
    kernel_id = await gateways.start_kernel(backend)
    assert is_running(backend.kernels[kernel_id])
    assert (await gateways.status(backend, kernel_id, wait=DEADLINE)).state is KernelState.RUNNING


async def test_nothing_is_known_before_the_folder_was_read(gateways):
    backend = gateways.new()
    assert not backend.synced
    assert (await gateways.start()).synced


async def test_one_id_is_started_once_however_many_ask(gateways):
    backend = await gateways.start()
    record = new_record()
    created = await asyncio.gather(*(backend.create(record, new_launch(record), admit_all) for _ in range(5)))
    assert sorted(created) == [False] * 4 + [True]
    assert not await backend.create(record, new_launch(record), admit_all)


async def test_of_two_gateways_that_claim_an_id_one_starts_it_and_both_know_it(gateways):
    first, second = await gateways.start(), await gateways.start()
    record = new_record()
    created = await asyncio.gather(*(each.create(record, new_launch(record), admit_all) for each in (first, second)))
    assert sorted(created) == [False, True]
    for each in (first, second):
        observed = await until(each, record.kernel_id, is_running)
        assert observed.record == record
    assert (await gateways.status(second, record.kernel_id)).pid == (await gateways.status(first, record.kernel_id)).pid


async def test_two_kernels_never_share_a_port(gateways, folder):
    backend = await gateways.start()
    kernels = await asyncio.gather(*(gateways.start_kernel(backend, "--mute") for _ in range(5)))
    ports = [port for kernel_id in kernels for port in folder.ports(kernel_id)]
    assert len(set(ports)) == 25


async def test_a_start_without_ports_fails_and_leaves_nothing(gateways, folder):
    backend = await gateways.start(port_range=PortRange(20_000, 20_003))
    with pytest.raises(StartFailed, match=r"20000\.\.20003"):
        await gateways.start_kernel(backend)
    assert (folder.kernel_ids(), dict(backend.kernels)) == ([], {})


async def test_a_folder_that_cannot_be_written_is_said_to_be_and_the_next_start_works(gateways, folder):
    backend = gateways.new()
    record = new_record()
    folder.kernels.rmdir()
    with pytest.raises(BackendUnavailable, match="No such file"):
        await backend.create(record, new_launch(record), admit_all)
    folder.kernels.mkdir()
    backend = await gateways.start()
    assert await backend.create(record, new_launch(record), admit_all)


async def test_an_agent_that_cannot_be_started_leaves_the_id_free(root):
    deep = StateFolder(root / ("d" * 120))  # its sockets lie elsewhere, so that something can be in the way
    deep.prepare()
    gateways = Gateways(deep)
    record = new_record()
    try:
        backend = await gateways.start()
        deep.socket(record.kernel_id).write_text("in the way")
        with pytest.raises(BackendUnavailable, match="No agent could be started"):
            await backend.create(record, new_launch(record), admit_all)
        assert (deep.kernel_ids(), dict(backend.kernels)) == ([], {})
        assert await backend.create(record, new_launch(record), admit_all)
        assert (await gateways.status(backend, record.kernel_id, wait=DEADLINE)).state is KernelState.RUNNING
    finally:
        await gateways.close()
        shutil.rmtree(deep.socket(record.kernel_id).parent)


# What others see.


async def test_a_gateway_that_comes_later_finds_every_kernel(gateways):
    first = await gateways.start()
    kernels = {await gateways.start_kernel(first, "--mute") for _ in range(3)}
    second = await gateways.start()
    assert set(second.kernels) == kernels
    assert all(is_running(observed) for observed in second.kernels.values())


async def test_the_end_of_a_gateway_is_not_the_end_of_a_kernel(gateways):
    first, second = await gateways.start(), await gateways.start()
    kernel_id = await gateways.start_kernel(first)
    before = await gateways.status(first, kernel_id, wait=DEADLINE)
    await gateways.stop(first)
    await until(second, kernel_id, is_running)
    after = await gateways.status(second, kernel_id)
    assert (after.state, after.pid) == (KernelState.RUNNING, before.pid)


async def test_a_changed_record_is_seen_by_all(gateways):
    first, second = await gateways.start(), await gateways.start()
    kernel_id = await gateways.start_kernel(first, "--mute")
    await until(second, kernel_id, is_running)
    changed = await first.update(kernel_id, with_session("a"))
    assert sessions(first.kernels[kernel_id]) == ["a"]
    observed = await until(second, kernel_id, lambda each: each.record == changed)
    assert is_running(observed)


async def test_changes_of_several_gateways_are_all_kept(gateways):
    first, second = await gateways.start(), await gateways.start()
    kernel_id = await gateways.start_kernel(first, "--mute")
    await until(second, kernel_id, is_running)
    for number in range(6):
        await (first, second)[number % 2].update(kernel_id, with_session(str(number)))
    for each in (first, second):
        observed = await until(each, kernel_id, lambda found: len(sessions(found)) == 6)
        assert sessions(observed) == list("012345")


async def test_a_record_that_another_gateway_changed_during_a_start_is_seen_by_the_one_that_started_it(
    gateways, folder
):
    backend = await gateways.start()
    record = new_record()
    creating = asyncio.create_task(backend.create(record, new_launch(record, "--mute"), admit_all))
    async with asyncio.timeout(DEADLINE):
        while not folder.record(record.kernel_id):  # noqa: ASYNC110 - nothing announces the claim
            await asyncio.sleep(0)
    changed = folder.change_record(record.kernel_id, with_session("a"))
    assert await creating
    await until(backend, record.kernel_id, lambda each: each.record == changed)


async def test_a_kernel_nobody_knows_cannot_be_changed(gateways):
    backend = await gateways.start()
    with pytest.raises(KernelNotFound):
        await backend.update(new_id(), with_session("a"))
    with pytest.raises(KernelNotFound):
        await backend.logs(new_id())


# Ends.


async def test_a_kernel_that_died_is_ended_for_all_with_its_own_words(gateways):
    first, second = await gateways.start(), await gateways.start()
    kernel_id = await gateways.start_kernel(first, "--dies", "3")
    for each in (first, second):
        observed = await until(each, kernel_id, has_ended)
        assert observed.reason == "the kernel did not start: exit code 3"
        assert "no such module: pandas" in observed.log_tail
        assert time.time() - observed.ended < DEADLINE
    assert "no such module: pandas" in await second.logs(kernel_id)


async def test_a_killed_agent_takes_its_kernel_along_and_that_is_put_on_record(gateways, folder):
    first, second = await gateways.start(), await gateways.start()
    kernel_id = await gateways.start_kernel(first)
    kernel = psutil.Process((await gateways.status(first, kernel_id, wait=DEADLINE)).pid)
    os.kill(folder.pid(kernel_id, AGENT_PID), signal.SIGKILL)
    for each in (first, second):
        assert (await until(each, kernel_id, has_ended)).reason == "its agent was killed"
    assert await asyncio.to_thread(have_ended, kernel.pid)
    report = folder.end(kernel_id)
    assert report is not None
    assert report.reason == "its agent was killed"


async def test_an_end_that_no_gateway_saw_is_known_to_the_next(gateways, folder):
    first = await gateways.start()
    kernel_id = await gateways.start_kernel(first)
    await gateways.status(first, kernel_id, wait=DEADLINE)
    agent = psutil.Process(folder.pid(kernel_id, AGENT_PID))
    await gateways.stop(first)
    agent.terminate()
    assert await asyncio.to_thread(have_ended, agent.pid)
    observed = (await gateways.start()).kernels[kernel_id]
    assert has_ended(observed)
    assert "SIGTERM" in observed.reason


async def test_a_claim_whose_gateway_was_killed_ends_after_a_grace(gateways, folder):
    late, early = new_record(created=time.time() - START_GRACE - 1), new_record()
    for record in (late, early):
        assert folder.claim(record, new_config(record))
    backend = await gateways.start()
    assert backend.kernels[late.kernel_id].phase is Phase.ENDED
    assert backend.kernels[late.kernel_id].reason == "the gateway that started it was killed"
    assert backend.kernels[early.kernel_id].phase is Phase.STARTING
    assert backend.kernels[early.kernel_id].endpoint is None


async def test_a_reason_stays_readable_for_its_time_and_no_longer(gateways, folder):
    old, young = new_record(created=0.0), new_record(created=0.0)
    for record, age in ((old, 70), (young, 10)):
        assert folder.claim(record, new_config(record))
        folder.write_end(record.kernel_id, EndReport(reason="it died", time=time.time() - age))
    backend = await gateways.start(retention=60.0)
    assert backend.kernels[young.kernel_id].reason == "it died"
    await until(backend, old.kernel_id, is_gone)
    assert folder.kernel_ids() == [young.kernel_id]


async def test_starts_that_were_cut_off_are_swept(gateways, folder):
    old, young = (folder.kernels / f".new-{new_id()}-1" for _ in range(2))
    for path in (old, young):
        path.mkdir()
        (path / RECORD).write_text("{}")
    os.utime(old, (0, 0))
    await gateways.start()
    assert sorted(path.name for path in folder.kernels.iterdir()) == [young.name]


# Removal.


async def test_nothing_is_left_of_a_removed_kernel(gateways, folder):
    first, second = await gateways.start(), await gateways.start()
    kernel_id = await gateways.start_kernel(first)
    kernel = psutil.Process((await gateways.status(first, kernel_id, wait=DEADLINE)).pid)
    agent = psutil.Process(folder.pid(kernel_id, AGENT_PID))
    await until(second, kernel_id, is_running)
    agent.terminate()
    await first.remove(kernel_id)
    assert kernel_id not in first.kernels
    await until(second, kernel_id, is_gone)
    assert list(folder.kernels.iterdir()) == []
    assert await asyncio.to_thread(have_ended, kernel.pid, agent.pid)


async def test_removing_what_is_not_there_does_nothing(gateways):
    backend = await gateways.start()
    await backend.remove(new_id())


async def test_a_removed_id_can_be_started_again_at_once(gateways, folder):
    backend = await gateways.start()
    record = new_record()
    for _ in range(3):
        assert await backend.create(record, new_launch(record, "--mute"), admit_all)
        os.kill(folder.pid(record.kernel_id, AGENT_PID), signal.SIGKILL)
        await backend.remove(record.kernel_id)
    assert await backend.create(record, new_launch(record), admit_all)
    assert (await gateways.status(backend, record.kernel_id, wait=DEADLINE)).state is KernelState.RUNNING
    assert is_running(backend.kernels[record.kernel_id])


async def test_a_kernel_that_is_removed_while_a_gateway_looks_at_it_is_gone_for_that_gateway(gateways, folder):
    """The look waits for a connection; what it saw before is old when it comes."""
    record = new_record(created=0.0)
    backend = await gateways.start()
    assert folder.claim(record, new_config(record))
    looking = asyncio.create_task(backend._scan())
    await asyncio.sleep(0)
    await backend.remove(record.kernel_id)
    await looking
    assert record.kernel_id not in backend.kernels


async def test_whoever_waits_for_news_of_a_kernel_is_told_of_its_removal(gateways, folder):
    backend = await gateways.start()
    kernel_id = await gateways.start_kernel(backend, "--mute")
    waiting = asyncio.create_task(until(backend, kernel_id, is_gone))
    os.kill(folder.pid(kernel_id, AGENT_PID), signal.SIGKILL)
    await backend.remove(kernel_id)
    await waiting


async def test_a_folder_that_somebody_deleted_is_a_kernel_that_is_gone(gateways, folder):
    backend = await gateways.start()
    kernel_id = await gateways.start_kernel(backend)
    await gateways.status(backend, kernel_id, wait=DEADLINE)
    agent = psutil.Process(folder.pid(kernel_id, AGENT_PID))
    assert folder.pid(kernel_id, KERNEL_PID)
    shutil.rmtree(folder.of(kernel_id))
    await until(backend, kernel_id, is_gone)
    agent.kill()
    assert await asyncio.to_thread(have_ended, agent.pid)
