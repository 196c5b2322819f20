"""The start of a kernel in a cluster: a pod, its place among the others, its Secret; all of it or nothing.

The pod is first, so that the intent is on record before anything else; without its Secret it cannot run. A start that
fails takes its pod back, also when it can only do so later, and also one of which it was never told that it exists.
Knows nothing of what becomes of kernels. Any number of starts at once, on one event loop.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from enterprise_gateway.aio import Changes, Tasks
from enterprise_gateway.backends.base import Admission
from enterprise_gateway.backends.kubernetes.answers import ApiError, ApiUnavailable
from enterprise_gateway.backends.kubernetes.api import KubernetesApi
from enterprise_gateway.backends.kubernetes.informer import Informer
from enterprise_gateway.backends.kubernetes.makers import ByOperator, BySubmit, Maker
from enterprise_gateway.backends.kubernetes.objects import Pod
from enterprise_gateway.backends.kubernetes.paths import KERNEL_PODS, pod_path, pods_path, secrets_path
from enterprise_gateway.backends.kubernetes.pod import PodPlan, make_pod, make_secret
from enterprise_gateway.backends.kubernetes.submitter import Submitter
from enterprise_gateway.backends.kubernetes.view import KernelView, kernel_id_of, read_record
from enterprise_gateway.errors import BackendUnavailable, StartFailed

log = logging.getLogger(__name__)

ORDER_SECONDS = 5.0
"""How long a new pod may take to appear in the watch."""
SECRET_SECONDS = 10.0
"""How long a kernel's Secret waits for one of the same name that is being collected."""
DOUBT_SECONDS = 600.0
"""How long after its start a request may be carried out that was given up."""
QUOTA_TRIES = 10
QUOTA_PAUSE = 0.1
HTTP_CONFLICT = 409


