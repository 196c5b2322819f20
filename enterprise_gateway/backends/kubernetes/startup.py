"""What a pod that does not run yet is waiting for, and whether waiting can still help.

Failures that cannot heal end a start at once. Those that may heal by themselves must be met again first. The rest is
decided by the deadline, which a node that is being added or an image that is being pulled puts off.

Pure: time is an argument. It refuses to know how pods end once they ran (`observe`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from enterprise_gateway.backends.kubernetes.objects import Condition, Event, Pod, Waiting
from enterprise_gateway.backends.kubernetes.wording import (
    innermost,
    schedulers_words,
    shortened,
    unix,
    with_detail,
)

IMAGE_PROBLEMS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
CREATE_PROBLEMS = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError"}
)
SCALE_UP = frozenset({"TriggeredScaleUp", "Nominated"})
"""Events of those who add nodes for pods: the cluster autoscaler, Karpenter."""

SEEN_AGAIN = 5.0
"""Seconds between two sights of a failure that make it one: the pod's Secret is made a moment after the pod.

Kubelet looks again at a volume after 0.5, 1, 2, 4 … seconds, at an environment variable only after 10 to 17 seconds."""
UNSEEN_GRACE = 30.0
"""Seconds for the same when there are no events to say when it was seen."""
SETTLE = 30.0
"""Seconds that a start still has, past its deadline, after a slow step has ended well."""

_QUOTED = re.compile(r'"([^"]*)"')


class StartPatience(msgspec.Struct, frozen=True, kw_only=True):
    """How long the operator lets starts wait for what the cluster may still do."""

    unschedulable: float = 15.0
    """Seconds a pod may be without a node that could take it (an autoscaler needs about ten to say what it does)."""
    slow_start: float = 900.0
    """Seconds a start may take while its image is pulled or a node is added for it."""


@dataclass(frozen=True)
class Start:
    """A pod whose containers do not all run, and what is known about that."""

    pod: Pod
    events: Sequence[Event]
    """In order."""
    deadline: float
    """Unix seconds."""
    patience: StartPatience
    now: float
    """Unix seconds."""

    @property
    def created(self) -> float:
        """Unix seconds; without a timestamp as if just now, so that nothing is too late."""
        return unix(self.pod.metadata.creation_timestamp) or self.now


@dataclass(frozen=True)
class Outlook:
    """Whether a start can still work."""

    failure: str = ""
    """Why it cannot; empty when it can."""
    recheck: float | None = None
    """Unix seconds when time alone may change this."""


def in_order(pod: Pod, events: Iterable[Event]) -> list[Event]:
    """Those that are about this very pod, oldest first."""
    uid = pod.metadata.uid
    mine = [event for event in events if not uid or event.involved_object.uid in ("", uid)]
    return sorted(mine, key=_position)


def _position(event: Event) -> tuple[int, str, float, float, str, str]:
    # Kubelet's times have whole seconds, the scheduler's have fractions; names end in the nanosecond of the first time.
    first = first_seen(event)
    return int(first), event.metadata.name, first, last_seen(event), event.reason, event.message


def first_seen(event: Event) -> float:
    """Unix seconds."""
    return unix(event.event_time) or unix(event.first_timestamp) or unix(event.metadata.creation_timestamp)


def last_seen(event: Event) -> float:
    """Unix seconds: a repeated event is counted, not written again."""
    return max(unix(event.last_timestamp), first_seen(event))


def outlook(start: Start) -> Outlook:
    """Whether `start` can still work; looks at what is certain first."""
    failure = _image_problem(start) or _missing_secret(start)
    if failure:
        return Outlook(failure)
    limits = [*_create_problems(start), *_unschedulable(start), _deadline(start)]
    passed = next((why for limit, why in limits if start.now >= limit), "")
    return Outlook(passed) if passed else Outlook(recheck=min(limit for limit, _ in limits))


def is_race(pod: Pod, event: Event) -> bool:
    """The pod was quicker than its Secret; nobody needs to know unless it stays so."""
    return _own_secret_missing(pod, event.message) and last_seen(event) - first_seen(event) < SEEN_AGAIN


def _waiting(pod: Pod, reasons: frozenset[str]) -> Iterator[tuple[str, Waiting]]:
    for status in pod.status.container_statuses:
        waiting = status.state.waiting
        if waiting is not None and waiting.reason in reasons:
            yield status.name, waiting


def _image_problem(start: Start) -> str:
    for container, waiting in _waiting(start.pod, IMAGE_PROBLEMS):
        image = next((c.image for c in start.pod.spec.containers if c.name == container), "unknown")
        message = innermost(waiting.message)
        if not message or message.startswith("Back-off"):
            message = _last_pull_failure(start.events, image) or message
        return with_detail(
            f'the image "{image}" of its {container} container cannot be used', message or waiting.reason
        )
    return ""


def _last_pull_failure(events: Sequence[Event], image: str) -> str:
    """Older kubelets only say that they wait after a failure; their events still say what it was."""
    told = [e.message for e in events if e.reason == "Failed" and image in e.message]
    return innermost(told[-1]) if told else ""


def _own_secret_missing(pod: Pod, message: str) -> bool:
    kernel_id = pod.metadata.labels.get("kernel_id", "")
    return bool(kernel_id) and f'secret "kernel-{kernel_id}" not found' in message


def _secret_words(pod: Pod, message: str) -> str:
    if _own_secret_missing(pod, message):
        return "its Secret was never made: the gateway that started it must have ended half-way"
    return ""


def _missing_secret(start: Start) -> str:
    """A volume that waits for the pod's own Secret, and no sign that it came later."""
    missing = [e for e in start.events if e.reason == "FailedMount" and _own_secret_missing(start.pod, e.message)]
    if not missing or start.pod.status.pod_ip:
        return ""
    last = max(map(last_seen, missing))
    repeated = last - min(map(first_seen, missing)) >= SEEN_AGAIN
    moved_on = any(
        e.reason in ("Pulling", "Pulled", "FailedCreatePodSandBox") and last_seen(e) > last for e in start.events
    )
    return _secret_words(start.pod, missing[-1].message) if repeated and not moved_on else ""


