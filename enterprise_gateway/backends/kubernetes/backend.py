"""The `Backend` of a Kubernetes cluster.

A kernel is a pod whose annotation holds its record, and a Secret that the pod owns. Pods are watched; what
`kernels` says is worked out from a pod, the events about it and the clock (`observe`), so every replica says the
same. Everything done to the cluster is safe to do twice and from every replica: creations by name, changes with
the version they are based on, deletions with the uid they are meant for. One event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from enterprise_gateway.aio import Changes, Tasks
from enterprise_gateway.backends.base import Admission, Launch
from enterprise_gateway.backends.kubernetes.api import ApiError, ApiUnavailable, KubernetesApi
from enterprise_gateway.backends.kubernetes.informer import Informer
from enterprise_gateway.backends.kubernetes.objects import Event, Metadata, Pod
from enterprise_gateway.backends.kubernetes.observe import END_ANNOTATION, Observation, StartPatience, observe
from enterprise_gateway.backends.kubernetes.plan import Planner
from enterprise_gateway.backends.kubernetes.pod import RECORD_ANNOTATION, PodPlan, make_pod, make_secret
from enterprise_gateway.core.pods import AGENT_PORT
from enterprise_gateway.core.records import EndReport, KernelRecord, ObservedKernel, Phase, TlsEndpoint
from enterprise_gateway.errors import BackendUnavailable, KernelNotFound, StartFailed

log = logging.getLogger(__name__)

SELECTOR = "app=enterprise-gateway,component=kernel"
REAP_SECONDS = 5.0
ORDER_SECONDS = 10.0
"""How long a new pod may take to appear in the watch, where its place among others counts."""
SECRET_SECONDS = 10.0
"""How long a kernel's Secret waits for one of the same name that is being collected."""
UPDATE_TRIES = 10
LOG_LINES = 200
LOG_BYTES = 64 * 1024
HTTP_BAD_REQUEST, HTTP_NOT_FOUND, HTTP_CONFLICT = 400, 404, 409


