"""A place for kernels that holds them in memory and does what a test tells it, when it tells it.

Forces what no real backend does on request: an agent that appears late, a start that is held, a state that is
not known yet. One event loop, the test's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec

from enterprise_gateway.aio import Changes
from enterprise_gateway.backends.base import Admission, Launch
from enterprise_gateway.core.records import KernelRecord, ObservedKernel, Phase, UnixEndpoint
from enterprise_gateway.errors import BackendUnavailable, KernelNotFound


class FakeBackend:
    """A `Backend` under a test's control."""

    same_machine = True

    def __init__(self) -> None:
        self.synced = True
        self.reachable = True
        self.kernels: dict[str, ObservedKernel] = {}
        self.launches: dict[str, Launch] = {}
        self.creating = asyncio.Semaphore(0)
        """Released once by each `create` that has begun."""
        self.may_create = asyncio.Event()
        """Cleared by a test that wants to hold starts."""
        self.may_create.set()
        self.shows_at_once = True
        """Whether a new kernel is in `kernels` when `create` returns; a watched store shows it a moment later."""
        self._changes = Changes()
        self._watched: list[str] = []

    async def run(self) -> None:
        """There is nothing to watch."""

    def check(self) -> None:
        if not self.reachable:
            raise BackendUnavailable

    async def create(self, record: KernelRecord, launch: Launch, admit: Admission | None) -> bool:
        self.creating.release()
        await self.may_create.wait()
        if admit is not None:
            admit(each.record for each in self.kernels.values() if each.phase is not Phase.ENDED)
        if record.kernel_id in self.launches:
            return False
        self.launches[record.kernel_id] = launch
        if self.shows_at_once:
            self.put(record)
        return True

    async def update(self, kernel_id: str, change: Callable[[KernelRecord], KernelRecord]) -> KernelRecord:
        if kernel_id not in self.kernels:
            raise KernelNotFound(kernel_id)
        record = change(self.kernels[kernel_id].record)
        self._set(msgspec.structs.replace(self.kernels[kernel_id], record=record))
        return record

    async def remove(self, kernel_id: str) -> None:
        self.kernels.pop(kernel_id, None)
        self.launches.pop(kernel_id, None)
        self._changes.notify(kernel_id)

    async def changed(self, kernel_id: str) -> None:
        self._watched.append(kernel_id)
        await self._changes.wait(kernel_id)

    async def logs(self, kernel_id: str) -> str:
        return f"output of {kernel_id}\n"

    # The test's side.

    def is_watched(self, kernel_id: str) -> bool:
        """Whether somebody has waited for news about a kernel."""
        return kernel_id in self._watched

    def put(self, record: KernelRecord) -> None:
        """A kernel is there, without an agent."""
        self._set(ObservedKernel(record=record, phase=Phase.STARTING))

    def agent_appears(self, kernel_id: str, socket: str) -> None:
        """Its agent listens on the unix socket at `socket`."""
        kernel = self.kernels[kernel_id]
        self._set(msgspec.structs.replace(kernel, phase=Phase.RUNNING, endpoint=UnixEndpoint(socket)))

    def end(self, kernel_id: str, reason: str) -> None:
        """The kernel ends."""
        kernel = self.kernels[kernel_id]
        ended = msgspec.structs.replace(kernel, phase=Phase.ENDED, endpoint=None, reason=reason, ended=time.time())
        self._set(ended)

    def _set(self, observed: ObservedKernel) -> None:
        self.kernels[observed.record.kernel_id] = observed
        self._changes.notify(observed.record.kernel_id)
