"""What agents last said of their kernels, about a second old at most where it matters.

May be lost at any moment. One event loop; however many ask at once, an agent is asked once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from enterprise_gateway.core.agents import AgentStatus
from enterprise_gateway.core.records import ObservedKernel
from enterprise_gateway.errors import KernelUnresponsive
from enterprise_gateway.kernels.agents import AgentClient
from enterprise_gateway.kernels.models import KernelModel, kernel_model
from enterprise_gateway.kernels.registry import Registry

FRESH_SECONDS = 1.0
"""How old a status in a list may be."""
FRESH_SECONDS_PER_KERNEL = 0.002
"""In lists of more than 500: to ask an agent takes the gateway a third of a millisecond."""
ASKED_AT_ONCE = 100
"""Agents asked at the same time: each may need a TLS handshake. Those that wait for a turn have no time limit yet."""
PATIENCE_SECONDS = 1.0
"""How long a list waits for agents that do not answer: the node of some may be gone, and all others want their list."""


class Statuses:
    """The last known status of each kernel."""

    def __init__(self, registry: Registry, agents: AgentClient) -> None:
        self._registry = registry
        self._agents = agents
        self._known: dict[str, tuple[float, AgentStatus]] = {}
        self._models: dict[str, tuple[ObservedKernel, AgentStatus | None, KernelModel]] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(ASKED_AT_ONCE)

    def note(self, kernel_id: str, status: AgentStatus) -> None:
        """An agent said this just now."""
        known = self._known.get(kernel_id)
        self._known[kernel_id] = (time.monotonic(), known[1] if known and known[1] == status else status)

    def forget(self, kernel_id: str) -> None:
        """The kernel is gone."""
        self._known.pop(kernel_id, None)
        self._models.pop(kernel_id, None)

    def model(self, observed: ObservedKernel) -> KernelModel:
        """A kernel's model from what is known now; the same object as long as nothing has changed."""
        kernel_id = observed.record.kernel_id
        known = self._known.get(kernel_id)
        status = known[1] if known else None
        made = self._models.get(kernel_id)
        if made is not None and made[0] is observed and made[1] is status:
            return made[2]
        model = kernel_model(observed, status)
        self._models[kernel_id] = (observed, status, model)
        return model

    async def refresh(self, observed: Iterable[ObservedKernel]) -> None:
        """Ask, in parallel, the agents of those kernels whose status is too old."""
        wanted = list(observed)
        oldest = time.monotonic() - max(FRESH_SECONDS, len(wanted) * FRESH_SECONDS_PER_KERNEL)
        stale = [each for each in wanted if self._noted_at(each.record.kernel_id) < oldest]
        if stale:
            # Those that take longer are asked on; meanwhile what they said last is as good as anything.
            await asyncio.wait({self._asking_of(each) for each in stale}, timeout=PATIENCE_SECONDS)
            self._forget_unknown()

    async def ask(self, observed: ObservedKernel) -> None:
        """Ask one agent now; one that does not answer in time leaves the last known status."""
        await asyncio.shield(self._asking_of(observed))

    def _asking_of(self, observed: ObservedKernel) -> asyncio.Task[None]:
        kernel_id = observed.record.kernel_id
        asking = self._asking.get(kernel_id)
        if asking is None:
            asking = asyncio.create_task(self._ask(observed), name=f"status of {kernel_id}")
            self._asking[kernel_id] = asking
            asking.add_done_callback(lambda _: self._asking.pop(kernel_id))
        return asking

    def _forget_unknown(self) -> None:
        """Kernels that ended by themselves are nobody's to delete."""
        for kernel_id in [each for each in self._known if self._registry.lookup(each) is None]:
            self.forget(kernel_id)

    async def when_started(self, observed: ObservedKernel, timeout: float) -> AgentStatus | None:
        """The status once the kernel has started or ended, or after `timeout` seconds; None if its agent is gone."""
        try:
            status = await self._agents.status(self._registry.reachable(observed), wait=timeout)
        except KernelUnresponsive:
            return None
        self.note(observed.record.kernel_id, status)
        return status

    async def _ask(self, observed: ObservedKernel) -> None:
        try:
            address = self._registry.address(observed)
            if address is not None:
                async with self._turns:
                    self.note(observed.record.kernel_id, await self._agents.status(address))
        except KernelUnresponsive:
            return

    def _noted_at(self, kernel_id: str) -> float:
        known = self._known.get(kernel_id)
        return known[0] if known else float("-inf")

    def __repr__(self) -> str:
        return f"<Statuses {len(self._known)} known>"