class PodStarts:
    """Starts pods, and takes back those of starts that failed."""

    def __init__(
        self,
        api: KubernetesApi,
        view: KernelView,
        watched: Mapping[str, Informer[Pod]],
        changes: Changes,
        tasks: Tasks,
    ) -> None:
        """`watched` has the pods of each namespace; `changes` tells of every change of them, by kernel id."""
        self._api = api
        self._view = view
        self._watched = watched
        self._changes = changes
        self._tasks = tasks
        self._submitter = Submitter()
        self._doubts: dict[str, float] = {}
        """By pod name: the `created` of starts whose pod may exist although nobody could be told so."""
        self._unwanted: dict[str, Pod] = {}
        """By uid: pods of starts that failed, which could not be taken back yet."""
        self._undone: set[Maker] = set()
        """Those of starts that failed, which left something that could not be taken back yet."""

    async def start(self, plan: PodPlan, admit: Admission | None) -> bool:
        """Create what a kernel is made of. Returns and raises as `Backend.create`."""
        maker = self._maker(plan)
        if maker is not None:
            return await self._start_by(maker, plan, admit)
        pod = await self._create_pod(plan)
        return pod is not None and await self._complete(plan, pod, admit)

    def _maker(self, plan: PodPlan) -> Maker | None:
        """Who makes the pod in our place."""
        if plan.submission is not None:
            return BySubmit(self._submitter, plan.submission, plan)
        return ByOperator(self._api, plan.application, plan) if plan.application is not None else None

    async def _start_by(self, maker: Maker, plan: PodPlan, admit: Admission | None) -> bool:
        """Have the pod made, and give it the Secret without which it cannot start as soon as it is seen."""
        if plan.pod_name in self._watched[plan.namespace].objects:
            return False
        making = asyncio.ensure_future(maker.make())
        started = False
        try:
            pod = await self._made_pod(plan, making)
            if pod is not None:
                started = await self._complete(plan, pod, admit, functools.partial(maker.settle, making))
            return started
        finally:
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)
            if not started:
                await asyncio.shield(self._tasks.spawn(self._undo(maker), f"undoing of {plan.pod_name}"))

    async def _made_pod(self, plan: PodPlan, making: asyncio.Future[bool]) -> Pod | None:
        """The pod, as soon as it is seen; None when it is another start's."""
        appeared = asyncio.ensure_future(self._appeared(plan))
        try:
            news: set[asyncio.Future[Any]] = {appeared, making}
            await asyncio.wait(news, return_when=asyncio.FIRST_COMPLETED)
            if making.done() and not making.result():
                return None
            pod = await asyncio.wait_for(appeared, ORDER_SECONDS)
        except BaseException as error:
            self._doubt(plan)
            if isinstance(error, TimeoutError):
                raise _untold() from None
            raise
        finally:
            appeared.cancel()
        record = read_record(pod)
        if record is None:
            await self._withdraw(pod)
            raise StartFailed("The kernel's pod was made without what the gateway's template says")
        return pod if record.created == plan.record.created else None

    async def _appeared(self, plan: PodPlan) -> Pod:
        objects = self._watched[plan.namespace].objects
        while (pod := objects.get(plan.pod_name)) is None:
            await self._changes.wait(plan.record.kernel_id)
        return pod

    async def _complete(
        self,
        plan: PodPlan,
        pod: Pod,
        admit: Admission | None,
        settle: Callable[[Pod], Awaitable[None]] | None = None,
    ) -> bool:
        """Give a new pod its Secret, if there is room for it, and settle what is left with whoever made it."""
        self._view.put(pod)
        try:
            if admit is not None:
                await self._wait_for_place(plan, pod)
                admit(self._view.created_before(pod))
            made = await self._create_secret(plan, pod)
            if made and settle is not None:
                await settle(pod)
            self._check_there(pod)
        except BaseException:
            await asyncio.shield(self._tasks.spawn(self._withdraw(pod), f"withdrawal of {pod.metadata.name}"))
            raise
        if not made:
            await self._withdraw(pod)
        return made

    def takes_back(self, pod: Pod) -> bool:
        """Whether a pod that has appeared is that of a start that has failed; it is deleted then."""
        created = self._doubts.get(pod.metadata.name)
        record = read_record(pod) if created is not None else None
        if record is None or record.created != created:
            return False
        del self._doubts[pod.metadata.name]
        self._view.drop(pod)
        self._tasks.spawn(self._withdraw(pod), f"withdrawal of {pod.metadata.name}")
        return True

    async def sweep(self, now: float) -> None:
        """Try again to take back what could not be; `now` in Unix seconds."""
        self._doubts = {name: created for name, created in self._doubts.items() if now - created < DOUBT_SECONDS}
        for pod in list(self._unwanted.values()):
            await self._withdraw(pod)
        for maker in list(self._undone):
            await self._undo(maker)

    async def _create_pod(self, plan: PodPlan) -> Pod | None:
        """The pod; None when there is one of its name."""
        # Strict: a field that a template or a patch misspells would be dropped without a word.
        path, body = f"{pods_path(plan.namespace)}?fieldValidation=Strict", make_pod(plan)
        for _ in range(QUOTA_TRIES):
            try:
                return await self._api.create(path, body, Pod)
            except ApiError as error:
                if error.status != HTTP_CONFLICT:
                    raise StartFailed(f"Kubernetes refused the kernel's pod: {error.message}") from None
                if error.reason == "AlreadyExists":
                    return None
            except ApiUnavailable as error:
                if error.maybe_done:
                    self._doubt(plan)
                raise
            except asyncio.CancelledError:
                self._doubt(plan)
                raise
            await asyncio.sleep(QUOTA_PAUSE)  # several starts at once changed the count of a quota
        raise BackendUnavailable("Kubernetes cannot count so many starts at once; ask again")

    def _doubt(self, plan: PodPlan) -> None:
        """The pod of a failed start may exist, or come to be: it is taken back as soon as it is seen."""
        self._doubts[plan.pod_name] = plan.record.created
        shown = self._watched[plan.namespace].objects.get(plan.pod_name)
        if shown is not None:
            self.takes_back(shown)

    async def _wait_for_place(self, plan: PodPlan, pod: Pod) -> None:
        """Wait until every pod is known that was created before this one.

        Of two replicas that race for the last place both then know who was first. A pod without its Secret cannot run,
        so it does not matter that it is there for a moment.
        """
        objects = self._watched[plan.namespace].objects
        try:
            async with asyncio.timeout(ORDER_SECONDS):
                while (shown := objects.get(plan.pod_name)) is None or shown.metadata.uid != pod.metadata.uid:
                    self._check_there(pod)
                    await self._changes.wait(plan.record.kernel_id)
                for namespace in self._watched.keys() - {plan.namespace}:  # their watches may lag behind this one
                    for other in (await self._api.list(pods_path(namespace), Pod, KERNEL_PODS))[0]:
                        self._view.put(other)
        except TimeoutError:
            raise _untold() from None
        except ApiError as error:
            raise StartFailed(f"Kubernetes refused to list kernels' pods: {error.message}") from None

    async def _create_secret(self, plan: PodPlan, pod: Pod) -> bool:
        """The Secret's name is the kernel's id: False when a pod of another name got it first."""
        path, body = secrets_path(plan.namespace), make_secret(plan, pod.metadata)
        pause, until = 0.05, time.monotonic() + SECRET_SECONDS
        while True:
            try:
                await self._api.create(path, body, _Created)
            except ApiError as error:
                if error.status != HTTP_CONFLICT:
                    raise StartFailed(f"Kubernetes refused the kernel's Secret: {error.message}") from None
            else:
                return True
            # Another pod's, or one of a kernel that had this id before and is not collected yet.
            if self._has_rival(pod) or time.monotonic() > until:
                return False
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)

    def _has_rival(self, pod: Pod) -> bool:
        others = [each.metadata for each in self._view.pods(kernel_id_of(pod)) if each.metadata.uid != pod.metadata.uid]
        return any(other.deletion_timestamp is None for other in others)

    def _check_there(self, pod: Pod) -> None:
        if self._view.is_gone(pod):
            raise StartFailed("The kernel was shut down while it started")

    async def _withdraw(self, pod: Pod) -> None:
        """Take back the pod of a start that has failed."""
        self._view.drop(pod)
        self._unwanted[pod.metadata.uid] = pod
        try:
            await self._api.delete(pod_path(pod.metadata), uid=pod.metadata.uid, grace=0)
        except ApiUnavailable:
            return
        except ApiError as error:  # without its Secret it ends by itself
            log.warning("The pod %s of a failed start stays: %s", pod.metadata.name, error.message)
        self._unwanted.pop(pod.metadata.uid, None)

    async def _undo(self, maker: Maker) -> None:
        """Take back what else there is of a start that has failed."""
        self._undone.add(maker)
        if await maker.undo():
            self._undone.discard(maker)

    def __repr__(self) -> str:
        return f"<PodStarts {len(self._doubts)} in doubt, {len(self._unwanted)} unwanted>"


def _untold() -> BackendUnavailable:
    return BackendUnavailable("The Kubernetes API server does not tell what it creates; ask again")


class _Created(msgspec.Struct):
    """An answer of which nothing is read: a Secret's content stays where it is."""
