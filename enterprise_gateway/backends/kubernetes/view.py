"""What is seen of the kernels in a cluster: pods, events about them and agents' own words go in, `kernels` comes out.

Versions of a pod come from a watch and from answers of the API server, in any order, and never take the view
backwards. What a pod means is `observe`'s to say. Whoever owns the view is told of pods that must be ended; that a
kernel ended so is said when it is on record in the pod, for all replicas alike, and not before. Refuses to know the
API server. One event loop; nothing here waits.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from enterprise_gateway.aio import Changes
from enterprise_gateway.backends.kubernetes.objects import Event, Pod
from enterprise_gateway.backends.kubernetes.observe import END_ANNOTATION, Observation, StartPatience, observe
from enterprise_gateway.backends.kubernetes.pod import KERNEL_ID_LABEL, RECORD_ANNOTATION
from enterprise_gateway.core.pods import AGENT_PORT
from enterprise_gateway.core.records import KernelRecord, ObservedKernel, Phase, TlsEndpoint

log = logging.getLogger(__name__)

LATE = 0.05
"""Seconds that a timer goes off after its time, so that it is never before it."""


class Held(NamedTuple):
    """One kernel's pod."""

    pod: Pod
    """Its newest version."""
    record: KernelRecord
    order: int
    """The resource version with which it was created; 0 where nobody was looking."""


