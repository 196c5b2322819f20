"""Kernels for principals: what the routes ask, and nothing behind it decides again.

Everything it knows it reads from the backends and from agents. One event loop; calls run side by side.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence

from enterprise_gateway.backends.base import Backend
from enterprise_gateway.core.keys import MasterKeys
from enterprise_gateway.core.lifecycle import KernelState
from enterprise_gateway.core.principals import Principal
from enterprise_gateway.core.records import ObservedKernel, Phase
from enterprise_gateway.errors import KernelNotFound, KernelUnresponsive, StartFailed
from enterprise_gateway.kernels.agents import AgentClient
from enterprise_gateway.kernels.models import KernelHistory, KernelModel, kernel_history
from enterprise_gateway.kernels.policy import StartRequest, StartRules
from enterprise_gateway.kernels.registry import Registry
from enterprise_gateway.kernels.starts import Starter
from enterprise_gateway.kernels.statuses import Statuses
from enterprise_gateway.kernelspecs.catalog import Catalog

log = logging.getLogger(__name__)

SHUTDOWN_MARGIN = 10.0
"""Seconds an agent gets beyond the kernel's own shutdown time."""
CLOSED_AT_ONCE = 8
"""Agents told at the same time to close their websockets."""


class KernelManager:
    """Starts, finds and ends kernels."""

    def __init__(
        self,
        backends: Mapping[str, Backend],
        catalog: Catalog,
        rules: StartRules,
        keys: Mapping[str, MasterKeys],
        environ: Mapping[str, str],
    ) -> None:
        self.catalog = catalog
        self.registry = Registry(backends, keys)
        self.agents = AgentClient()
        self._statuses = Statuses(self.registry, self.agents)
        self._starter = Starter(self.registry, self._statuses, catalog, rules, environ)

    @property
    def rules(self) -> StartRules:
        """The operator's rules for starts."""
        return self._starter.rules

    def follow(self, rules: StartRules) -> None:
        """Use other rules from the next start on."""
        self._starter.rules = rules

    async def get(self, principal: Principal, kernel_id: str) -> KernelModel:
        """A kernel's model with its status of this moment. Raises as `Registry.alive`."""
        observed = self.registry.alive(principal, kernel_id)
        await self._statuses.ask(observed)
        return self._statuses.model(observed)

    async def models(self, observed: Sequence[ObservedKernel]) -> list[KernelModel]:
        """The models of `observed` in the same order, with statuses at most about a second old."""
        await self._statuses.refresh(observed)
        return [self._statuses.model(each) for each in observed]

    async def list(self, principal: Principal) -> Sequence[KernelModel]:
        """The models of all living kernels of `principal`, like `models`."""
        return await self.models(self.registry.visible(principal))

    async def start(self, principal: Principal, request: StartRequest) -> KernelModel:
        """Start a kernel, or find the one that an earlier try of the same request started.

        Returns when the kernel is ready, or after `start_wait` seconds with `execution_state: "starting"`.

        Raises:
            InvalidRequest, KernelSpecNotFound, Forbidden, LimitReached, KernelConflict: nothing was started.
            StartFailed: it did not start; the message says why.
            BackendUnavailable, NotReady: ask again.
        """
        return self._statuses.model(await self._starter.start(principal, request))

    async def interrupt(self, principal: Principal, kernel_id: str) -> None:
        """Interrupt what the kernel does. Raises as `Registry.alive`, and KernelUnresponsive."""
        observed = self.registry.alive(principal, kernel_id)
        await self.agents.interrupt(self.registry.reachable(observed))

    async def restart(self, principal: Principal, kernel_id: str) -> KernelModel:
        """Restart in place; returns when the kernel is ready again or `start_wait` is over.

        Raises as `Registry.alive`, and:
            StartFailed: the new process did not start.
            KernelUnresponsive: the agent does not answer.
        """
        observed = self.registry.alive(principal, kernel_id)
        wait = self.rules.start_wait + self.rules.agent.shutdown_wait
        status = await self.agents.restart(self.registry.reachable(observed), wait)
        self._statuses.note(kernel_id, status)
        if status.state is KernelState.ENDED:
            raise StartFailed(f"The kernel did not start again: {status.reason}")
        return self._statuses.model(observed)

    async def delete(self, principal: Principal, kernel_id: str) -> None:
        """End a kernel, politely first, and leave nothing of it.

        Raises as `Registry.find`, and:
            KernelNotFound: it had ended before; what was left of it is gone now.
            BackendUnavailable: something may be left; ask again.
        """
        observed = self.registry.find(principal, kernel_id)
        await self._end(observed, "it was shut down")
        if observed.phase is Phase.ENDED:
            raise KernelNotFound(kernel_id, observed.reason)

    async def why(self, principal: Principal, kernel_id: str) -> KernelHistory:
        """What is known of a kernel, also for a while after its end. Raises as `Registry.find`."""
        observed = self.registry.find(principal, kernel_id)
        if observed.phase is not Phase.ENDED:
            await self._statuses.ask(observed)
        return kernel_history(observed, self._statuses.model(observed))

    async def logs(self, principal: Principal, kernel_id: str) -> str:
        """The kernel's last output outside of cells. Raises as `Registry.find`."""
        observed = self.registry.find(principal, kernel_id)
        return await self.registry.backend_of(observed).logs(kernel_id)

    async def end_local(self, reason: str) -> None:
        """End every kernel of this machine, for the end of a gateway at its terminal."""
        local = [each for each in self.registry.observed() if self.registry.backend_of(each).same_machine]
        ends = (self._end(each, reason) for each in local)
        for error in await asyncio.gather(*ends, return_exceptions=True):
            if isinstance(error, Exception):
                log.error("A kernel could not be ended: %s", error)

    async def close_websockets(self, via: str, kernel_ids: Iterable[str]) -> None:
        """Have the websockets that replica `via` carries closed politely, a few agents at a time."""
        few = asyncio.Semaphore(CLOSED_AT_ONCE)

        async def close(kernel_id: str) -> None:
            observed = self.registry.lookup(kernel_id)
            address = self.registry.address(observed) if observed else None
            if address is not None:
                async with few:
                    with contextlib.suppress(KernelUnresponsive):
                        await self.agents.close_websockets(address, via, 1012, "the gateway restarts")

        await asyncio.gather(*(close(kernel_id) for kernel_id in kernel_ids))

    async def _end(self, observed: ObservedKernel, reason: str) -> None:
        kernel_id = observed.record.kernel_id
        self.registry.backend_of(observed).check()
        address = self.registry.address(observed)
        if address is not None:
            with contextlib.suppress(KernelUnresponsive):
                wait = self.rules.agent.shutdown_wait + SHUTDOWN_MARGIN
                await self.agents.shutdown(address, reason, wait)
        await self.registry.backend_of(observed).remove(kernel_id)
        self._statuses.forget(kernel_id)
        log.info("Kernel is gone: %s", reason, extra={"kernel_id": kernel_id})

    def __repr__(self) -> str:
        return f"<KernelManager of {self.registry!r}>"
