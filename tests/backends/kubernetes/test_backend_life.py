"""What becomes of kernels that have started: failures, changes, deletions, ends; the same on every replica."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import msgspec
import pytest
from backend_parts import (
    Replica,
    add_kernel,
    end_pod,
    fail_image,
    in_step,
    new_id,
    new_record,
    pod_of,
    replica,
    run_pod,
    session_ids,
    until,
    view,
    with_session,
)
from fakes.api_server import FakeApi

from enterprise_gateway.backends.kubernetes.observe import END_ANNOTATION, StartPatience
from enterprise_gateway.core.records import EndReport, Phase
from enterprise_gateway.errors import BackendUnavailable, KernelNotFound

UNSCHEDULABLE = "0/3 nodes are available: 3 Insufficient memory."


def recorded_end(fake: FakeApi, name: str) -> EndReport:
    return msgspec.json.decode(fake.pods[name]["metadata"]["annotations"][END_ANNOTATION], type=EndReport)


# Failures


async def test_an_image_that_cannot_be_pulled_ends_the_start_once_and_with_one_reason(
    fake: FakeApi, one: Replica, other: Replica
) -> None:
    kernel_id = new_id()
    await one.start(kernel_id)
    name = pod_of(kernel_id)
    fail_image(fake, name)
    await until(lambda: all(each.kernels[kernel_id].phase is Phase.ENDED for each in (one, other)))
    await in_step(fake, one, other)
    assert one.kernels[kernel_id] == other.kernels[kernel_id]
    assert 'the image "localhost/kernel:1" of its kernel container' in one.kernels[kernel_id].reason
    assert recorded_end(fake, name).reason == one.kernels[kernel_id].reason
    assert fake.pods[name]["spec"]["activeDeadlineSeconds"] == 1
    version = fake.pods[name]["metadata"]["resourceVersion"]
    await asyncio.sleep(0.2)  # a few sweeps
    assert fake.pods[name]["metadata"]["resourceVersion"] == version
    assert fake.requests["patch", "pods"] <= 2  # each replica may believe that it is the first


async def test_a_pod_without_a_node_fails_when_its_grace_is_over(fake: FakeApi, tmp_path: Path) -> None:
    patience = StartPatience(unschedulable=1.2)
    async with replica(fake, tmp_path, patience=patience, sweep_seconds=60.0) as backend:
        kernel_id = new_id()
        await backend.start(kernel_id)
        now = int(time.time())
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": UNSCHEDULABLE}
        fake.set_pod_status(pod_of(kernel_id), {"conditions": [condition | {"lastTransitionTime": since}]})
        await until(lambda: backend.kernels[kernel_id].phase is Phase.ENDED)
        assert backend.kernels[kernel_id].ended >= now + 1.2
        assert backend.kernels[kernel_id].reason.startswith("no node can take its pod: ")
        assert "Insufficient memory" in backend.kernels[kernel_id].reason


async def test_a_start_that_takes_too_long_fails(one: Replica, other: Replica) -> None:
    kernel_id = new_id()
    await one.start(kernel_id, deadline=time.time() + 0.3)
    await until(lambda: all(each.kernels[kernel_id].phase is Phase.ENDED for each in (one, other)))
    assert "did not start within" in one.kernels[kernel_id].reason
    assert one.kernels[kernel_id].reason == other.kernels[kernel_id].reason


async def test_no_start_ends_on_missing_data(fake: FakeApi, one: Replica) -> None:
    """Its deadline is over and the API server is away; meanwhile the kernel has come up."""
    kernel_id = new_id()
    fake.faults.fail("patch", "pods", 503, "ServiceUnavailable", "going down", times=1000)
    await one.start(kernel_id, deadline=time.time() - 1)
    await fake.refuse()
    await asyncio.sleep(0.3)  # a few sweeps
    assert view(one) == {kernel_id: (Phase.STARTING, "")}
    run_pod(fake, pod_of(kernel_id))
    fake.faults.clear()
    await fake.accept()
    await in_step(fake, one)
    assert view(one) == {kernel_id: (Phase.RUNNING, "")}
    assert END_ANNOTATION not in fake.pods[pod_of(kernel_id)]["metadata"]["annotations"]


async def test_a_gateway_that_has_just_started_waits_for_the_events_before_it_judges(
    fake: FakeApi, tmp_path: Path
) -> None:
    """An image is being pulled for longer than the deadline, which only the events tell."""
    record = new_record(new_id(), deadline=time.time() - 1)
    name = add_kernel(fake, record)
    fake.add_event(name, "Pulling", 'Pulling image "localhost/kernel:1"')
    fake.faults.fail("list", "events", 503, "ServiceUnavailable", "not yet", times=2)
    backend = Replica(fake, tmp_path)
    task = asyncio.create_task(backend.run())
    await backend.until_synced()
    assert view(backend) == {record.kernel_id: (Phase.STARTING, "")}
    await until(lambda: backend.kernels[record.kernel_id].progress)
    assert view(backend) == {record.kernel_id: (Phase.STARTING, "")}
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_an_end_that_may_not_be_recorded_counts_all_the_same(
    fake: FakeApi, one: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    kernel_id = new_id()
    await one.start(kernel_id)
    fake.faults.fail("patch", "pods", 403, "Forbidden", "no right to patch pods", times=1000)
    fail_image(fake, pod_of(kernel_id))
    await until(lambda: one.kernels[kernel_id].phase is Phase.ENDED)
    await asyncio.sleep(0.2)  # a few sweeps
    assert fake.requests["patch", "pods"] == 1
    assert caplog.text.count("no right to patch pods") == 1


async def test_progress_is_what_the_events_say(fake: FakeApi, one: Replica) -> None:
    kernel_id = new_id()
    await one.start(kernel_id)
    woken = asyncio.create_task(one.changed(kernel_id))
    await asyncio.sleep(0)
    fake.add_event(pod_of(kernel_id), "Scheduled", "Successfully assigned to node1")
    await asyncio.wait_for(woken, 5)
    assert [step.reason for step in one.kernels[kernel_id].progress] == ["Scheduled"]


# Changes of the record


async def test_changes_that_race_on_two_replicas_both_survive(
    fake: FakeApi, one: Replica, other: Replica, kernel_id: str
) -> None:
    await in_step(fake, one, other)
    await asyncio.gather(
        *(one.update(kernel_id, with_session(f"one-{n}")) for n in range(3)),
        *(other.update(kernel_id, with_session(f"other-{n}")) for n in range(3)),
    )
    await in_step(fake, one, other)
    records = [each.kernels[kernel_id].record for each in (one, other)]
    assert records[0] == records[1]
    assert session_ids(records[0]) == {f"{replica}-{n}" for replica in ("one", "other") for n in range(3)}


async def test_an_older_event_does_not_undo_what_an_answer_told(
    fake: FakeApi, one: Replica, other: Replica, kernel_id: str
) -> None:
    await in_step(fake, one, other)
    fake.silent = True
    await other.update(kernel_id, with_session("a"))
    await one.update(kernel_id, with_session("b"))
    assert session_ids(one.kernels[kernel_id].record) == {"a", "b"}
    seen = []

    async def watch() -> None:
        while True:
            await one.changed(kernel_id)
            seen.append(session_ids(one.kernels[kernel_id].record))

    watching = asyncio.create_task(watch())
    fake.silent = False
    fake.repeats_events = True
    fake.wake_watches()
    await in_step(fake, one, other)
    watching.cancel()
    assert [each for each in seen if each != {"a", "b"}] == []
    assert session_ids(other.kernels[kernel_id].record) == {"a", "b"}


async def test_the_record_of_a_deleted_kernel_cannot_be_changed(fake: FakeApi, one: Replica, kernel_id: str) -> None:
    fake.silent = True
    fake.remove("pods", pod_of(kernel_id))
    with pytest.raises(KernelNotFound):
        await one.update(kernel_id, with_session("a"))
    assert view(one) == {}
    with pytest.raises(KernelNotFound):
        await one.update(kernel_id, with_session("a"))


async def test_the_record_of_a_kernel_that_was_replaced_is_its_successors(
    fake: FakeApi, one: Replica, kernel_id: str
) -> None:
    fake.patch("pods", pod_of(kernel_id), {"metadata": {"creationTimestamp": "2020-01-01T00:00:00Z"}})
    await in_step(fake, one)
    fake.silent = True
    fake.remove("pods", pod_of(kernel_id))
    add_kernel(fake, new_record(kernel_id, deadline=1.0))
    changed = await one.update(kernel_id, with_session("a"))
    assert changed.deadline == 1.0


async def test_a_refused_change_says_why(fake: FakeApi, one: Replica, kernel_id: str) -> None:
    fake.faults.fail("patch", "pods", 403, "Forbidden", "no right to patch pods")
    with pytest.raises(BackendUnavailable, match="no right to patch pods"):
        await one.update(kernel_id, with_session("a"))
    assert one.kernels[kernel_id].record.sessions == ()


# Deletions


async def test_a_removed_kernel_is_gone_here_at_once_and_elsewhere_as_soon_as_the_watch_tells(
    fake: FakeApi, one: Replica, other: Replica, kernel_id: str
) -> None:
    await in_step(fake, one, other)
    await one.remove(kernel_id)
    assert view(one) == {}
    await until(lambda: other.kernels[kernel_id].phase is Phase.ENDED)
    assert other.kernels[kernel_id].reason == "its pod was deleted"
    fake.set_pod_status(pod_of(kernel_id), {"phase": "Running", "message": "ending"})  # it has its grace
    await in_step(fake, one, other)
    assert view(one) == {}
    assert not await one.start(kernel_id)  # until the old pod is gone
    fake.remove("pods", pod_of(kernel_id))
    await until(lambda: view(other) == {})
    assert await one.start(kernel_id)
    assert list(one.kernels) == [kernel_id]


async def test_a_removal_never_hits_a_successor_of_the_same_name(fake: FakeApi, one: Replica, kernel_id: str) -> None:
    fake.silent = True
    fake.remove("pods", pod_of(kernel_id))
    add_kernel(fake, new_record(kernel_id))
    await one.remove(kernel_id)
    assert "deletionTimestamp" not in fake.pods[pod_of(kernel_id)]["metadata"]
    fake.silent = False
    fake.wake_watches()
    await in_step(fake, one)
    assert list(one.kernels) == [kernel_id]


@pytest.mark.parametrize(("code", "reason"), [(404, "NotFound"), (409, "Conflict")])
async def test_removing_what_is_gone_is_no_error(
    fake: FakeApi, one: Replica, kernel_id: str, code: int, reason: str
) -> None:
    fake.faults.fail("delete", "pods", code, reason, "gone")
    await one.remove(kernel_id)
    assert view(one) == {}
    await one.remove(kernel_id)
    await one.remove(new_id())
    assert fake.requests["delete", "pods"] == 1


async def test_a_kernel_that_cannot_be_removed_stays_listed(fake: FakeApi, one: Replica, kernel_id: str) -> None:
    fake.faults.fail("delete", "pods", 403, "Forbidden", "no right to delete pods")
    with pytest.raises(BackendUnavailable, match="no right to delete pods"):
        await one.remove(kernel_id)
    assert view(one) == {kernel_id: (Phase.RUNNING, "")}


async def test_an_answer_that_comes_after_the_end_does_not_bring_a_kernel_back(
    fake: FakeApi, one: Replica, kernel_id: str
) -> None:
    gate = fake.faults.hold("patch", "pods")
    update = asyncio.create_task(one.update(kernel_id, with_session("a")))
    await gate.reached.wait()
    fake.remove("pods", pod_of(kernel_id))
    await until(lambda: view(one) == {})
    gate.open.set()
    await update
    assert view(one) == {}


async def test_logs_are_the_containers_or_the_last_that_is_known(fake: FakeApi, one: Replica, kernel_id: str) -> None:
    fake.logs[pod_of(kernel_id)] = "hello from the kernel\n"
    assert await one.logs(kernel_id) == "hello from the kernel\n"
    fake.faults.fail("log", "pods", 400, "BadRequest", "container is waiting to start")
    assert await one.logs(kernel_id) == ""
    fake.faults.fail("log", "pods", 403, "Forbidden", "no right to read logs")
    with pytest.raises(BackendUnavailable, match="no right to read logs"):
        await one.logs(kernel_id)
    with pytest.raises(KernelNotFound):
        await one.logs(new_id())


# Ended pods


async def test_ended_pods_are_readable_for_a_while_and_then_swept_by_both_replicas(
    fake: FakeApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fresh, stale = new_record(new_id()), [new_record(new_id()) for _ in range(5)]
    for record in (fresh, *stale):
        end_pod(fake, add_kernel(fake, record), when=time.time() - (0 if record is fresh else 700))
    async with replica(fake, tmp_path) as one, replica(fake, tmp_path) as other:
        await fake.until(lambda: len(fake.pods) == 1)
        await until(lambda: view(one) == view(other) == {fresh.kernel_id: (Phase.ENDED, "the kernel was shut down")})
        await asyncio.sleep(0.2)  # a few sweeps
        assert [one.task and one.task.done(), other.task and other.task.done()] == [False, False]
    assert len(fake.pods) == 1
    assert [line for line in caplog.records if line.levelno > logging.INFO] == []


async def test_a_pod_that_vanishes_while_another_is_swept_stops_nobody(fake: FakeApi, tmp_path: Path) -> None:
    records = [new_record(new_id()) for _ in range(2)]
    for record in records:
        end_pod(fake, add_kernel(fake, record), when=time.time() - 700)
    gate = fake.faults.hold("delete", "pods")
    async with replica(fake, tmp_path) as backend:
        await gate.reached.wait()
        (left,) = fake.pods
        fake.remove("pods", left)
        await until(lambda: not backend.kernels)
        gate.open.set()
        end_pod(fake, add_kernel(fake, new_record(new_id())), when=time.time() - 700)
        await fake.until(lambda: not fake.pods)


async def test_a_pod_that_may_not_be_swept_holds_nobody_up(fake: FakeApi, tmp_path: Path) -> None:
    records = [new_record(new_id()) for _ in range(3)]
    for record in records:
        end_pod(fake, add_kernel(fake, record), when=time.time() - 700)
    fake.faults.fail("delete", "pods", 403, "Forbidden", "no")
    async with replica(fake, tmp_path):
        await fake.until(lambda: not fake.pods)


async def test_pods_without_a_readable_record_are_left_alone_and_named_once(
    fake: FakeApi, one: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    mine = new_record(new_id())
    add_kernel(fake, mine)
    texts = ["", "{}", '{"x":' + "[" * 5000, '{"kernel_id": 7}', msgspec.json.encode(new_record(new_id())).decode()]
    for number, text in enumerate(texts):
        labels = {"app": "enterprise-gateway", "component": "kernel", "kernel_id": new_id()}
        metadata = {"name": f"strange-{number}", "labels": labels}
        fake.add("pods", {"metadata": metadata | {"annotations": {"enterprise-gateway/record": text}}, "spec": {}})
    fake.add("pods", {"metadata": {"name": "bare", "labels": {"app": "enterprise-gateway", "component": "kernel"}}})
    await in_step(fake, one)
    for name in fake.pods:
        fake.set_pod_status(name, {"phase": "Failed"})
    await in_step(fake, one)
    await asyncio.sleep(0.2)  # a few sweeps
    assert list(one.kernels) == [mine.kernel_id]
    assert len(fake.pods) == 7
    assert caplog.text.count("no readable record") == 6
    assert caplog.text.count("strange-2") == 1
