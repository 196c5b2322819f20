"""Kernels for principals: the one place that decides who sees, starts and ends what.

Everything it knows it reads from the backend and from agents; what it remembers itself (statuses about a second
old) may be lost at any moment. One event loop; calls run side by side.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from enterprise_gateway.backends.base import Backend, Launch
from enterprise_gateway.core.agents import AgentStatus
from enterprise_gateway.core.environment import EnvironmentSources, build_environment, parse_client_env
from enterprise_gateway.core.keys import MasterKeys
from enterprise_gateway.core.launch import parse_kernel_id, parse_launch_timeout
from enterprise_gateway.core.lifecycle import KernelState
from enterprise_gateway.core.principals import Principal
from enterprise_gateway.core.records import KernelRecord, ObservedKernel, Phase
from enterprise_gateway.errors import (
    Forbidden,
    KernelConflict,
    KernelNotFound,
    KernelUnresponsive,
    NotReady,
    StartFailed,
)
from enterprise_gateway.kernels.agents import Address, AgentClient
from enterprise_gateway.kernels.models import KernelHistory, KernelModel, kernel_history, kernel_model
from enterprise_gateway.kernels.policy import (
    StartRequest,
    StartRules,
    check_limits,
    username_for,
    working_directory,
)
from enterprise_gateway.kernelspecs.access import may_use
from enterprise_gateway.kernelspecs.catalog import Catalog
from enterprise_gateway.kernelspecs.model import KernelSpec

log = logging.getLogger(__name__)

FRESH_SECONDS = 1.0
"""How old a status in a list may be."""
SHUTDOWN_MARGIN = 10.0
"""Seconds an agent gets beyond the kernel's own shutdown time."""