def _create_problems(start: Start) -> Iterator[tuple[float, str]]:
    """When each container that cannot be made fails the start, and why."""
    for container, waiting in _waiting(start.pod, CREATE_PROBLEMS):
        message = innermost(waiting.message) or waiting.reason
        why = _secret_words(start.pod, waiting.message) or f"its {container} container cannot be made: {message}"
        seen = [e for e in start.events if e.reason == "Failed" and waiting.message and waiting.message in e.message]
        if seen and max(map(last_seen, seen)) - min(map(first_seen, seen)) >= SEEN_AGAIN:
            yield start.now, why
        else:
            began = min(map(first_seen, seen)) if seen else unix(start.pod.status.start_time) or start.created
            yield began + UNSEEN_GRACE, why


def _unscheduled(pod: Pod) -> Condition | None:
    for condition in pod.status.conditions:
        if (condition.type, condition.status, condition.reason) == ("PodScheduled", "False", "Unschedulable"):
            return condition
    return None


def _unschedulable(start: Start) -> Iterator[tuple[float, str]]:
    """When a pod that no node can take fails, and why."""
    condition = _unscheduled(start.pod)
    if condition is None:
        return
    why = f"no node can take its pod: {schedulers_words(condition.message) or condition.reason}"
    began = unix(condition.last_transition_time) or start.created
    scaling = [e for e in start.events if e.reason in SCALE_UP or e.reason == "NotTriggerScaleUp"]
    answer = max(scaling, key=last_seen, default=None)
    if answer is None:
        yield began + start.patience.unschedulable, why
    elif answer.reason in SCALE_UP:
        yield start.created + start.patience.slow_start, f"{why}; {shortened(answer.message)}"
    else:
        yield start.now, f"{why}; {shortened(answer.message)}"


def _deadline(start: Start) -> tuple[float, str]:
    """When a start that just takes too long fails, and what it was waiting for."""
    limit = start.deadline
    slowest = start.created + start.patience.slow_start
    if _slow_step(start):
        limit = max(limit, slowest)
    else:
        ended_well = [e for e in start.events if e.reason in ("Scheduled", "Pulled")]
        limit = max(limit, min(slowest, max(map(last_seen, ended_well), default=0.0) + SETTLE))
    seconds = max(0, round(limit - start.created))
    return limit, with_detail(f"its pod did not start within {seconds} seconds", _last_words(start))


def _slow_step(start: Start) -> bool:
    """A node is being added or an image is being pulled."""
    if _unscheduled(start.pod) is not None and any(e.reason in SCALE_UP for e in start.events):
        return True
    return any(_pulling(e, start.events) for e in start.events if e.reason == "Pulling")


def _pulling(event: Event, events: Sequence[Event]) -> bool:
    image = _QUOTED.search(event.message)
    if image is None:
        return False
    ends = [last_seen(e) for e in events if e.reason in ("Pulled", "Failed") and image[0] in e.message]
    return not ends or last_seen(event) > max(ends)


def _last_words(start: Start) -> str:
    """What it was waiting for."""
    condition = _unscheduled(start.pod)
    if condition is not None:
        return schedulers_words(condition.message)
    shown = [e for e in start.events if e.message]
    if shown:
        last = max(shown, key=lambda e: (int(last_seen(e)), e.type == "Warning", e.metadata.name))
        return shortened(f"{last.reason}: {last.message}")
    if not start.pod.spec.node_name:
        return "no scheduler has looked for a node"
    states = [(s.name, s.state.waiting) for s in start.pod.status.container_statuses]
    return ", ".join(f"{name} container: {waiting.reason}" for name, waiting in states if waiting is not None)
