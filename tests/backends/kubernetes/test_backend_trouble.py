"""An API server that is away, lags, forgets or repeats itself; and what a gateway says of it in its log."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from backend_parts import (
    DEADLINE,
    SWEEP,
    Replica,
    add_kernel,
    end_pod,
    in_step,
    new_id,
    new_record,
    pod_of,
    replica,
    run_pod,
    until,
    view,
    with_session,
)
from fakes.api_server import FakeApi
from pod_parts import KEYS

from enterprise_gateway.core.records import Phase
from enterprise_gateway.errors import BackendUnavailable


async def test_while_the_api_server_is_away_kernels_stay_and_changes_are_refused_quickly(
    fake: FakeApi, one: Replica, kernel_id: str
) -> None:
    ended = new_record(new_id())
    due = time.time() + 3.0
    end_pod(fake, add_kernel(fake, ended), when=due - 600.0)  # to be swept while nobody answers
    await in_step(fake, one)
    await fake.refuse()
    before = view(one)
    for request in (one.start(), one.remove(kernel_id), one.update(kernel_id, with_session("a"))):
        with pytest.raises(BackendUnavailable):
            await asyncio.wait_for(request, 2)
    await asyncio.sleep(0.5)
    assert one.synced
    assert view(one) == before
    await fake.accept()
    await fake.until(lambda: len(fake.pods) == 1)
    assert await one.start()
    await one.remove(kernel_id)
    assert len(one.kernels) == 1


async def test_nothing_is_created_by_a_gateway_that_cannot_see_what_there_is(
    fake: FakeApi, one: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    fake.faults.fail("watch", "pods", 503, "ServiceUnavailable", "no watches today", times=1000)
    fake.close_watches()
    await until(lambda: "Lost track of" in caplog.text)
    with pytest.raises(BackendUnavailable):
        await one.start()
    assert fake.requests["create", "pods"] == 0


async def test_a_gateway_that_starts_without_an_api_server_waits_for_it(fake: FakeApi, tmp_path: Path) -> None:
    record = new_record(new_id())
    run_pod(fake, add_kernel(fake, record))
    backend = Replica(fake, tmp_path)
    await fake.refuse()
    task = asyncio.create_task(backend.run())
    await asyncio.sleep(0.3)
    assert not backend.synced
    await fake.accept()
    await asyncio.wait_for(backend.until_synced(), DEADLINE)
    assert view(backend) == {record.kernel_id: (Phase.RUNNING, "")}
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_happened_during_an_outage_is_known_after_it(fake: FakeApi, one: Replica, kernel_id: str) -> None:
    gone, came = new_id(), new_record(new_id())
    await one.start(gone)
    await in_step(fake, one)
    await fake.refuse()
    fake.remove("pods", pod_of(gone))
    add_kernel(fake, came)
    end_pod(fake, pod_of(kernel_id))
    fake.store.compact()
    await fake.accept()
    await in_step(fake, one)
    assert view(one) == {kernel_id: (Phase.ENDED, "the kernel was shut down"), came.kernel_id: (Phase.STARTING, "")}


@pytest.mark.parametrize("trouble", ["410", "dropped", "repeated", "stale list", "429"])
async def test_trouble_of_a_watch_changes_nothing_that_is_seen(
    fake: FakeApi, one: Replica, kernel_id: str, trouble: str
) -> None:
    before = one.kernels[kernel_id]
    match trouble:
        case "410":
            fake.store.compact()
            fake.send_error(410, "Expired", "too old resource version")
        case "dropped":
            fake.abort_watches()
        case "repeated":
            fake.repeats_events = True
        case "stale list":
            fake.freeze_lists()
            fake.set_pod_status(pod_of(kernel_id), {"message": "newer"})
            await in_step(fake, one)
            fake.send_error(410, "Expired", "too old resource version")
        case "429":
            fake.faults.fail("watch", "pods", 429, "TooManyRequests", "busy", times=3)
            fake.close_watches()
    second = new_record(new_id())
    run_pod(fake, add_kernel(fake, second))
    if trouble == "stale list":
        lists = fake.requests["list", "pods"]
        await fake.until(lambda: fake.requests["list", "pods"] > lists + 1)
        assert one.kernels[kernel_id] == before
        fake.thaw_lists()
    await in_step(fake, one)
    assert view(one) == {kernel_id: (Phase.RUNNING, ""), second.kernel_id: (Phase.RUNNING, "")}
    assert one.kernels[kernel_id] == before


async def test_a_busy_api_server_is_waited_for(fake: FakeApi, one: Replica) -> None:
    fake.faults.fail("create", "pods", 429, "TooManyRequests", "busy", retry_after=0, times=2)
    assert await one.start()
    assert len(fake.pods) == len(fake.secrets) == 1


async def test_the_log_tells_changes_of_contact_and_no_secret(
    fake: FakeApi, one: Replica, kernel_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "enterprise_gateway")
    ended = new_record(new_id())
    due = time.time() + 3.0
    end_pod(fake, add_kernel(fake, ended), when=due - 600.0)  # to be swept while nobody answers
    await in_step(fake, one)
    caplog.clear()
    await fake.refuse()
    await until(lambda: caplog.text.count("Lost track of") == 2)
    await until(lambda: time.time() > due + 4 * SWEEP)  # some retries and many sweeps
    await fake.accept()
    await until(lambda: caplog.text.count("Back on track") == 2)
    for _ in range(20):
        fake.set_pod_status(pod_of(kernel_id), {"message": new_id()})
    await in_step(fake, one)
    lines = [each.getMessage() for each in caplog.records if each.name.startswith("enterprise_gateway")]
    assert len(lines) == 4, lines
    secrets = KEYS.secrets(KEYS.newest_id, kernel_id)
    known = [secrets.token, secrets.hmac_key, secrets.tls_seed]
    assert [each for each in (fake.token, *(secret.reveal() for secret in known)) if each in caplog.text] == []


async def test_five_hundred_kernels_are_read_in_one_list(fake: FakeApi, tmp_path: Path) -> None:
    for _ in range(500):
        run_pod(fake, add_kernel(fake, new_record(new_id())))
    async with replica(fake, tmp_path) as backend:
        assert {each.phase for each in backend.kernels.values()} == {Phase.RUNNING}
        assert len(backend.kernels) == 500
        assert fake.requests["list", "pods"] == 1
        before = fake.requests.copy()
        await asyncio.sleep(0.2)  # a few sweeps
        assert fake.requests - before == {}
