"""Kernels of the local state folder, with or without a gateway that runs on it.

Reads the same files and asks the same agents as a gateway does. It records nothing: whatever a gateway would sweep
or put on record is left to the next one. Each call runs an event loop of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence

import msgspec

from enterprise_gateway.backends.local.backend import AGENT_EXIT_SECONDS, START_GRACE, LocalBackend
from enterprise_gateway.backends.local.folder import AGENT_LOG, AGENT_PID, KERNEL_LOG, StateFolder
from enterprise_gateway.backends.local.nursery import Nursery
from enterprise_gateway.backends.local.state import read_master_keys, state_dir
from enterprise_gateway.config.settings import Settings
from enterprise_gateway.core.agents import AgentStatus
from enterprise_gateway.core.keys import MasterKeys
from enterprise_gateway.core.records import KernelRecord, ObservedKernel, Phase, UnixEndpoint
from enterprise_gateway.errors import GatewayError, KernelNotFound, KernelUnresponsive
from enterprise_gateway.kernels.agents import AgentClient
from enterprise_gateway.kernels.manager import SHUTDOWN_MARGIN
from enterprise_gateway.kernels.models import KernelHistory, kernel_history, kernel_model
from enterprise_gateway.kernels.reach import Address

AT_ONCE = 16
"""Agents that are asked side by side."""


class LocalKernels:
    """The kernels of a `StateFolder`; it need not exist."""

    def __init__(self, settings: Settings) -> None:
        """Look at the folder that a gateway with these settings uses.

        Raises:
            ConfigError: the folder is not ours, or its master key cannot be read.
        """
        self._folder = StateFolder(state_dir(settings))
        self._settings = settings
        self._keys: MasterKeys | None = None
        if self._folder.kernels.is_dir():
            # Also checks that the folder of the sockets is ours: kernels' tokens are sent to whoever listens there.
            self._folder.prepare()
            self._keys = read_master_keys(self._folder.root)

    @property
    def where(self) -> str:
        """The state folder."""
        return str(self._folder.root)

    def ids(self) -> list[str]:
        """All kernels, ended ones included."""
        return self._folder.kernel_ids() if self._keys is not None else []

    def living(self) -> list[KernelHistory]:
        """All kernels that have not ended."""
        found = [history for history in asyncio.run(self._all()) if history.kernel.execution_state != "dead"]
        return sorted(found, key=lambda history: history.created)

    def why(self, kernel_id: str) -> KernelHistory:
        """What is known of a kernel."""
        return asyncio.run(self._why(kernel_id))

    def logs(self, kernel_id: str) -> str:
        """The kernel's own output, or its agent's where there is none."""
        self._record(kernel_id)
        return self._folder.log_tail(kernel_id, KERNEL_LOG) or self._folder.log_tail(kernel_id, AGENT_LOG)

    def stop(self, kernel_ids: Sequence[str]) -> dict[str, str]:
        """End kernels and leave nothing of them."""
        return asyncio.run(self._stop_all(kernel_ids))

    async def _all(self) -> list[KernelHistory]:
        few = asyncio.Semaphore(AT_ONCE)

        async def one(kernel_id: str) -> KernelHistory | None:
            async with few:
                with contextlib.suppress(KernelNotFound):
                    return await self._why(kernel_id)
            return None

        histories = await asyncio.gather(*(one(kernel_id) for kernel_id in self.ids()))
        return [history for history in histories if history is not None]

    async def _why(self, kernel_id: str) -> KernelHistory:
        record = self._record(kernel_id)
        status, problem = None, ""
        if self._folder.end(kernel_id) is None:
            try:
                status = await self._status(record)
            except KernelUnresponsive as error:
                problem = error.message
        observed = await self._observe(record, status)
        model = kernel_model(observed, status)
        if observed.phase is Phase.RUNNING and status is None:
            model = msgspec.structs.replace(model, execution_state="unknown", reason=problem)
        return kernel_history(observed, model)

    async def _observe(self, record: KernelRecord, status: AgentStatus | None) -> ObservedKernel:
        """What a gateway would say of the kernel; `status` is None when its agent gave none."""
        kernel_id = record.kernel_id
        # An agent listens before it is on record, and has put its end on record before it goes: hence this order.
        begun = time.time() - record.created > START_GRACE or bool(self._folder.pid(kernel_id, AGENT_PID))
        listening = status is not None or await self._listening(kernel_id)
        report = self._folder.end(kernel_id)
        if report is None and listening:
            return ObservedKernel(record=record, phase=Phase.RUNNING)
        if report is None and not begun:
            return ObservedKernel(record=record, phase=Phase.STARTING)
        report = report or self._folder.lost(kernel_id, time=0.0)
        return ObservedKernel(record=record, phase=Phase.RUNNING).after(report)

    async def _stop_all(self, kernel_ids: Sequence[str]) -> dict[str, str]:
        problems: dict[str, str] = {}
        few = asyncio.Semaphore(AT_ONCE)

        async def one(kernel_id: str) -> None:
            async with few:
                try:
                    await self._stop(kernel_id)
                except GatewayError as error:
                    problems[kernel_id] = error.message

        await asyncio.gather(*(one(kernel_id) for kernel_id in kernel_ids))
        return problems

    async def _stop(self, kernel_id: str) -> None:
        observed = await self._observe(self._record(kernel_id), None)
        await self._end(observed.record)
        settings = self._settings
        backend = LocalBackend(self._folder, Nursery({}, None, 0), settings.port_range, settings.reason_retention)
        await backend.remove(kernel_id)
        if observed.phase is Phase.ENDED:
            raise KernelNotFound(kernel_id, observed.reason)

    async def _end(self, record: KernelRecord) -> None:
        """Have the agent end its kernel and itself; one that does not is left to be killed."""
        with contextlib.suppress(OSError, KernelUnresponsive):
            reader, writer = await asyncio.open_unix_connection(str(self._folder.socket(record.kernel_id)))
            with contextlib.closing(writer):
                async with self._agents() as agents:
                    wait = self._settings.shutdown_wait_time + SHUTDOWN_MARGIN
                    await agents.shutdown(self._address(record), "it was shut down", wait)
                # The agent still hands its clients the end; this connection ends with it.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(AGENT_EXIT_SECONDS):
                        await reader.read()

    async def _status(self, record: KernelRecord) -> AgentStatus:
        async with self._agents() as agents:
            return await agents.status(self._address(record))

    async def _listening(self, kernel_id: str) -> bool:
        try:
            _, writer = await asyncio.open_unix_connection(str(self._folder.socket(kernel_id)))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError:
            return True  # no permission, or no room: that says nothing about the agent
        writer.close()
        return True

    @contextlib.asynccontextmanager
    async def _agents(self) -> AsyncIterator[AgentClient]:
        agents = AgentClient()
        try:
            yield agents
        finally:
            await agents.close()

    def _address(self, record: KernelRecord) -> Address:
        keys = self._keys
        if keys is None or not keys.knows(record.key_id):
            raise KernelUnresponsive(f"The master key {record.key_id} of this kernel is not in the key file")
        endpoint = UnixEndpoint(str(self._folder.socket(record.kernel_id)))
        return Address(endpoint, keys.secrets(record.key_id, record.kernel_id).token)

    def _record(self, kernel_id: str) -> KernelRecord:
        record = self._folder.record(kernel_id)
        if record is None:
            raise KernelNotFound(kernel_id)
        return record

    def __repr__(self) -> str:
        return f"<LocalKernels {self.where}>"
