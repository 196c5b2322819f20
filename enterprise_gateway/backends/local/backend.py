"""Kernels as child processes of agents on this machine.

The state folder is scanned once a second; in between, an idle connection to each agent tells at once when that
agent has gone. Several gateways may share a state folder: a kernel's folder is claimed by one rename, and whoever
sees an end first records it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from enterprise_gateway.aio import Changes
from enterprise_gateway.backends.base import Admission, Launch
from enterprise_gateway.backends.local import processes
from enterprise_gateway.backends.local.folder import AGENT_LOG, AGENT_PID, KERNEL_LOG, KERNEL_PID, StateFolder
from enterprise_gateway.backends.local.nursery import Nursery
from enterprise_gateway.backends.local.ports import free_ports
from enterprise_gateway.backends.report_key import ReportKey, make_report_key
from enterprise_gateway.config.ports import PortRange
from enterprise_gateway.core.agents import AgentConfig, KernelProcessConfig, LauncherConfig
from enterprise_gateway.core.launch import is_launch_command, render_argv
from enterprise_gateway.core.records import (
    LOOPBACK,
    ConnectionInfo,
    KernelRecord,
    ObservedKernel,
    Phase,
    UnixEndpoint,
)
from enterprise_gateway.errors import BackendUnavailable, KernelNotFound, StartFailed

log = logging.getLogger(__name__)

SCAN_SECONDS = 1.0
START_GRACE = 10.0
"""Seconds in which the agent of a claimed kernel must be there; else the gateway that claimed it was killed."""
AGENT_EXIT_SECONDS = 5.0
"""How long `remove` waits for an agent that is on its way out before it kills it."""
PORTS_PER_KERNEL = 5


class LocalBackend:
    """The `Backend` of one machine."""

    def __init__(
        self,
        folder: StateFolder,
        nursery: Nursery,
        port_range: PortRange,
        retention: float,
        response_ip: str = LOOPBACK,
    ) -> None:
        """`response_ip` is this machine's address for launchers, which report to it from where they are."""
        self._folder = folder
        self._response_ip = response_ip
        self._port_range = port_range
        self._retention = retention
        """Seconds the reason of an end stays readable."""
        self._nursery = nursery
        self._kernels: dict[str, ObservedKernel] = {}
        self._stamps: dict[str, int] = {}
        self._ports: dict[str, tuple[int, ...]] = {}
        self._starting: set[str] = set()
        self._links: dict[str, _Link] = {}
        self._changes = Changes()
        self._synced = asyncio.Event()

    @property
    def same_machine(self) -> bool:
        """They are child processes here."""
        return True

    @property
    def synced(self) -> bool:
        """Whether the state folder has been read once."""
        return self._synced.is_set()

    async def until_synced(self) -> None:
        """Wait until the state folder has been read once."""
        await self._synced.wait()

    @property
    def kernels(self) -> Mapping[str, ObservedKernel]:
        """Every kernel of the state folder."""
        return self._kernels

    async def changed(self, kernel_id: str) -> None:
        """Wait for the next change of one kernel."""
        await self._changes.wait(kernel_id)

    async def run(self) -> None:
        """Scan and sweep until cancelled."""
        try:
            await self._nursery.warm_up()
            while True:
                try:
                    await self._scan()
                except (OSError, BackendUnavailable) as error:
                    log.warning("The state folder cannot be read: %s", error)
                await asyncio.sleep(SCAN_SECONDS)
        finally:
            while self._links:
                self._links.popitem()[1].close()
            await self._nursery.close()

    def check(self) -> None:
        """A full disk shows when it is written to; to remove, it need not be."""

    async def create(self, record: KernelRecord, launch: Launch, admit: Admission | None) -> bool:
        """Claim the id and fork an agent that starts the kernel."""
        kernel_id = record.kernel_id
        if kernel_id in self._kernels or kernel_id in self._starting:
            return False
        if admit is not None:
            admit(each.record for each in self._kernels.values() if each.phase is not Phase.ENDED)
        self._starting.add(kernel_id)
        try:
            key = await asyncio.to_thread(make_report_key) if is_launch_command(launch.argv) else None
            config = self._agent_config(record, launch, key)
            if not self._folder.claim(record, config):
                return False
            await self._fork(config)
            await self._observe_start(record)
        except OSError as error:
            raise BackendUnavailable(f"The state folder cannot be written: {error.strerror or error}") from None
        finally:
            self._starting.discard(kernel_id)
            self._changes.notify(kernel_id)
            if kernel_id not in self._kernels:
                self._ports.pop(kernel_id, None)
        return True

    async def update(self, kernel_id: str, change: Callable[[KernelRecord], KernelRecord]) -> KernelRecord:
        """Change a record in its file and in `kernels`."""
        observed = self._kernels.get(kernel_id)
        try:
            changed = self._folder.change_record(kernel_id, change)
        except OSError as error:
            raise BackendUnavailable(f"The state folder cannot be written: {error.strerror or error}") from None
        if changed is None or observed is None:
            raise KernelNotFound(kernel_id)
        self._set(_with_record(observed, changed))
        return changed

    async def remove(self, kernel_id: str) -> None:
        """End what still runs and delete the kernel's folder."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AGENT_EXIT_SECONDS):
                while kernel_id in self._links:
                    await self._changes.wait(kernel_id)
        self._kill_processes(kernel_id)
        try:
            self._folder.remove(kernel_id)
        except OSError as error:
            raise BackendUnavailable(f"The state folder cannot be changed: {error.strerror or error}") from None
        self._forget(kernel_id)

    async def logs(self, kernel_id: str) -> str:
        """The kernel's own output, or its agent's where there is none."""
        if kernel_id not in self._kernels:
            raise KernelNotFound(kernel_id)
        return self._folder.log_tail(kernel_id, KERNEL_LOG) or self._folder.log_tail(kernel_id, AGENT_LOG)

    def _agent_config(self, record: KernelRecord, launch: Launch, key: ReportKey | None) -> AgentConfig:
        kernel_id = record.kernel_id
        taken = {port for ports in self._ports.values() for port in ports}
        port_range = self._port_range_of(launch)
        ports = tuple(free_ports(PORTS_PER_KERNEL, port_range, taken))
        self._ports[kernel_id] = ports
        shell, iopub, stdin, control, heartbeat = ports
        connection = ConnectionInfo(
            shell_port=shell,
            iopub_port=iopub,
            stdin_port=stdin,
            control_port=control,
            hb_port=heartbeat,
            key=launch.secrets.hmac_key.reveal(),
            kernel_name=record.spec_name,
        )
        namespace = launch.namespace | {"connection_file": str(self._folder.connection_file(kernel_id))}
        launcher = None
        if key is not None:
            # Its kernel has ports of its own choice, so that one of these is free.
            launcher = LauncherConfig(private_key=key.private.reveal(), host=self._response_ip, port=shell)
            namespace |= {
                "response_address": f"{self._response_ip}:{shell}",
                "public_key": key.public,
                "port_range": str(port_range),
            }
        return AgentConfig(
            kernel_id=kernel_id,
            token=launch.secrets.token.reveal(),
            connection=connection,
            process=KernelProcessConfig(
                argv=render_argv(launch.argv, namespace, sys.executable),
                env=launch.env,
                cwd=launch.cwd,
                interrupt_mode=launch.interrupt_mode,
            ),
            rules=launch.rules,
            launcher=launcher,
        )

    def _port_range_of(self, launch: Launch) -> PortRange:
        """The kernel spec's own range where it has one.

        Raises:
            StartFailed: it is none.
        """
        text = launch.config.get("port_range")
        if text is None:
            return self._port_range
        try:
            chosen = PortRange.parse(str(text))
        except ValueError as error:
            raise StartFailed(f"port_range in the kernel spec: {error}") from None
        problem = chosen.problem(PORTS_PER_KERNEL)
        if problem is not None:
            raise StartFailed(f"port_range in the kernel spec: the range {chosen} {problem}")
        return chosen

    async def _fork(self, config: AgentConfig) -> None:
        kernel_id = config.kernel_id
        try:
            await self._nursery.start(self._folder.of(kernel_id), self._folder.socket(kernel_id), config.process)
        except BackendUnavailable:
            self._folder.remove(kernel_id)
            raise

    async def _observe_start(self, record: KernelRecord) -> None:
        endpoint = UnixEndpoint(str(self._folder.socket(record.kernel_id)))
        self._set(ObservedKernel(record=record, phase=Phase.RUNNING, endpoint=endpoint))
        if not await self._link(record.kernel_id):
            self._note_end(record.kernel_id)

    async def _scan(self) -> None:
        present = set(self._folder.kernel_ids())
        for kernel_id in self._kernels.keys() - present - self._starting:
            self._forget(kernel_id)
        for kernel_id in present:
            if kernel_id not in self._starting:
                await self._look_at(kernel_id)
        for path in self._folder.unfinished(before=time.time() - 60.0):
            await asyncio.to_thread(_delete, path)
        self._synced.set()

    async def _look_at(self, kernel_id: str) -> None:
        observed = self._kernels.get(kernel_id)
        stamp = self._folder.record_stamp(kernel_id)
        if observed is None or stamp != self._stamps.get(kernel_id):
            record = self._folder.record(kernel_id)
            if record is None:
                return
            self._stamps[kernel_id] = stamp
            observed = _with_record(observed, record)
            self._ports[kernel_id] = self._folder.ports(kernel_id)
            self._set(observed)
        if observed.phase is Phase.ENDED:
            if time.time() - observed.ended > self._retention and kernel_id not in self._links:
                await self.remove(kernel_id)
            return
        begun = self._begun(observed)  # before the attempt: an agent listens before it is on record
        linked = kernel_id in self._links or await self._link(kernel_id)
        if self._kernels.get(kernel_id) is not observed:
            return  # somebody else's news came first
        if linked:
            endpoint = UnixEndpoint(str(self._folder.socket(kernel_id)))
            if observed.endpoint != endpoint:
                self._set(ObservedKernel(record=observed.record, phase=Phase.RUNNING, endpoint=endpoint))
            if self._folder.end(kernel_id) is not None:
                self._note_end(kernel_id)
        elif begun:
            self._note_end(kernel_id)

    def _begun(self, observed: ObservedKernel) -> bool:
        """Whether an agent was there, or should have been: one that does not listen then has ended."""
        kernel_id = observed.record.kernel_id
        late = time.time() - observed.record.created > START_GRACE
        return late or bool(self._folder.pid(kernel_id, AGENT_PID)) or self._folder.end(kernel_id) is not None

    async def _link(self, kernel_id: str) -> bool:
        """Hold a connection to the agent, whose end is the agent's; False when nobody listens."""
        loop = asyncio.get_running_loop()
        try:
            _, link = await loop.create_unix_connection(
                lambda: _Link(self._unlinked, kernel_id), str(self._folder.socket(kernel_id))
            )
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError as error:
            # No descriptor left, for example: that says nothing about the agent.
            log.warning("An agent cannot be reached: %s", error, extra={"kernel_id": kernel_id})
            return True
        if link.lost:
            return False
        if kernel_id in self._links:
            link.close()
        else:
            self._links[kernel_id] = link
        return True

    def _unlinked(self, link: _Link) -> None:
        kernel_id = link.kernel_id
        if self._links.get(kernel_id) is not link:
            return  # we let go of it ourselves
        del self._links[kernel_id]
        if self._folder.of(kernel_id).exists() and kernel_id in self._kernels:
            self._note_end(kernel_id)
        self._changes.notify(kernel_id)

    def _note_end(self, kernel_id: str) -> None:
        """The kernel has ended: take its reason from the agent, or give one for an agent that could not."""
        observed = self._kernels[kernel_id]
        if observed.phase is Phase.ENDED:
            return
        report = self._folder.end(kernel_id)
        if report is None:
            self._kill_processes(kernel_id)
            report = self._folder.lost(kernel_id, time.time())
            with contextlib.suppress(OSError):
                self._folder.write_end(kernel_id, report)
        log.info("Kernel ended: %s", report.reason, extra={"kernel_id": kernel_id})
        self._set(observed.after(report))

    def _kill_processes(self, kernel_id: str) -> None:
        processes.kill_agent(self._folder.pid(kernel_id, AGENT_PID), self._folder.of(kernel_id).resolve() / AGENT_LOG)
        processes.kill_group(self._folder.pid(kernel_id, KERNEL_PID), kernel_id)

    def _set(self, observed: ObservedKernel) -> None:
        self._kernels[observed.record.kernel_id] = observed
        self._changes.notify(observed.record.kernel_id)

    def _forget(self, kernel_id: str) -> None:
        self._kernels.pop(kernel_id, None)
        self._stamps.pop(kernel_id, None)
        self._ports.pop(kernel_id, None)
        link = self._links.pop(kernel_id, None)
        if link is not None:
            link.close()
        self._changes.notify(kernel_id)

    def __repr__(self) -> str:
        return f"<LocalBackend {self._folder.root} {len(self._kernels)} kernels>"


class _Link(asyncio.Protocol):
    def __init__(self, report: Callable[[_Link], None], kernel_id: str) -> None:
        self.kernel_id = kernel_id
        self.lost = False
        self._report = report
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's interface
        self.lost = True
        self._report(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _with_record(observed: ObservedKernel | None, record: KernelRecord) -> ObservedKernel:
    if observed is None:
        return ObservedKernel(record=record, phase=Phase.STARTING)
    return msgspec.structs.replace(observed, record=record)


def _delete(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