class KernelView:
    """The kernels of a cluster."""

    def __init__(
        self, patience: StartPatience, changes: Changes, on_failing: Callable[[Pod, Observation, float], None]
    ) -> None:
        """Nothing is seen yet.

        Args:
            patience: of the operator, with starts.
            changes: is told of every change, by kernel id.
            on_failing: called with a pod whose kernel cannot work, what is seen of it, and for how many seconds that
                has been so. Called again with each look until the end is in the pod's annotation.
        """
        self._patience = patience
        self._changes = changes
        self._on_failing = on_failing
        self._kernels: dict[str, ObservedKernel] = {}
        self._held: dict[str, dict[str, Held]] = {}
        """By kernel id and uid: two replicas may both have made a pod for a moment, and an old one may be ending."""
        self._ids: dict[str, str] = {}
        """Kernel ids by uid."""
        self._events: dict[str, dict[str, Event]] = {}
        """By uid of the pod they are about, and by name."""
        self._hosts: dict[str, str] = {}
        """By kernel id: where an agent said that it listens, which the cluster says a second later."""
        self._failing: dict[str, float] = {}
        """By kernel id: since when (monotonic) it cannot work and that is not on record."""
        self._unrecordable: set[str] = set()
        """Uids of pods that may not be changed."""
        self._unreadable: set[str] = set()
        self._gone: dict[str, float] = {}
        """Uids of pods that are not to be seen any more, and since when (monotonic)."""
        self._rechecks: dict[str, asyncio.TimerHandle] = {}

    @property
    def kernels(self) -> Mapping[str, ObservedKernel]:
        """By id; a live view."""
        return MappingProxyType(self._kernels)

    def held(self, kernel_id: str) -> Held | None:
        """The pod that stands for a kernel: of several, the oldest that is not being deleted."""
        return min(self._held.get(kernel_id, {}).values(), key=_precedence, default=None)

    def pods(self, kernel_id: str) -> list[Pod]:
        """Every pod of a kernel."""
        return [held.pod for held in self._held.get(kernel_id, {}).values()]

    def is_gone(self, pod: Pod) -> bool:
        """Whether it was dropped."""
        return pod.metadata.uid in self._gone

    def created_before(self, pod: Pod) -> Iterator[KernelRecord]:
        """The living kernels with pods that were there when `pod`, as it was answered to its creation, came.

        The cluster counts its writes, so every replica that sees both of two pods says the same. One whose creation
        nobody saw counts as older.
        """
        place = _order(pod)
        for kernel_id, observed in self._kernels.items():
            held = self.held(kernel_id)
            if held is None or kernel_id == kernel_id_of(pod) or observed.phase is Phase.ENDED:
                continue
            if not place or held.order < place:
                yield observed.record

    def put(self, pod: Pod, *, even_older: bool = False) -> None:
        """A version of a pod; one that is not newer than what is known says nothing, unless `even_older`."""
        kernel_id, uid = kernel_id_of(pod), pod.metadata.uid
        before = self._held.get(kernel_id, {}).get(uid)
        if uid in self._gone or (before is not None and not even_older and not is_newer(pod, before.pod)):
            return
        record = self._record(pod, before)
        if record is None:
            self._take_out(kernel_id, uid)
        else:
            order = before.order if before is not None else _order(pod)
            self._held.setdefault(kernel_id, {})[uid] = Held(pod, record, order)
            self._ids[uid] = kernel_id
        self.look_at(kernel_id)

    def drop(self, pod: Pod) -> None:
        """A pod is gone, or on its way out by our own hand: no version of it is taken any more."""
        uid = pod.metadata.uid
        self._gone[uid] = time.monotonic()
        self._unreadable.discard(uid)
        self._take_out(kernel_id_of(pod), uid)
        self.look_at(kernel_id_of(pod))

    def put_event(self, old: Event | None, new: Event | None) -> None:
        """A change of an event: `old` is None for a new one, `new` for one that the cluster has forgotten."""
        event = new or old
        assert event is not None  # noqa: S101 - an informer tells of something
        uid = event.involved_object.uid
        about = self._events.setdefault(uid, {})
        if new is not None:
            about[event.metadata.name] = new
        else:
            about.pop(event.metadata.name, None)
        if not about:
            del self._events[uid]
        if uid in self._ids:
            self.look_at(self._ids[uid])

    def announce(self, kernel_id: str, host: str) -> None:
        """A kernel's agent has said that it listens at `host`."""
        if kernel_id in self._held:
            self._hosts[kernel_id] = host
            self.look_at(kernel_id)
            self._changes.notify(kernel_id)  # news even where the address was known: now somebody listens there

    def accept_end(self, pod: Pod) -> None:
        """The end of a failing pod cannot be recorded: what is seen counts all the same."""
        self._unrecordable.add(pod.metadata.uid)
        self.look_at(kernel_id_of(pod))

    def reconsider(self) -> None:
        """Look again at what fails and is not on record yet."""
        for kernel_id in list(self._failing):
            self.look_at(kernel_id)

    def forget_gone(self, known: Collection[str], before: float) -> None:
        """Forget pods dropped before that time (monotonic), unless their uids are `known` to a watch still."""
        for uid in [uid for uid, since in self._gone.items() if since < before and uid not in known]:
            del self._gone[uid]

    def look_at(self, kernel_id: str) -> None:
        """Work out what a kernel's pod means now."""
        timer = self._rechecks.pop(kernel_id, None)
        if timer is not None:
            timer.cancel()
        held = self.held(kernel_id)
        if held is None:
            self._forget(kernel_id)
            return
        now = time.time()
        events = self._events.get(held.pod.metadata.uid, {})
        seen = observe(held.pod, list(events.values()), held.record.deadline, now, self._patience)
        if seen.recheck is not None:
            wait = max(seen.recheck - now, 0.0) + LATE
            self._rechecks[kernel_id] = asyncio.get_running_loop().call_later(wait, self.look_at, kernel_id)
        if seen.failing and not self._is_decided(held.pod):
            since = self._failing.setdefault(kernel_id, time.monotonic())
            self._show(held.record, _undecided(seen, self._kernels.get(kernel_id)))
            self._on_failing(held.pod, seen, time.monotonic() - since)
        else:
            self._failing.pop(kernel_id, None)
            self._show(held.record, seen)

    def close(self) -> None:
        """Look no more."""
        for timer in self._rechecks.values():
            timer.cancel()
        self._rechecks.clear()

    def _is_decided(self, pod: Pod) -> bool:
        return END_ANNOTATION in pod.metadata.annotations or pod.metadata.uid in self._unrecordable

    def _show(self, record: KernelRecord, seen: Observation) -> None:
        kernel_id = record.kernel_id
        before = self._kernels.get(kernel_id)
        observed = _observed(record, seen, self._hosts.get(kernel_id, ""))
        if observed == before:
            return
        if before is not None and before.phase is not Phase.ENDED and observed.phase is Phase.ENDED:
            log.info("Kernel ended: %s", observed.reason, extra={"kernel_id": kernel_id})
        self._kernels[kernel_id] = observed
        self._changes.notify(kernel_id)

    def _take_out(self, kernel_id: str, uid: str) -> None:
        rivals = self._held.get(kernel_id, {})
        rivals.pop(uid, None)
        if not rivals:
            self._held.pop(kernel_id, None)
        self._ids.pop(uid, None)
        self._unrecordable.discard(uid)

    def _forget(self, kernel_id: str) -> None:
        self._hosts.pop(kernel_id, None)
        self._failing.pop(kernel_id, None)
        if self._kernels.pop(kernel_id, None) is not None:
            self._changes.notify(kernel_id)

    def _record(self, pod: Pod, before: Held | None) -> KernelRecord | None:
        """The record in a pod's annotation; None when it is not one: such a pod is somebody else's business."""
        text = pod.metadata.annotations.get(RECORD_ANNOTATION, "")
        if before is not None and before.pod.metadata.annotations.get(RECORD_ANNOTATION) == text:
            return before.record
        record = read_record(pod)
        if record is None and pod.metadata.uid not in self._unreadable:
            self._unreadable.add(pod.metadata.uid)
            log.warning("Pod %s has a kernel's labels and no readable record; it is left alone", pod.metadata.name)
        return record

    def __repr__(self) -> str:
        return f"<KernelView of {len(self._kernels)} kernels>"


