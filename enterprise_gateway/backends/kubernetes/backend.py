"""The `Backend` of a Kubernetes cluster.

A kernel is a pod whose annotation holds its record, and a Secret that the pod owns. Pods and the events about them are
watched into a `KernelView`; here is what is done to the cluster. All of it is safe to do twice and from every replica:
creations by name, changes with the version they are based on, deletions with the uid they are meant for. One event
loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from enterprise_gateway.aio import Changes, Tasks
from enterprise_gateway.backends.base import Admission, Launch
from enterprise_gateway.backends.kubernetes.answers import ApiError, ApiUnavailable
from enterprise_gateway.backends.kubernetes.api import KubernetesApi
from enterprise_gateway.backends.kubernetes.informer import Informer
from enterprise_gateway.backends.kubernetes.objects import Event, Pod
from enterprise_gateway.backends.kubernetes.observe import END_ANNOTATION, Observation, StartPatience
from enterprise_gateway.backends.kubernetes.paths import KERNEL_PODS, POD_EVENTS, events_path, pod_path, pods_path
from enterprise_gateway.backends.kubernetes.plan import Planner
from enterprise_gateway.backends.kubernetes.pod import RECORD_ANNOTATION
from enterprise_gateway.backends.kubernetes.starts import ORDER_SECONDS, PodStarts
from enterprise_gateway.backends.kubernetes.view import KernelView, is_newer, kernel_id_of
from enterprise_gateway.backends.report_key import make_report_key
from enterprise_gateway.core.records import EndReport, KernelRecord, ObservedKernel, Phase
from enterprise_gateway.errors import BackendUnavailable, KernelNotFound

log = logging.getLogger(__name__)

SWEEP_SECONDS = 5.0
EVENTS_SECONDS = 30.0
"""How long a verdict waits for the watch of events, which may tell why a start takes longer."""
GONE_SECONDS = 60.0
"""How long an answer about a pod may be under way after its end."""
UPDATE_TRIES = 10
LOG_LINES = 200
LOG_BYTES = 64 * 1024
HTTP_BAD_REQUEST, HTTP_NOT_FOUND, HTTP_CONFLICT = 400, 404, 409


class KubernetesBackend:
    """Kernels as pods."""

    def __init__(
        self,
        api: KubernetesApi,
        planner: Planner,
        patience: StartPatience,
        retention: float,
        namespaces: Iterable[str],
        sweep_seconds: float = SWEEP_SECONDS,
    ) -> None:
        """`retention` is how many seconds an ended pod stays, so that its reason can be read."""
        self._api = api
        self._planner = planner
        self._retention = retention
        self._sweep_seconds = sweep_seconds
        self._changes = Changes()
        self._tasks = Tasks("kubernetes backend")
        self._view = KernelView(patience, self._changes, self._failing)
        self._starting: set[str] = set()
        self._ending: set[str] = set()
        """Uids of pods whose end is being recorded."""
        names = list(dict.fromkeys(namespaces))
        self._pods = {name: Informer(api, pods_path(name), Pod, KERNEL_PODS, self._pod_changed) for name in names}
        self._starts = PodStarts(api, self._view, self._pods, self._changes, self._tasks)
        self._events = {
            name: Informer(api, events_path(name), Event, POD_EVENTS, self._view.put_event) for name in names
        }

    @property
    def same_machine(self) -> bool:
        """A pod shares nothing with the gateway."""
        return False

    @property
    def synced(self) -> bool:
        """Whether all pods have been listed once."""
        return all(informer.synced for informer in self._pods.values())

    async def until_synced(self) -> None:
        """Wait for `synced`."""
        for informer in self._pods.values():
            await informer.until_synced()

    @property
    def kernels(self) -> Mapping[str, ObservedKernel]:
        """Every kernel that has a pod."""
        return self._view.kernels

    async def changed(self, kernel_id: str) -> None:
        """Wait for the next change of one kernel."""
        await self._changes.wait(kernel_id)

    async def run(self) -> None:
        """Watch and sweep until cancelled."""
        try:
            for namespace, events in self._events.items():
                self._tasks.spawn(events.run(), f"watch of events in {namespace}")
            for namespace, pods in self._pods.items():
                self._tasks.spawn(pods.run(), f"watch of pods in {namespace}")
            await self.until_synced()
            while True:
                await asyncio.sleep(self._sweep_seconds)
                await self._sweep()
        finally:
            self._view.close()
            await self._tasks.close()
            await self._api.close()

    def check(self) -> None:
        """Whether the API server answered when it was last asked."""
        if not _in_contact(self._pods):
            raise BackendUnavailable("The Kubernetes API server cannot be reached; running kernels are not affected")

    async def create(self, record: KernelRecord, launch: Launch, admit: Admission | None) -> bool:
        """Create the pod and, once it is clear that this kernel may be, the Secret without which it cannot start."""
        kernel_id = record.kernel_id
        if self._view.held(kernel_id) is not None or kernel_id in self._starting:
            return False
        plan = self._planner.plan(record, launch)
        self.check()
        self._starting.add(kernel_id)
        try:
            if plan.reports:
                plan = msgspec.structs.replace(plan, report_key=await asyncio.to_thread(make_report_key))
            return await self._starts.start(plan, admit)
        finally:
            self._starting.discard(kernel_id)
            self._changes.notify(kernel_id)

    async def update(self, kernel_id: str, change: Callable[[KernelRecord], KernelRecord]) -> KernelRecord:
        """Change the record in the pod's annotation."""
        for _ in range(UPDATE_TRIES):
            held = self._view.held(kernel_id)
            if held is None:
                raise KernelNotFound(kernel_id)
            changed = change(held.record)
            annotation = {RECORD_ANNOTATION: msgspec.json.encode(changed).decode()}
            try:
                self._view.put(await self._patch(held.pod, {"metadata": {"annotations": annotation}}))
            except ApiError as error:
                if error.status == HTTP_NOT_FOUND:
                    self._view.drop(held.pod)
                elif error.status == HTTP_CONFLICT:
                    await self._read_again(held.pod)
                else:
                    raise BackendUnavailable(
                        f"Kubernetes refused to change the kernel's pod: {error.message}"
                    ) from None
            else:
                return changed
        raise BackendUnavailable("The kernel's record is being changed by too many others")

    async def remove(self, kernel_id: str) -> None:
        """Delete the pod; the cluster's garbage collector deletes the Secret that it owns."""
        try:
            for pod in self._view.pods(kernel_id):
                await self._delete(pod)
        except ApiError as error:
            raise BackendUnavailable(f"Kubernetes refused to delete the kernel's pod: {error.message}") from None

    async def logs(self, kernel_id: str) -> str:
        """The end of the kernel container's log."""
        held, observed = self._view.held(kernel_id), self.kernels.get(kernel_id)
        if held is None or observed is None:
            raise KernelNotFound(kernel_id)
        query = {"container": held.pod.kernel_container, "tailLines": str(LOG_LINES), "limitBytes": str(LOG_BYTES)}
        try:
            return await self._api.text(f"{pod_path(held.pod.metadata)}/log", query)
        except ApiError as error:
            if error.status in (HTTP_BAD_REQUEST, HTTP_NOT_FOUND):  # it has not begun, or its node is gone
                return observed.log_tail
            raise BackendUnavailable(f"Kubernetes refused the log of the kernel's pod: {error.message}") from None

    def announce(self, kernel_id: str, host: str) -> None:
        """An agent has said that it listens at `host`."""
        self._view.announce(kernel_id, host)

    # What the cluster says.

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        pod = new or old
        assert pod is not None  # noqa: S101 - an informer tells of something
        if new is not None:
            if not self._starts.takes_back(new):
                # The informer goes back in time when the cluster itself was restored from a backup.
                self._view.put(new, even_older=old is not None and is_newer(old, new))
        else:
            self._view.drop(pod)
        self._changes.notify(kernel_id_of(pod))

    def _failing(self, pod: Pod, seen: Observation, since: float) -> None:
        """Have a pod ended that cannot work any more, and its reason on record for everybody."""
        informed = _in_contact(self._events) or since > EVENTS_SECONDS
        if informed and pod.metadata.uid not in self._ending:
            self._ending.add(pod.metadata.uid)
            self._tasks.spawn(self._record_end(pod, seen), f"end of {pod.metadata.name}")

    # What is done to the cluster.

    async def _record_end(self, pod: Pod, seen: Observation) -> None:
        report = EndReport(reason=seen.reason, time=seen.ended, exit_code=seen.exit_code, log_tail=seen.log_tail)
        change = {
            "metadata": {"annotations": {END_ANNOTATION: msgspec.json.encode(report).decode()}},
            # kubelet ends a pod whose time is up, and the pod stays to be read; a deletion would take the reason along.
            "spec": {"activeDeadlineSeconds": 1},
        }
        try:
            newest = await self._patch(pod, change)
        except ApiUnavailable:
            return  # what is known may be old: the next sweep looks again
        except ApiError as error:
            refusal = error
        else:
            self._view.put(newest)
            return
        finally:
            self._ending.discard(pod.metadata.uid)
        if refusal.status in (HTTP_CONFLICT, HTTP_NOT_FOUND):
            await self._read_again(pod)
        else:
            log.warning("The end of pod %s cannot be recorded: %s", pod.metadata.name, refusal.message)
            self._view.accept_end(pod)

    async def _sweep(self) -> None:
        """Do what is left to do; nothing while the API server is away."""
        if not _in_contact(self._pods):
            return
        now = time.time()
        known = {pod.metadata.uid for pod in self._watched()}
        self._view.forget_gone(known, time.monotonic() - GONE_SECONDS)
        self._view.reconsider()
        await self._starts.sweep(now)
        for kernel_id, observed in list(self.kernels.items()):
            held = self._view.held(kernel_id)
            if held is None:
                continue
            try:
                if observed.phase is Phase.ENDED and now - observed.ended > self._retention:
                    await self._delete(held.pod)
                elif held.pod.metadata.uid not in known and now - held.record.created > ORDER_SECONDS:
                    await self._read_again(held.pod)
            except ApiUnavailable:
                return
            except ApiError as error:
                log.debug("The pod %s of an ended kernel stays: %s", held.pod.metadata.name, error.message)

    def _watched(self) -> Iterator[Pod]:
        for informer in self._pods.values():
            yield from informer.objects.values()

    async def _read_again(self, pod: Pod) -> None:
        """Read a pod about which the watch and an answer of the API server disagree."""
        try:
            found = await self._api.get(pod_path(pod.metadata), Pod)
        except ApiUnavailable:
            return
        except ApiError as error:
            if error.status == HTTP_NOT_FOUND:
                self._view.drop(pod)
            return
        if found.metadata.uid != pod.metadata.uid:
            self._view.drop(pod)
        self._view.put(found)

    async def _patch(self, pod: Pod, change: dict[str, Any]) -> Pod:
        """Change a pod if it is still the version we know."""
        metadata = change.get("metadata", {}) | {"resourceVersion": pod.metadata.resource_version}
        return await self._api.patch(pod_path(pod.metadata), change | {"metadata": metadata}, Pod)

    async def _delete(self, pod: Pod) -> None:
        """Delete a pod, with the time it needs to end; it is not seen here any more."""
        await self._api.delete(pod_path(pod.metadata), uid=pod.metadata.uid)
        self._view.drop(pod)

    def __repr__(self) -> str:
        return f"<KubernetesBackend {len(self.kernels)} kernels>"


def _in_contact(informers: Mapping[str, Informer[Any]]) -> bool:
    """Whether the API server answered all of them when they last asked."""
    return all(informer.in_contact for informer in informers.values())