class KernelManager:
    """Starts, finds and ends kernels."""

    def __init__(
        self,
        backends: Mapping[str, Backend],
        catalog: Catalog,
        rules: StartRules,
        keys: MasterKeys,
        environ: Mapping[str, str],
    ) -> None:
        self.catalog = catalog
        self.rules = rules
        self._backends = backends
        self._keys = keys
        self._environ = environ
        self.agents = AgentClient()
        self._statuses: dict[str, tuple[float, AgentStatus]] = {}
        self._refreshing: asyncio.Task[None] | None = None
        self._claiming: dict[str, KernelRecord] = {}

    # Looking.

    @property
    def ready(self) -> bool:
        """Whether the whole state is known."""
        return all(backend.synced for backend in self._backends.values())

    def observed(self) -> Iterable[ObservedKernel]:
        """Every kernel of every backend.

        Raises:
            NotReady: some are not known yet.
        """
        if not self.ready:
            raise NotReady
        for backend in self._backends.values():
            yield from backend.kernels.values()

    def visible(self, principal: Principal) -> list[ObservedKernel]:
        """The living kernels that exist for `principal`. Raises as `observed`."""
        return [
            observed
            for observed in self.observed()
            if observed.phase is not Phase.ENDED and principal.may_see(observed.record.owner)
        ]

    def find(self, principal: Principal, kernel_id: str) -> ObservedKernel:
        """One kernel that exists for `principal`, ended or not.

        Raises:
            KernelNotFound: there is none; somebody else's is none.
            NotReady: it is not known yet.
        """
        observed = self._lookup(kernel_id)
        if observed is None or not principal.may_see(observed.record.owner):
            raise KernelNotFound(kernel_id)
        return observed

    def alive(self, principal: Principal, kernel_id: str) -> ObservedKernel:
        """Like `find`, but an ended kernel does not exist either; the error says why it ended."""
        observed = self.find(principal, kernel_id)
        if observed.phase is Phase.ENDED:
            raise KernelNotFound(kernel_id, observed.reason)
        return observed

    def address(self, observed: ObservedKernel) -> Address | None:
        """How to reach the kernel's agent; None while that is not known."""
        record = observed.record
        if observed.endpoint is None:
            return None
        if not self._keys.knows(record.key_id):
            raise KernelUnresponsive(f"The master key {record.key_id} of this kernel is not in the key file")
        return Address(observed.endpoint, self._keys.secrets(record.key_id, record.kernel_id).token)

    async def get(self, principal: Principal, kernel_id: str) -> KernelModel:
        """A kernel's model with its status of this moment. Raises as `alive`."""
        observed = self.alive(principal, kernel_id)
        await self._refresh(observed)
        return self.model(observed)

    async def list(self, principal: Principal) -> list[KernelModel]:
        """The models of all living kernels of `principal`, with statuses at most about a second old."""
        observed = self.visible(principal)
        await self.refresh(observed)
        return [self.model(each) for each in observed]

    async def refresh(self, observed: Iterable[ObservedKernel]) -> None:
        """Ask, in parallel, the agents of those kernels whose status is too old."""
        now = time.monotonic()
        stale = [each for each in observed if now - self._age(each.record.kernel_id) > FRESH_SECONDS]
        if stale:
            await asyncio.gather(*(self._refresh(each) for each in stale))

    def model(self, observed: ObservedKernel) -> KernelModel:
        """A kernel's model from what is known now."""
        cached = self._statuses.get(observed.record.kernel_id)
        return kernel_model(observed, cached[1] if cached else None)

    async def changed(self, observed: ObservedKernel) -> None:
        """Wait for news about a kernel from its backend."""
        await self._backends[observed.record.backend].changed(observed.record.kernel_id)

    # Acting.

    async def start(self, principal: Principal, request: StartRequest) -> KernelModel:
        """Start a kernel, or find the one that an earlier try of the same request started.

        Returns when the kernel is ready, or after `start_wait` seconds with `execution_state: "starting"`.

        Raises:
            InvalidRequest, KernelSpecNotFound, Forbidden, LimitReached, KernelConflict: nothing was started.
            StartFailed: it did not start; the message says why.
            BackendUnavailable, NotReady: ask again.
        """
        spec = self.catalog.get(request.name or self.catalog.default)
        client_env = parse_client_env(request.env, self.rules.client_envs)
        username = username_for(principal, client_env)
        self._check_spec(spec, username)
        kernel_id = parse_kernel_id(client_env["KERNEL_ID"]) if "KERNEL_ID" in client_env else str(uuid.uuid4())
        observed = await self._existing(principal, kernel_id, spec)
        if observed is None:
            record = self._record(principal, kernel_id, spec, username, client_env)
            launch = self._launch(record, spec, client_env, request.path)
            observed = await self._claim(record, launch, principal, spec)
        return await self._await_start(observed)

    async def interrupt(self, principal: Principal, kernel_id: str) -> None:
        """Interrupt what the kernel does. Raises as `alive`, and KernelUnresponsive."""
        await self.agents.interrupt(self._reachable(self.alive(principal, kernel_id)))

    async def restart(self, principal: Principal, kernel_id: str) -> KernelModel:
        """Restart in place; returns when the kernel is ready again or `start_wait` is over.

        Raises as `alive`, and:
            StartFailed: the new process did not start.
            KernelUnresponsive: the agent does not answer.
        """
        observed = self.alive(principal, kernel_id)
        wait = self.rules.start_wait + self.rules.agent.shutdown_wait
        status = await self.agents.restart(self._reachable(observed), wait)
        self._note(kernel_id, status)
        if status.state is KernelState.ENDED:
            raise StartFailed(f"The kernel did not start again: {status.reason}")
        return self.model(observed)

    async def delete(self, principal: Principal, kernel_id: str) -> None:
        """End a kernel, politely first, and leave nothing of it. Raises as `find`, and BackendUnavailable."""
        observed = self.find(principal, kernel_id)
        await self._end(observed, "it was shut down")
        if observed.phase is Phase.ENDED:
            raise KernelNotFound(kernel_id, observed.reason)

    async def end_all(self, reason: str) -> None:
        """End every kernel of every backend that runs them here, for the end of a foreground gateway."""
        ends = (self._end(each, reason) for each in list(self.observed()))
        for error in await asyncio.gather(*ends, return_exceptions=True):
            if isinstance(error, Exception):
                log.error("A kernel could not be ended: %s", error)

    async def close_websockets(self, via: str, kernel_ids: Iterable[str]) -> None:
        """Have the websockets that replica `via` carries closed politely, a few agents at a time."""
        few = asyncio.Semaphore(8)

        async def one(kernel_id: str) -> None:
            observed = self._lookup(kernel_id)
            address = self.address(observed) if observed else None
            if address is not None:
                async with few:
                    with contextlib.suppress(KernelUnresponsive):
                        await self.agents.close_websockets(address, via, 1012, "the gateway restarts")

        await asyncio.gather(*(one(kernel_id) for kernel_id in kernel_ids))

    async def logs(self, principal: Principal, kernel_id: str) -> str:
        """The kernel's last output outside of cells. Raises as `find`."""
        observed = self.find(principal, kernel_id)
        return await self._backends[observed.record.backend].logs(kernel_id)

    async def why(self, principal: Principal, kernel_id: str) -> KernelHistory:
        """What is known of a kernel, also for a while after its end. Raises as `find`."""
        observed = self.find(principal, kernel_id)
        if observed.phase is not Phase.ENDED:
            await self._refresh(observed)
        return kernel_history(observed, self.model(observed))

    def backend_of(self, observed: ObservedKernel) -> Backend:
        """Where the kernel runs."""
        return self._backends[observed.record.backend]

    # A start, step by step.

    def _check_spec(self, spec: KernelSpec, username: str) -> None:
        decision = may_use(spec, username, self.rules.authorized_users, self.rules.unauthorized_users)
        if not decision.allowed:
            raise Forbidden(decision.reason)
        if spec.placement.backend not in self._backends:
            named = spec.placement.named or spec.placement.backend
            known = ", ".join(sorted(self._backends))
            raise StartFailed(
                f"Kernel spec {spec.name!r} asks for {named!r}, which this gateway does not offer; it has: {known}"
            )

    async def _existing(self, principal: Principal, kernel_id: str, spec: KernelSpec) -> ObservedKernel | None:
        observed = self._lookup(kernel_id)
        if observed is None:
            return None
        if observed.record.owner != principal.name or observed.record.spec_name != spec.name:
            raise KernelConflict(f"KERNEL_ID {kernel_id} is in use; leave it out or choose another UUID")
        if observed.phase is Phase.ENDED:
            await self._end(observed, observed.reason)
            return None
        return observed

    def _record(
        self, principal: Principal, kernel_id: str, spec: KernelSpec, username: str, env: Mapping[str, str]
    ) -> KernelRecord:
        now = time.time()
        timeout = parse_launch_timeout(env.get("KERNEL_LAUNCH_TIMEOUT"), self.rules.launch_timeout)
        return KernelRecord(
            kernel_id=kernel_id,
            spec_name=spec.name,
            backend=spec.placement.backend,
            owner=principal.name,
            username=username,
            created=now,
            deadline=now + timeout,
            key_id=self._keys.newest_id,
        )

    def _launch(self, record: KernelRecord, spec: KernelSpec, client_env: Mapping[str, str], path: str) -> Launch:
        sources = EnvironmentSources(
            gateway=self._environ,
            inherited_envs=self.rules.inherited_envs,
            spec=spec.env,
            client=client_env,
            kernel_id=record.kernel_id,
            username=record.username,
            language=spec.language,
        )
        cwd = client_env.get("KERNEL_WORKING_DIR", "") if not path else ""
        return Launch(
            argv=spec.argv,
            namespace={"kernel_id": record.kernel_id, "resource_dir": spec.resource_dir},
            env=build_environment(sources),
            cwd=existing_directory(self.rules.root_dir, path, cwd),
            interrupt_mode=spec.interrupt_mode.value,
            config=spec.placement.config,
            secrets=self._keys.secrets(record.key_id, record.kernel_id),
            rules=msgspec.structs.replace(self.rules.agent, start_timeout=record.deadline - record.created),
        )

    async def _claim(
        self, record: KernelRecord, launch: Launch, principal: Principal, spec: KernelSpec
    ) -> ObservedKernel:
        others = {each.record.kernel_id: each.record for each in self.observed() if each.phase is not Phase.ENDED}
        others |= self._claiming
        others.pop(record.kernel_id, None)
        check_limits(self.rules, record.username, others.values())
        self._claiming[record.kernel_id] = record
        try:
            created = await self._backends[record.backend].create(record, launch)
        finally:
            self._claiming.pop(record.kernel_id, None)
        if created:
            log.info(
                "Kernel %s is started for %s",
                record.spec_name,
                record.username,
                extra={"kernel_id": record.kernel_id},
            )
        observed = self._lookup(record.kernel_id)
        while observed is None:
            await self._backends[record.backend].changed(record.kernel_id)
            observed = await self._existing(principal, record.kernel_id, spec)
        return observed

    async def _await_start(self, observed: ObservedKernel) -> KernelModel:
        kernel_id = observed.record.kernel_id
        deadline = time.monotonic() + self.rules.start_wait
        while (remaining := deadline - time.monotonic()) > 0:
            current = self._lookup(kernel_id)
            if current is None:
                raise StartFailed("The kernel was shut down while it started")
            if current.phase is Phase.ENDED:
                raise _start_failed(current)
            address = self.address(current)
            try:
                if address is None:
                    async with asyncio.timeout(remaining):
                        await self.changed(current)
                    continue
                status = await self.agents.status(address, wait=remaining)
            except TimeoutError:
                break
            except KernelUnresponsive:
                await self._news(current, remaining)
                continue
            self._note(kernel_id, status)
            if status.state is not KernelState.ENDED:
                break
            await self._news(current, remaining)
        return self.model(self._lookup(kernel_id) or observed)

    async def _news(self, observed: ObservedKernel, timeout: float) -> None:
        """The agent has gone or is about to: wait for the backend to see it."""
        if self._lookup(observed.record.kernel_id) is not observed:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(timeout, 2.0)):
                await self.changed(observed)

    # Small things.

    def _lookup(self, kernel_id: str) -> ObservedKernel | None:
        if not self.ready:
            raise NotReady
        for backend in self._backends.values():
            observed = backend.kernels.get(kernel_id)
            if observed is not None:
                return observed
        return None

    def _reachable(self, observed: ObservedKernel) -> Address:
        address = self.address(observed)
        if address is None:
            raise KernelUnresponsive("The kernel is still starting")
        return address

    async def _end(self, observed: ObservedKernel, reason: str) -> None:
        kernel_id = observed.record.kernel_id
        address = self.address(observed)
        if address is not None:
            with contextlib.suppress(KernelUnresponsive):
                await self.agents.shutdown(address, reason, self.rules.agent.shutdown_wait + SHUTDOWN_MARGIN)
            self.agents.forget(address.endpoint)
        await self.backend_of(observed).remove(kernel_id)
        self._statuses.pop(kernel_id, None)
        log.info("Kernel is gone: %s", reason, extra={"kernel_id": kernel_id})

    async def _refresh(self, observed: ObservedKernel) -> None:
        """Ask one agent; one that does not answer in time leaves the last known status."""
        with contextlib.suppress(KernelUnresponsive):
            address = self.address(observed)
            if address is not None:
                self._note(observed.record.kernel_id, await self.agents.status(address))

    def _note(self, kernel_id: str, status: AgentStatus) -> None:
        self._statuses[kernel_id] = (time.monotonic(), status)

    def _age(self, kernel_id: str) -> float:
        cached = self._statuses.get(kernel_id)
        return cached[0] if cached else float("-inf")

    def __repr__(self) -> str:
        return f"<KernelManager {', '.join(self._backends)}>"


def existing_directory(root: str, path: str, wanted: str) -> str:
    """Where a kernel begins: the nearest existing folder on the way to `path` below `root`, or `wanted`.

    `wanted` (`KERNEL_WORKING_DIR`) is a path on the client's machine: it counts only where it exists here too.
    """
    if wanted and Path(wanted).is_dir():
        return wanted
    folder = Path(root) / working_directory(path)
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return str(folder)


def _start_failed(observed: ObservedKernel) -> StartFailed:
    tail = observed.log_tail.strip()
    return StartFailed(observed.reason + (f"\n{tail}" if tail else ""))