def kernel_id_of(pod: Pod) -> str:
    """Whose pod it is."""
    return pod.metadata.labels.get(KERNEL_ID_LABEL, "")


def read_record(pod: Pod) -> KernelRecord | None:
    """The record in a pod's annotation; None when that is not one, or not this kernel's."""
    try:
        record = msgspec.json.decode(pod.metadata.annotations.get(RECORD_ANNOTATION, ""), type=KernelRecord)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    return record if record.kernel_id == kernel_id_of(pod) else None


def is_newer(pod: Pod, than: Pod) -> bool:
    """Whether one version of a pod comes after another; where the cluster does not count, whatever comes later does."""
    new, old = pod.metadata.resource_version, than.metadata.resource_version
    return int(new) > int(old) if new.isdecimal() and old.isdecimal() else True


def _order(pod: Pod) -> int:
    """The resource version of a pod that has just been created; 0 when it may have been changed since."""
    version = pod.metadata.resource_version
    fresh = not pod.spec.node_name and not pod.status.conditions
    return int(version) if fresh and version.isdecimal() else 0


def _precedence(held: Held) -> tuple[bool, str, str]:
    metadata = held.pod.metadata
    return metadata.deletion_timestamp is not None, metadata.creation_timestamp, metadata.uid


def _undecided(seen: Observation, before: ObservedKernel | None) -> Observation:
    """As it was, until its end is on record."""
    phase = Phase.RUNNING if before is not None and before.phase is Phase.RUNNING else Phase.STARTING
    return msgspec.structs.replace(seen, phase=phase, reason="", ended=0.0, exit_code=None, log_tail="")


def _observed(record: KernelRecord, seen: Observation, announced: str) -> ObservedKernel:
    host = announced or (seen.host if seen.phase is not Phase.STARTING else "")
    return ObservedKernel(
        record=record,
        phase=seen.phase,
        endpoint=TlsEndpoint(host, AGENT_PORT) if host else None,
        reason=seen.reason,
        ended=seen.ended,
        exit_code=seen.exit_code,
        log_tail=seen.log_tail,
        progress=seen.progress,
    )