class KubernetesBackend:
    """Kernels as pods."""

    def __init__(
        self, api: KubernetesApi, planner: Planner, patience: StartPatience, retention: float, namespaces: Iterable[str]
    ) -> None:
        """`retention` is how many seconds an ended pod stays, so that its reason can be read."""
        self._api = api
        self._planner = planner
        self._patience = patience
        self._retention = retention
        self._kernels: dict[str, ObservedKernel] = {}
        self._pods: dict[str, Pod] = {}
        """By kernel id: the newest that is known, from the watch or from an answer of the API server."""
        self._events: dict[str, dict[str, Event]] = {}
        """By uid of the pod they are about, and by name."""
        self._hosts: dict[str, str] = {}
        """By kernel id: where an agent said that it listens, which the cluster says a second later."""
        self._ordering: dict[str, asyncio.Future[list[KernelRecord]]] = {}
        """By pod name: who waits for a pod's place among the others."""
        self._doubtful: dict[str, float] = {}
        """By pod name: the `created` of starts whose pod may exist although nobody could be told so."""
        self._removed: set[str] = set()
        """Uids of pods that are on their way out by our own hand."""
        self._starting: set[str] = set()
        self._ending: set[str] = set()
        self._rivals: set[str] = set()
        """Kernel ids for which a second pod was seen; only one of them gets a Secret."""
        self._rechecks: dict[str, asyncio.TimerHandle] = {}
        self._changes = Changes()
        self._tasks = Tasks("kubernetes backend")
        kinds = [(_pods_path(namespace), _events_path(namespace)) for namespace in dict.fromkeys(namespaces)]
        self._pod_informers = [
            Informer(api, pods, Pod, {"labelSelector": SELECTOR}, self._pod_changed) for pods, _ in kinds
        ]
        about_pods = {"fieldSelector": "involvedObject.kind=Pod"}
        self._event_informers = [Informer(api, events, Event, about_pods, self._event_changed) for _, events in kinds]

    @property
    def same_machine(self) -> bool:
        """A pod shares nothing with the gateway."""
        return False

    @property
    def synced(self) -> bool:
        """Whether all pods have been listed once."""
        return all(informer.synced for informer in self._pod_informers)

    async def until_synced(self) -> None:
        """Wait for `synced`."""
        for informer in self._pod_informers:
            await informer.until_synced()

    @property
    def kernels(self) -> Mapping[str, ObservedKernel]:
        """Every kernel that has a pod."""
        return self._kernels

    async def changed(self, kernel_id: str) -> None:
        """Wait for the next change of one kernel."""
        await self._changes.wait(kernel_id)

    async def run(self) -> None:
        """Watch and sweep until cancelled."""
        try:
            for events in self._event_informers:
                self._tasks.spawn(events.run(), repr(events))
            for pods in self._pod_informers:
                self._tasks.spawn(pods.run(), repr(pods))
            await self.until_synced()
            while True:
                await asyncio.sleep(REAP_SECONDS)
                await self._reap()
        finally:
            for timer in self._rechecks.values():
                timer.cancel()
            await self._tasks.close()
            await self._api.close()

    async def create(self, record: KernelRecord, launch: Launch, admit: Admission | None) -> bool:
        """Create the pod and, once it is clear that this kernel may be, the Secret without which it cannot start."""
        kernel_id = record.kernel_id
        if kernel_id in self._pods or kernel_id in self._starting:
            return False
        plan = self._planner.plan(record, launch)
        if not all(informer.in_contact for informer in self._pod_informers):
            raise BackendUnavailable("The Kubernetes API server cannot be reached; running kernels are not affected")
        self._starting.add(kernel_id)
        try:
            return await self._create(plan, admit)
        finally:
            self._starting.discard(kernel_id)
            self._ordering.pop(plan.pod_name, None)
            self._changes.notify(kernel_id)

    async def update(self, kernel_id: str, change: Callable[[KernelRecord], KernelRecord]) -> KernelRecord:
        """Change the record in the pod's annotation."""
        for _ in range(UPDATE_TRIES):
            pod, observed = self._pods.get(kernel_id), self._kernels.get(kernel_id)
            if pod is None or observed is None:
                raise KernelNotFound(kernel_id)
            changed = change(observed.record)
            annotation = {RECORD_ANNOTATION: msgspec.json.encode(changed).decode()}
            try:
                self._take(await self._patch(pod, {"metadata": {"annotations": annotation}}))
            except ApiError as error:
                if error.status == HTTP_NOT_FOUND:
                    raise KernelNotFound(kernel_id) from None
                if error.status != HTTP_CONFLICT:
                    raise BackendUnavailable(f"Kubernetes refused to change the kernel's pod: {error.message}") from None
                await self._read_again(kernel_id, pod)
            else:
                return changed
        raise BackendUnavailable("The kernel's record is being changed by too many others")

    async def remove(self, kernel_id: str) -> None:
        """Delete the pod; the cluster's garbage collector deletes the Secret that it owns."""
        pod = self._pods.get(kernel_id)
        if pod is not None:
            await self._delete(pod)

    async def logs(self, kernel_id: str) -> str:
        """The end of the kernel container's log."""
        pod, observed = self._pods.get(kernel_id), self._kernels.get(kernel_id)
        if pod is None or observed is None:
            raise KernelNotFound(kernel_id)
        query = {"container": "kernel", "tailLines": str(LOG_LINES), "limitBytes": str(LOG_BYTES)}
        try:
            return await self._api.text(f"{_pod_path(pod.metadata)}/log", query)
        except ApiError as error:
            if error.status in (HTTP_BAD_REQUEST, HTTP_NOT_FOUND):  # it has not begun, or its node is gone
                return observed.log_tail
            raise BackendUnavailable(f"Kubernetes refused the log of the kernel's pod: {error.message}") from None

    def announce(self, kernel_id: str, host: str) -> None:
        """An agent has said that it listens at `host`."""
        if kernel_id in self._pods:
            self._hosts[kernel_id] = host
            self._look_at(kernel_id)

    # Starts.

    async def _create(self, plan: PodPlan, admit: Admission | None) -> bool:
        place = asyncio.get_running_loop().create_future() if admit is not None else None
        if place is not None:
            self._ordering[plan.pod_name] = place
        try:
            pod = await self._api.create(_pods_path(plan.namespace), make_pod(plan), Pod)
        except ApiError as error:
            if error.status == HTTP_CONFLICT:
                return False
            raise StartFailed(f"Kubernetes refused the kernel's pod: {error.message}") from None
        except ApiUnavailable as error:
            if error.maybe_done:
                self._doubtful[plan.pod_name] = plan.record.created
            raise
        self._take(pod)
        try:
            if admit is not None and place is not None:
                admit(await self._others(place))
            if await self._create_secret(plan, pod):
                return True
        except BaseException:
            await asyncio.shield(self._tasks.spawn(self._withdraw(pod), f"withdrawal of {pod.metadata.name}"))
            raise
        await self._withdraw(pod)
        return False

    async def _others(self, place: asyncio.Future[list[KernelRecord]]) -> list[KernelRecord]:
        """The kernels that came before this one, in the order in which the whole cluster sees them.

        Every replica's watch shows pods in the same order, so of two that race for the last place both agree who
        was first. A pod without its Secret cannot start, so it does not matter that it is there for a moment.
        """
        try:
            async with asyncio.timeout(ORDER_SECONDS):
                return await place
        except TimeoutError:
            raise BackendUnavailable("The Kubernetes API server does not tell what it creates; ask again") from None

    async def _create_secret(self, plan: PodPlan, pod: Pod) -> bool:
        """The Secret's name is the kernel's id: False when a pod of another name got it first."""
        path = f"/api/v1/namespaces/{plan.namespace}/secrets"
        body = make_secret(plan, pod.metadata)
        pause, until = 0.05, time.monotonic() + SECRET_SECONDS
        while True:
            try:
                await self._api.create(path, body, _Created)
            except ApiError as error:
                if error.status != HTTP_CONFLICT:
                    raise StartFailed(f"Kubernetes refused the kernel's Secret: {error.message}") from None
            else:
                return True
            # Either another pod's, or one of a kernel that had this id before and is not collected yet.
            if time.monotonic() > until:
                return False
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)

    async def _withdraw(self, pod: Pod) -> None:
        """Take back a pod that must not be; one that cannot be taken back now ends by itself for want of a Secret."""
        with contextlib.suppress(BackendUnavailable):
            await self._delete(pod, grace=0)

    # What the cluster says.

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is not None:
            self._take(new)
            self._settle_doubt(new)
            place = self._ordering.pop(new.metadata.name, None) if old is None else None
            if place is not None and not place.done():
                place.set_result(self._living_but(new))
        elif old is not None:
            self._removed.discard(old.metadata.uid)
            kernel_id = _kernel_id(old)
            held = self._pods.get(kernel_id)
            if held is not None and held.metadata.uid == old.metadata.uid:
                self._forget(kernel_id)
            if kernel_id in self._rivals:
                self._rivals.discard(kernel_id)
                for rival in [each for each in self._watched() if _kernel_id(each) == kernel_id]:
                    self._take(rival)
            self._changes.notify(kernel_id)

    def _settle_doubt(self, pod: Pod) -> None:
        """A pod that was created although its start was answered with an error must not stay."""
        created = self._doubtful.get(pod.metadata.name)
        record = _record(pod) if created is not None else None
        if record is not None and record.created == created:
            del self._doubtful[pod.metadata.name]
            self._tasks.spawn(self._withdraw(pod), f"withdrawal of {pod.metadata.name}")

    def _living_but(self, pod: Pod) -> list[KernelRecord]:
        """Records of the kernels that the watch has shown before this pod."""
        ids = {_kernel_id(each) for each in self._watched()} - {_kernel_id(pod)}
        observed = [self._kernels[each] for each in ids if each in self._kernels]
        return [each.record for each in observed if each.phase is not Phase.ENDED]

    def _watched(self) -> Iterator[Pod]:
        for informer in self._pod_informers:
            yield from informer.objects.values()

    def _event_changed(self, old: Event | None, new: Event | None) -> None:
        event = new or old
        if event is None:
            return
        about = self._events.setdefault(event.involved_object.uid, {})
        if new is not None:
            about[new.metadata.name] = new
        elif not about.pop(event.metadata.name, None) or not about:
            self._events.pop(event.involved_object.uid, None)
        for informer in self._pod_informers:
            pod = informer.objects.get(event.involved_object.name)
            if pod is not None and pod.metadata.uid == event.involved_object.uid:
                self._look_at(_kernel_id(pod))

    def _take(self, pod: Pod) -> None:
        """A version of a pod; an older one than what is known already says nothing."""
        kernel_id = _kernel_id(pod)
        held = self._pods.get(kernel_id)
        if held is not None and not _replaces(pod.metadata, held.metadata):
            if held.metadata.uid != pod.metadata.uid:
                self._rivals.add(kernel_id)
            return
        if pod.metadata.uid not in self._removed:
            self._pods[kernel_id] = pod
            self._look_at(kernel_id)

    def _look_at(self, kernel_id: str) -> None:
        """Work out what a kernel's pod means now."""
        timer = self._rechecks.pop(kernel_id, None)
        if timer is not None:
            timer.cancel()
        pod = self._pods.get(kernel_id)
        record = _record(pod) if pod else None
        if pod is None or record is None:
            return
        now = time.time()
        events = self._events.get(pod.metadata.uid, {})
        seen = observe(pod, list(events.values()), record.deadline, now, self._patience)
        if seen.recheck is not None:
            loop = asyncio.get_running_loop()
            self._rechecks[kernel_id] = loop.call_later(max(seen.recheck - now, 0.0) + 0.05, self._look_at, kernel_id)
        self._set(_observed(record, seen, self._hosts.get(kernel_id, "")))
        if seen.failing and END_ANNOTATION not in pod.metadata.annotations:
            self._end(kernel_id, pod, seen)

    def _set(self, observed: ObservedKernel) -> None:
        kernel_id = observed.record.kernel_id
        before = self._kernels.get(kernel_id)
        if observed == before:
            return
        if observed.phase is Phase.ENDED and (before is None or before.phase is not Phase.ENDED):
            log.info("Kernel ended: %s", observed.reason, extra={"kernel_id": kernel_id})
        self._kernels[kernel_id] = observed
        self._changes.notify(kernel_id)

    def _forget(self, kernel_id: str) -> None:
        self._kernels.pop(kernel_id, None)
        self._pods.pop(kernel_id, None)
        self._hosts.pop(kernel_id, None)
        timer = self._rechecks.pop(kernel_id, None)
        if timer is not None:
            timer.cancel()
        self._changes.notify(kernel_id)

    # What is done to the cluster.

    def _end(self, kernel_id: str, pod: Pod, seen: Observation) -> None:
        """Have a pod that cannot start any more ended, and its reason on record for everybody."""
        if pod.metadata.uid in self._ending:
            return
        self._ending.add(pod.metadata.uid)
        task = self._tasks.spawn(self._record_end(pod, seen), f"end of {kernel_id}")
        task.add_done_callback(lambda _: self._ending.discard(pod.metadata.uid))

    async def _record_end(self, pod: Pod, seen: Observation) -> None:
        report = EndReport(reason=seen.reason, time=seen.ended, exit_code=seen.exit_code, log_tail=seen.log_tail)
        change = {
            "metadata": {"annotations": {END_ANNOTATION: msgspec.json.encode(report).decode()}},
            # kubelet ends a pod whose time is up, and the pod stays to be read; a deletion would take the reason along.
            "spec": {"activeDeadlineSeconds": 1},
        }
        try:
            self._take(await self._patch(pod, change))
        except (ApiError, BackendUnavailable) as error:
            # Somebody else was quicker, or it is tried again with the next look at the pod.
            log.info("The end of a pod was not recorded: %s", error.message, extra={"kernel_id": _kernel_id(pod)})

    async def _reap(self) -> None:
        """Delete pods that have been readable for long enough; look again at those that should have ended."""
        now = time.time()
        known = {pod.metadata.uid for pod in self._watched()}
        for kernel_id, observed in list(self._kernels.items()):
            pod = self._pods[kernel_id]
            if observed.phase is not Phase.ENDED:
                if pod.metadata.uid not in known and now - observed.record.created > ORDER_SECONDS:
                    await self._read_again(kernel_id, pod)
            elif now - observed.ended > self._retention:
                try:
                    await self._delete(pod)
                except BackendUnavailable as error:
                    log.warning("An ended kernel's pod stays for now: %s", error.message)
                    return
            else:
                self._look_at(kernel_id)

    async def _read_again(self, kernel_id: str, pod: Pod) -> None:
        """Read a pod about which the watch and an answer of the API server disagree."""
        try:
            self._take(await self._api.get(_pod_path(pod.metadata), Pod))
        except ApiError as error:
            if error.status == HTTP_NOT_FOUND and self._pods.get(kernel_id) is pod:
                self._forget(kernel_id)
        except BackendUnavailable:
            return

    async def _patch(self, pod: Pod, change: dict[str, Any]) -> Pod:
        """Change a pod if it is still the version we know."""
        metadata = change.get("metadata", {}) | {"resourceVersion": pod.metadata.resource_version}
        return await self._api.patch(_pod_path(pod.metadata), change | {"metadata": metadata}, Pod)

    async def _delete(self, pod: Pod, grace: int | None = None) -> None:
        try:
            await self._api.delete(_pod_path(pod.metadata), uid=pod.metadata.uid, grace=grace)
        except ApiError as error:
            raise BackendUnavailable(f"Kubernetes refused to delete the kernel's pod: {error.message}") from None
        self._removed.add(pod.metadata.uid)
        kernel_id = _kernel_id(pod)
        held = self._pods.get(kernel_id)
        if held is not None and held.metadata.uid == pod.metadata.uid:
            self._forget(kernel_id)

    def __repr__(self) -> str:
        return f"<KubernetesBackend {len(self._kernels)} kernels>"


class _Created(msgspec.Struct):
    """An answer of which nothing is read: a Secret's content stays where it is."""


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


def _record(pod: Pod) -> KernelRecord | None:
    """The record in a pod's annotation; None when it is not one: such a pod is somebody else's business."""
    try:
        record = msgspec.json.decode(pod.metadata.annotations.get(RECORD_ANNOTATION, ""), type=KernelRecord)
    except msgspec.MsgspecError as error:
        log.warning("Pod %s has no readable record: %s", pod.metadata.name, error)
        return None
    return record if record.kernel_id == _kernel_id(pod) else None


def _kernel_id(pod: Pod) -> str:
    return pod.metadata.labels.get("kernel_id", "")


def _replaces(new: Metadata, held: Metadata) -> bool:
    """Whether one version of a pod takes the place of another with the same kernel id."""
    if new.uid != held.uid:
        return held.deletion_timestamp is not None
    if new.resource_version.isdecimal() and held.resource_version.isdecimal():
        return int(new.resource_version) > int(held.resource_version)
    return True


def _pods_path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods"


def _events_path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/events"


def _pod_path(metadata: Metadata) -> str:
    return f"{_pods_path(metadata.namespace)}/{metadata.name}"
