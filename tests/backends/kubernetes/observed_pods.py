"""Pods as the tests of this folder see them: captured from a cluster, or made like those."""

from __future__ import annotations

import datetime
from pathlib import Path

import msgspec
from msgspec.structs import replace

from enterprise_gateway.backends.kubernetes.objects import (
    Condition,
    ContainerState,
    ContainerStatus,
    Event,
    Metadata,
    Pod,
    PodStatus,
    Running,
    Terminated,
    Waiting,
)
from enterprise_gateway.backends.kubernetes.observe import Observation, StartPatience, observe

FOLDER = Path(__file__).parent / "captured"
PATIENCE = StartPatience()
BEGIN = 1_700_000_000.0
"""Unix seconds of the creation of pods that were not captured."""
LAUNCH_TIMEOUT = 60.0
RUNS = ContainerState(running=Running())


class Captured(msgspec.Struct):
    pod: Pod
    events: list[Event]

    @property
    def created(self) -> float:
        return datetime.datetime.fromisoformat(self.pod.metadata.creation_timestamp).timestamp()

    def at(self, seconds: float) -> Observation:
        """As it is seen so long after its creation."""
        return observe(self.pod, self.events, self.created + LAUNCH_TIMEOUT, self.created + seconds, PATIENCE)


def captured(name: str) -> Captured:
    return msgspec.json.decode((FOLDER / f"{name}.json").read_bytes(), type=Captured)


def stamp(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(BEGIN + seconds, datetime.UTC).isoformat()


def event(
    reason: str, message: str = "", first: float = 0.0, last: float | None = None, type_: str = "Normal"
) -> Event:
    return Event(
        metadata=Metadata(name=f"pod.{int(first * 1e9):016x}"),
        reason=reason,
        message=message,
        type=type_,
        first_timestamp=stamp(first),
        last_timestamp=stamp(first if last is None else last),
    )


def pending(
    kernel: ContainerState | None = None, agent: ContainerState | None = None, *conditions: Condition, ip: str = ""
) -> Pod:
    """A pod on its node."""
    creating = ContainerState(waiting=Waiting(reason="ContainerCreating"))
    pod = captured("success").pod
    statuses = (
        ContainerStatus(name="agent", state=agent or creating),
        ContainerStatus(name="kernel", state=kernel or creating),
    )
    return replace(
        pod,
        metadata=Metadata(name="pod", creation_timestamp=stamp(0), labels={"kernel_id": "k1"}),
        status=PodStatus(phase="Pending", conditions=conditions, container_statuses=statuses, pod_ip=ip),
    )


def unschedulable(since: float = 0.0) -> Pod:
    condition = Condition(
        type="PodScheduled",
        status="False",
        reason="Unschedulable",
        message="0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: 0/1 nodes are available",
        last_transition_time=stamp(since),
    )
    return Pod(
        metadata=Metadata(name="pod", creation_timestamp=stamp(0)),
        status=PodStatus(phase="Pending", conditions=(condition,)),
    )


def seen(pod: Pod, *events: Event, at: float, patience: StartPatience = PATIENCE) -> Observation:
    return observe(pod, events, BEGIN + LAUNCH_TIMEOUT, BEGIN + at, patience)


def waiting(reason: str, message: str = "") -> ContainerState:
    return ContainerState(waiting=Waiting(reason=reason, message=message))


def terminated(exit_code: int, reason: str = "Error", message: str = "", at: float = 30.0) -> ContainerState:
    end = Terminated(exit_code=exit_code, reason=reason, message=message, finished_at=stamp(at))
    return ContainerState(terminated=end)
