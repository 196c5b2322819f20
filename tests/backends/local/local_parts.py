"""What the tests of the local backend share: records, launches, and several gateways on one state folder."""

from __future__ import annotations

import asyncio
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from enterprise_gateway.backends.base import Launch
from enterprise_gateway.backends.local.backend import LocalBackend
from enterprise_gateway.backends.local.folder import AGENT_LOG, AGENT_PID, KERNEL_PID, StateFolder
from enterprise_gateway.backends.local.nursery import Nursery
from enterprise_gateway.backends.local.processes import kill_agent, kill_group
from enterprise_gateway.config.ports import PortRange
from enterprise_gateway.core.agents import AgentConfig, AgentRules, KernelProcessConfig
from enterprise_gateway.core.keys import MasterKeys
from enterprise_gateway.core.lifecycle import RestartPolicy
from enterprise_gateway.core.records import ConnectionInfo, KernelRecord, ObservedKernel
from enterprise_gateway.kernels.agents import AgentClient
from enterprise_gateway.kernels.reach import Address

KERNEL = Path(__file__).parents[2] / "fakes" / "scripted_kernel.py"
DEADLINE = 30.0
"""Seconds anything may take on a busy machine."""
ANY_PORT = PortRange()
KEYS = MasterKeys([b"\x01" * 32])


def new_id() -> str:
    return str(uuid.uuid4())


def new_record(kernel_id: str = "", **fields: Any) -> KernelRecord:
    now = time.time()
    names = {"spec_name": "python3", "backend": "local", "owner": "ann", "username": "ann", "key_id": KEYS.newest_id}
    times = {"created": now, "deadline": now + 60}
    return KernelRecord(kernel_id=kernel_id or new_id(), **{**names, **times, **fields})


def new_launch(record: KernelRecord, *flags: str, **rules: Any) -> Launch:
    """A scripted kernel; it is not restarted."""
    no_restart = {
        "start_timeout": DEADLINE,
        "shutdown_wait": 1.0,
        "restart": RestartPolicy(enabled=False),
        "linger": 0.0,
    }
    return Launch(
        argv=(sys.executable, "-P", str(KERNEL), "-f", "{connection_file}", *flags),
        namespace={},
        env={"PATH": os.environ["PATH"], "KERNEL_ID": record.kernel_id},
        cwd="/",
        interrupt_mode="signal",
        config={},
        wishes={},
        spec_env={},
        language="python",
        custom_resource=False,
        secrets=KEYS.secrets(record.key_id, record.kernel_id),
        rules=AgentRules(**{**no_restart, **rules}),
    )


def admit_all(others: Iterable[KernelRecord]) -> None:
    """There is always room."""


def new_config(record: KernelRecord) -> AgentConfig:
    """An agent's configuration for tests that start no agent."""
    return AgentConfig(
        kernel_id=record.kernel_id,
        token="t",
        connection=ConnectionInfo(shell_port=1, iopub_port=2, stdin_port=3, control_port=4, hb_port=5, key="k"),
        process=KernelProcessConfig(argv=["/bin/true"], env={}, cwd="/"),
        rules=AgentRules(start_timeout=1.0),
    )


async def until(backend: LocalBackend, kernel_id: str, holds: Callable[[ObservedKernel | None], bool]) -> Any:
    """Wait until `holds` of what the backend says about a kernel; that."""
    async with asyncio.timeout(DEADLINE):
        while not holds(backend.kernels.get(kernel_id)):
            await backend.changed(kernel_id)
    return backend.kernels.get(kernel_id)


class Gateways:
    """Backends of gateways that share a state folder."""

    def __init__(self, folder: StateFolder) -> None:
        self.folder = folder
        self._runs: dict[LocalBackend, asyncio.Task[None]] = {}
        self._agents = AgentClient()

    def new(self, *, port_range: PortRange = ANY_PORT, retention: float = 60.0) -> LocalBackend:
        """A backend that has not looked at anything yet."""
        return LocalBackend(self.folder, Nursery(os.environ, None, 0), port_range, retention)

    async def start(self, **options: Any) -> LocalBackend:
        """A backend that runs and is synced."""
        backend = self.new(**options)
        self._runs[backend] = asyncio.create_task(backend.run())
        async with asyncio.timeout(DEADLINE):
            await backend.until_synced()
        return backend

    async def stop(self, backend: LocalBackend) -> None:
        """End its gateway."""
        run = self._runs.pop(backend)
        run.cancel()
        async with asyncio.timeout(DEADLINE):
            await asyncio.gather(run, return_exceptions=True)

    async def start_kernel(self, backend: LocalBackend, *flags: str, **rules: Any) -> str:
        record = new_record()
        assert await backend.create(record, new_launch(record, *flags, **rules), admit_all)
        return record.kernel_id

    async def status(self, backend: LocalBackend, kernel_id: str, wait: float = 0.0) -> Any:
        """What its agent says."""
        observed = backend.kernels[kernel_id]
        assert observed.endpoint is not None
        token = KEYS.secrets(observed.record.key_id, kernel_id).token
        return await self._agents.status(Address(observed.endpoint, token), wait=wait)

    async def close(self) -> None:
        """End the gateways, then, by force, what they leave running."""
        await self._agents.close()
        for backend in list(self._runs):
            await self.stop(backend)
        for kernel_id in self.folder.kernel_ids():
            kill_agent(self.folder.pid(kernel_id, AGENT_PID), self.folder.of(kernel_id) / AGENT_LOG)
            kill_group(self.folder.pid(kernel_id, KERNEL_PID), kernel_id)
