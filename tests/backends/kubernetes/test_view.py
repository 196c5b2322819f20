"""What a view makes of pods, events and agents' words, whatever order they come in."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from backend_parts import new_id, new_record

from enterprise_gateway.aio import Changes
from enterprise_gateway.backends.kubernetes.objects import Condition, Event, Metadata, ObjectReference, Pod, PodSpec
from enterprise_gateway.backends.kubernetes.objects import PodStatus as Status
from enterprise_gateway.backends.kubernetes.observe import Observation, StartPatience
from enterprise_gateway.backends.kubernetes.view import KernelView
from enterprise_gateway.core.records import KernelRecord, Phase, TlsEndpoint


class Owner:
    """Keeps what it is told of pods that fail."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.view = KernelView(StartPatience(), Changes(), self.failing)

    def failing(self, pod: Pod, seen: Observation, _since: float) -> None:
        self.told.append((pod.metadata.uid, seen.reason))


@pytest.fixture
async def owner() -> AsyncIterator[Owner]:
    owner = Owner()
    yield owner
    owner.view.close()


def make_pod(record: KernelRecord, version: int, *, uid: str = "u1", **changes: Any) -> Pod:
    metadata = Metadata(
        name=f"{record.username}-{record.kernel_id}",
        uid=uid,
        resource_version=str(version),
        creation_timestamp="2026-01-01T00:00:00Z",
        deletion_timestamp=changes.pop("deleted", None),
        labels={"kernel_id": record.kernel_id},
        annotations={"enterprise-gateway/record": msgspec.json.encode(record).decode()},
    )
    return Pod(metadata=metadata, **changes)


async def test_an_older_version_says_nothing_unless_the_cluster_went_back(owner: Owner) -> None:
    record = new_record(new_id())
    newer = make_pod(record, 10, status=Status(phase="Failed", reason="Evicted"))
    owner.view.put(newer)
    owner.view.put(make_pod(record, 9))
    assert owner.view.kernels[record.kernel_id].phase is Phase.ENDED
    owner.view.put(make_pod(record, 9), even_older=True)
    assert owner.view.kernels[record.kernel_id].phase is Phase.STARTING


async def test_a_dropped_pod_stays_away_and_its_successor_does_not(owner: Owner) -> None:
    record = new_record(new_id())
    owner.view.put(make_pod(record, 1))
    owner.view.announce(record.kernel_id, "10.0.0.1")
    owner.view.drop(make_pod(record, 1))
    owner.view.put(make_pod(record, 2))
    assert dict(owner.view.kernels) == {}
    owner.view.put(make_pod(record, 3, uid="u2"))
    assert owner.view.kernels[record.kernel_id].endpoint is None


async def test_a_pod_that_is_being_deleted_makes_room_for_its_successor(owner: Owner) -> None:
    record = new_record(new_id())
    owner.view.put(make_pod(record, 1, deleted="2026-01-01T00:00:01Z"))
    assert owner.view.kernels[record.kernel_id].phase is Phase.ENDED
    owner.view.put(make_pod(record, 2, uid="u2"))
    assert owner.view.kernels[record.kernel_id].phase is Phase.STARTING


async def test_places_are_given_in_the_order_of_creation(owner: Owner) -> None:
    records = [new_record(new_id()) for _ in range(3)]
    for number, record in enumerate(records):
        owner.view.put(make_pod(record, 10 + number, uid=f"u{number}"))
        changed = PodSpec(node_name="node1")
        owner.view.put(make_pod(record, 20 + number, uid=f"u{number}", spec=changed))
    before = list(owner.view.created_before(make_pod(records[1], 11, uid="u1")))
    assert before == [records[0]]


@pytest.mark.parametrize(
    "changed",
    [{"spec": PodSpec(node_name="node1")}, {"status": Status(conditions=(Condition(type="PodScheduled"),))}],
)
async def test_a_pod_whose_creation_was_missed_counts_as_older(owner: Owner, changed: dict[str, Any]) -> None:
    mine, other = new_record(new_id()), new_record(new_id())
    owner.view.put(make_pod(mine, 11))
    owner.view.put(make_pod(other, 12, uid="u2", **changed))
    assert list(owner.view.created_before(make_pod(mine, 11))) == [other]


async def test_an_ended_kernel_does_not_count(owner: Owner) -> None:
    mine, other = new_record(new_id()), new_record(new_id())
    owner.view.put(make_pod(other, 10, uid="u2", status=Status(phase="Failed", reason="Evicted")))
    assert list(owner.view.created_before(make_pod(mine, 11))) == []


async def test_a_failing_pod_ends_when_that_is_on_record_and_not_before(owner: Owner) -> None:
    record = new_record(new_id(), deadline=time.time() - 1, created=time.time() - 2)
    pod = make_pod(record, 1)
    owner.view.put(pod)
    owner.view.announce(record.kernel_id, "10.0.0.1")
    kernel = owner.view.kernels[record.kernel_id]
    assert (kernel.phase, kernel.reason, kernel.endpoint) == (Phase.STARTING, "", TlsEndpoint("10.0.0.1", 8443))
    assert {uid for uid, _ in owner.told} == {"u1"}
    told = len(owner.told)
    owner.view.reconsider()
    assert len(owner.told) == told + 1
    owner.view.accept_end(pod)
    assert owner.view.kernels[record.kernel_id].phase is Phase.ENDED
    owner.view.reconsider()
    assert len(owner.told) == told + 1


async def test_events_count_for_the_pod_they_are_about_and_in_any_order(owner: Owner) -> None:
    record = new_record(new_id())
    about = ObjectReference(kind="Pod", uid="u1")
    event = Event(metadata=Metadata(name="e1"), involved_object=about, reason="Scheduled", message="on node1")
    owner.view.put_event(None, event)
    owner.view.put_event(None, msgspec.structs.replace(event, involved_object=ObjectReference(uid="u2")))
    owner.view.put(make_pod(record, 1))
    assert [step.reason for step in owner.view.kernels[record.kernel_id].progress] == ["Scheduled"]
    owner.view.put_event(event, None)
    assert owner.view.kernels[record.kernel_id].progress == ()


async def test_what_is_gone_is_forgotten_when_nobody_tells_of_it_any_more(owner: Owner) -> None:
    began = time.monotonic()
    pod = make_pod(new_record(new_id()), 1)
    owner.view.drop(pod)
    owner.view.forget_gone((), began)
    owner.view.forget_gone({"u1"}, time.monotonic() + 1)
    assert owner.view.is_gone(pod)
    owner.view.forget_gone((), time.monotonic() + 1)
    assert not owner.view.is_gone(pod)
