"""A start is one kernel or none: whatever races it, cuts it short, or is said about it too late."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest
from backend_parts import (
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
)
from fakes.api_server import FakeApi

from enterprise_gateway.backends.base import Admission
from enterprise_gateway.backends.kubernetes.policy import parse_policy
from enterprise_gateway.core.records import KernelRecord, Phase, TlsEndpoint
from enterprise_gateway.errors import BackendUnavailable, LimitReached, StartFailed

QUOTA = 'pods "x" is forbidden: exceeded quota: kernels, requested: pods=1, used: pods=5, limited: pods=5'


def created(fake: FakeApi) -> tuple[int, int]:
    return fake.requests["create", "pods"], fake.requests["create", "secrets"]


def kernels_in(fake: FakeApi) -> list[str]:
    """Ids of the kernels that have both a pod and the Secret that it owns; nothing else may be there."""
    owners = {each["metadata"]["ownerReferences"][0]["uid"] for each in fake.secrets.values()}
    assert owners == {each["metadata"]["uid"] for each in fake.pods.values()}
    assert len(fake.secrets) == len(fake.pods)
    return sorted(each["metadata"]["labels"]["kernel_id"] for each in fake.pods.values())


async def outcomes(*starts: object) -> list[object]:
    return await asyncio.gather(*starts, return_exceptions=True)  # type: ignore[call-overload]


async def test_a_start_is_two_requests_and_a_quiet_cluster_none(fake: FakeApi, one: Replica, other: Replica) -> None:
    kernel_id = new_id()
    assert await one.start(kernel_id)
    assert created(fake) == (1, 1)
    run_pod(fake, pod_of(kernel_id))
    await in_step(fake, one, other)
    before = fake.requests.copy()
    await asyncio.sleep(0.3)  # several sweeps
    assert fake.requests - before == {}
    assert view(one) == view(other) == {kernel_id: (Phase.RUNNING, "")}
    assert one.kernels[kernel_id] == other.kernels[kernel_id]
    assert one.kernels[kernel_id].endpoint == TlsEndpoint("10.0.0.5", 8443)


async def test_a_kernel_is_known_as_soon_as_its_start_has_returned(fake: FakeApi, one: Replica) -> None:
    fake.silent = True
    kernel_id = new_id()
    assert await one.start(kernel_id)
    assert view(one) == {kernel_id: (Phase.STARTING, "")}
    assert not await one.start(kernel_id)


async def test_each_start_by_a_launcher_has_a_key_of_its_own_and_is_one_start(fake: FakeApi, one: Replica) -> None:
    launcher = ("/usr/local/bin/bootstrap-kernel.sh",)
    ids = [new_id(), new_id()]
    starts = [one.start(kernel_id, argv=launcher) for kernel_id in ids for _ in range(2)]
    assert sorted(await outcomes(*starts)) == [False, False, True, True]
    told = {each["stringData"]["env.PUBLIC_KEY"] for each in fake.secrets.values()}
    assert len(told) == len(ids)
    assert all(each["spec"]["containers"][0]["command"][2:] == ["--wait", *launcher] for each in fake.pods.values())


async def test_an_agents_hello_counts_before_the_watch_tells(fake: FakeApi, one: Replica) -> None:
    fake.silent = True
    kernel_id = new_id()
    await one.start(kernel_id)
    one.announce(kernel_id, "fd00::7")
    assert one.kernels[kernel_id].endpoint == TlsEndpoint("fd00::7", 8443)
    one.announce(new_id(), "fd00::8")
    assert list(one.kernels) == [kernel_id]


@pytest.mark.parametrize("usernames", [("alice", "alice"), ("alice", "bob")], ids=["same user", "different users"])
async def test_replicas_that_race_for_one_id_make_one_kernel(
    fake: FakeApi, one: Replica, other: Replica, usernames: tuple[str, str]
) -> None:
    kernel_id = new_id()
    results = await asyncio.wait_for(
        outcomes(one.start(kernel_id, usernames[0]), other.start(kernel_id, usernames[1])), 5
    )
    assert sorted(results) == [False, True]
    assert kernels_in(fake) == [kernel_id]
    await in_step(fake, one, other)
    winner = usernames[results.index(True)]
    assert [each.kernels[kernel_id].record.username for each in (one, other)] == [winner, winner]


async def test_a_third_replica_that_saw_the_loser_first_ends_up_with_the_winner(
    fake: FakeApi, one: Replica, other: Replica
) -> None:
    kernel_id = new_id()
    add_kernel(fake, new_record(kernel_id, "bob"))
    await in_step(fake, one, other)
    add_kernel(fake, new_record(kernel_id, "carol"))
    await in_step(fake, one, other)
    first = one.kernels[kernel_id].record
    assert other.kernels[kernel_id].record == first
    fake.remove("pods", pod_of(kernel_id, first.username))
    await in_step(fake, one, other)
    (left,) = {"bob", "carol"} - {first.username}
    assert [each.kernels[kernel_id].record.username for each in (one, other)] == [left, left]
    await one.remove(kernel_id)
    assert view(one) == {}


async def test_the_secret_of_an_earlier_kernel_is_waited_for(fake: FakeApi, one: Replica) -> None:
    kernel_id = new_id()
    fake.add("secrets", {"metadata": {"name": f"kernel-{kernel_id}"}})
    start = asyncio.create_task(one.start(kernel_id))
    await fake.until(lambda: fake.requests["create", "secrets"] >= 2)
    fake.remove("secrets", f"kernel-{kernel_id}")
    assert await start
    assert kernels_in(fake) == [kernel_id]


@pytest.mark.parametrize("resource", ["pods", "secrets"])
async def test_a_refusal_is_told_in_kubernetes_words_and_leaves_nothing(
    fake: FakeApi, one: Replica, other: Replica, resource: str
) -> None:
    fake.faults.fail("create", resource, 403, "Forbidden", QUOTA)
    with pytest.raises(StartFailed, match="exceeded quota: kernels, requested: pods=1"):
        await one.start()
    assert kernels_in(fake) == []
    assert view(one) == {}
    await in_step(fake, one, other)
    assert view(other) == {}


async def test_a_quota_that_is_being_counted_is_asked_again(fake: FakeApi, one: Replica) -> None:
    message = 'Operation cannot be fulfilled on resourcequotas "kernels": the object has been modified'
    fake.faults.fail("create", "pods", 409, "Conflict", message, times=2)
    assert await one.start()
    assert len(kernels_in(fake)) == 1


@pytest.mark.parametrize("fault", ["cut", "garble"])
async def test_a_pod_whose_creation_was_not_confirmed_does_not_stay(
    fake: FakeApi, one: Replica, other: Replica, fault: str
) -> None:
    kernel_id = new_id()
    getattr(fake.faults, fault)("create", "pods")
    with pytest.raises(BackendUnavailable):
        await one.start(kernel_id)
    assert fake.requests["create", "secrets"] == 0
    await fake.until(lambda: not fake.pods)
    await in_step(fake, one, other)
    assert view(one) == view(other) == {}
    assert await one.start(kernel_id)
    assert kernels_in(fake) == [kernel_id]


async def test_a_pod_that_appears_long_after_its_request_was_given_up_does_not_stay(
    fake: FakeApi, one: Replica
) -> None:
    record = new_record(new_id())
    fake.faults.lose("create", "pods")
    with pytest.raises(BackendUnavailable):
        await one.start(record.kernel_id, created=record.created, deadline=record.deadline)
    add_kernel(fake, record)
    await fake.until(lambda: not fake.pods)
    assert view(one) == {}


async def test_a_doubt_does_not_touch_a_later_start_with_the_same_id(fake: FakeApi, one: Replica) -> None:
    kernel_id = new_id()
    fake.faults.lose("create", "pods")
    with pytest.raises(BackendUnavailable):
        await one.start(kernel_id)
    assert await one.start(kernel_id)
    await in_step(fake, one)
    await asyncio.sleep(0.15)  # a few sweeps
    assert kernels_in(fake) == [kernel_id]


@pytest.mark.parametrize("fault", ["cut", "lose"])
async def test_a_start_whose_secret_is_in_doubt_is_taken_back(fake: FakeApi, one: Replica, fault: str) -> None:
    kernel_id = new_id()
    getattr(fake.faults, fault)("create", "secrets")
    with pytest.raises(BackendUnavailable):
        await one.start(kernel_id)
    assert kernels_in(fake) == []
    assert await one.start(kernel_id)
    assert kernels_in(fake) == [kernel_id]


async def test_what_cannot_be_taken_back_now_is_taken_back_later(fake: FakeApi, one: Replica) -> None:
    fake.faults.fail("create", "secrets", 500, "InternalError", "no")
    fake.faults.fail("delete", "pods", 503, "ServiceUnavailable", "no", times=2)
    with pytest.raises(BackendUnavailable):
        await one.start()
    assert view(one) == {}
    await fake.until(lambda: not fake.pods)
    assert fake.requests["delete", "pods"] == 3


async def test_taking_back_never_hits_a_successor_of_the_same_name(fake: FakeApi, one: Replica) -> None:
    kernel_id = new_id()
    fake.faults.fail("create", "secrets", 500, "InternalError", "no")
    fake.faults.fail("delete", "pods", 503, "ServiceUnavailable", "no")
    with pytest.raises(BackendUnavailable):
        await one.start(kernel_id)
    fake.remove("pods", pod_of(kernel_id))
    add_kernel(fake, new_record(kernel_id))
    await fake.until(lambda: fake.requests["delete", "pods"] == 2)
    await in_step(fake, one)
    assert list(one.kernels) == [kernel_id]
    assert "deletionTimestamp" not in fake.pods[pod_of(kernel_id)]["metadata"]


@pytest.mark.parametrize("resource", ["pods", "secrets"])
async def test_a_start_that_is_cancelled_leaves_nothing(fake: FakeApi, one: Replica, resource: str) -> None:
    kernel_id = new_id()
    gate = fake.faults.hold("create", resource)
    start = asyncio.create_task(one.start(kernel_id))
    await gate.reached.wait()
    start.cancel()
    await asyncio.gather(start, return_exceptions=True)
    await fake.until(lambda: not fake.pods)
    assert kernels_in(fake) == []
    assert await one.start(kernel_id)


async def test_a_gateway_that_dies_before_the_secret_leaves_an_end_that_others_see_and_can_clear(
    fake: FakeApi, one: Replica, other: Replica
) -> None:
    kernel_id = new_id()
    gate = fake.faults.hold("create", "pods")
    start = asyncio.create_task(one.start(kernel_id))
    await gate.reached.wait()
    await one.crash()
    await asyncio.gather(start, return_exceptions=True)
    await in_step(fake, other)
    assert view(other) == {kernel_id: (Phase.STARTING, "")}
    name = pod_of(kernel_id)
    fake.schedule(name)
    missing = f'MountVolume.SetUp failed for volume "eg": secret "kernel-{kernel_id}" not found'
    for seconds in (0, 8):
        fake.add_event(name, "FailedMount", missing, "Warning")
        *_, event = fake.objects("events").values()
        when = f"2026-01-01T00:00:{seconds:02d}Z"
        fake.patch("events", event["metadata"]["name"], {"firstTimestamp": when, "lastTimestamp": when})
    await until(lambda: other.kernels[kernel_id].phase is Phase.ENDED)
    assert "its Secret was never made" in other.kernels[kernel_id].reason
    end_pod(fake, name)
    await other.remove(kernel_id)
    assert await other.start(kernel_id)
    assert kernels_in(fake) == [kernel_id]


async def test_a_gateway_that_dies_after_the_secret_leaves_a_kernel(
    fake: FakeApi, one: Replica, other: Replica
) -> None:
    kernel_id = new_id()
    gate = fake.faults.hold("create", "secrets")
    start = asyncio.create_task(one.start(kernel_id))
    await gate.reached.wait()
    await one.crash()
    await asyncio.gather(start, return_exceptions=True)
    await in_step(fake, other)
    assert not await other.start(kernel_id)
    run_pod(fake, pod_of(kernel_id))
    await in_step(fake, other)
    assert view(other) == {kernel_id: (Phase.RUNNING, "")}
    assert kernels_in(fake) == [kernel_id]


async def test_a_kernel_that_is_removed_while_it_starts_stays_removed(fake: FakeApi, one: Replica) -> None:
    kernel_id = new_id()
    gate = fake.faults.hold("create", "secrets")
    start = asyncio.create_task(one.start(kernel_id))
    await gate.reached.wait()
    await one.remove(kernel_id)
    gate.open.set()
    with pytest.raises(StartFailed, match="shut down while it started"):
        await start
    assert not fake.pods
    assert view(one) == {}


# Limits


def at_most(limit: int) -> Admission:
    def admit(others: Iterable[KernelRecord]) -> None:
        if sum(1 for _ in others) >= limit:
            raise LimitReached

    return admit


@pytest.mark.parametrize(("running", "racing"), [(0, 2), (2, 6), (0, 9)])
async def test_replicas_that_race_fill_every_place_and_no_more(
    fake: FakeApi, one: Replica, other: Replica, tmp_path: Path, running: int, racing: int
) -> None:
    for _ in range(running):
        await one.start()
    async with replica(fake, tmp_path) as third:
        await in_step(fake, one, other, third)
        limit = running + 1 if racing < 9 else 4
        replicas = (one, other, third)
        results = await outcomes(*(replicas[n % 3].start(admit=at_most(limit)) for n in range(racing)))
        assert results.count(True) == limit - running
        assert sum(isinstance(each, LimitReached) for each in results) == racing - limit + running
        assert len(kernels_in(fake)) == limit
        await in_step(fake, *replicas)
        assert [len(each.kernels) for each in replicas] == [limit] * 3


async def test_replicas_that_race_in_different_namespaces_do_not_pass_the_limit(fake: FakeApi, tmp_path: Path) -> None:
    policy = parse_policy("namespace: [team]")
    both = [fake.namespace, "team"]
    async with (
        replica(fake, tmp_path, *both, policy=policy) as here,
        replica(fake, tmp_path, *both, policy=policy) as there,
    ):
        team = {"KERNEL_NAMESPACE": "team"}
        results = await outcomes(here.start(admit=at_most(1)), there.start(admit=at_most(1), wishes=team))
        assert results.count(True) == 1
        assert len(fake.pods) + len(fake.store.collection(("team", "pods"))) == 1


async def test_an_ended_kernel_takes_no_place(fake: FakeApi, one: Replica) -> None:
    kernel_id = new_id()
    await one.start(kernel_id)
    end_pod(fake, pod_of(kernel_id))
    await in_step(fake, one)
    assert await one.start(admit=at_most(1))


async def test_kernels_of_other_namespaces_count_before_their_watch_tells(fake: FakeApi, tmp_path: Path) -> None:
    async with replica(fake, tmp_path, fake.namespace, "team", policy=parse_policy("namespace: [team]")) as backend:
        for watch in fake._watches:
            if watch.collection == ("team", "pods"):
                watch.revision += 1_000_000  # deaf
        await in_step(fake, backend)
        record = new_record(new_id())
        here = fake.namespace
        fake.namespace = "team"
        add_kernel(fake, record)
        fake.namespace = here
        with pytest.raises(LimitReached):
            await backend.start(admit=at_most(1))
        assert kernels_in(fake) == []
