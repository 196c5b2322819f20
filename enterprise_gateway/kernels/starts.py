"""A start, step by step: rules, intent, claim, wait. However often it is retried, there is one kernel.

One event loop; starts run side by side, and what is being claimed counts towards the limits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from enterprise_gateway.backends.base import Launch
from enterprise_gateway.core.agents import AgentStatus
from enterprise_gateway.core.environment import EnvironmentSources, build_environment, parse_client_env
from enterprise_gateway.core.keys import KernelSecrets
from enterprise_gateway.core.launch import parse_kernel_id, parse_launch_timeout
from enterprise_gateway.core.lifecycle import KernelState
from enterprise_gateway.core.principals import Principal
from enterprise_gateway.core.records import KernelRecord, ObservedKernel, Phase
from enterprise_gateway.errors import Forbidden, KernelConflict, StartFailed
from enterprise_gateway.kernels.policy import (
    StartRequest,
    StartRules,
    check_limits,
    username_for,
    working_directory,
)
from enterprise_gateway.kernels.registry import Registry
from enterprise_gateway.kernels.statuses import Statuses
from enterprise_gateway.kernelspecs.access import may_use
from enterprise_gateway.kernelspecs.catalog import Catalog
from enterprise_gateway.kernelspecs.model import KernelSpec

log = logging.getLogger(__name__)

NEWS_SECONDS = 2.0
"""How long the backend is given to notice that an agent has gone before that agent is asked again."""
SPARK_UI_VARIABLE = "SPARK_UI_URL"
"""What a kernel in a pod finds the address of its Spark UI in; it opens the UI without further credentials."""
FIRST_PAUSE = 0.05
"""Seconds before an agent that does not answer is asked again for the first time."""


@dataclass(frozen=True)
class _Start:
    """One start request after the rules have been asked."""

    rules: StartRules
    owner: str
    username: str
    kernel_id: str
    spec: KernelSpec
    env: Mapping[str, str]
    path: str

    def record(self, key_id: str) -> KernelRecord:
        now = time.time()
        timeout = parse_launch_timeout(self.env.get("KERNEL_LAUNCH_TIMEOUT"), self.rules.launch_timeout)
        return KernelRecord(
            kernel_id=self.kernel_id,
            spec_name=self.spec.name,
            backend=self.spec.placement.served_by,
            owner=self.owner,
            username=self.username,
            created=now,
            deadline=now + timeout,
            key_id=key_id,
        )

    def launch(
        self,
        record: KernelRecord,
        environ: Mapping[str, str],
        secrets: KernelSecrets,
        spark_ui: str,
        *,
        same_machine: bool,
    ) -> Launch:
        sources = EnvironmentSources(
            gateway=environ,
            inherited_envs=self.rules.inherited_envs,
            spec=self.spec.env,
            client=self.env,
            kernel_id=self.kernel_id,
            username=self.username,
            language=self.spec.language,
            same_machine=same_machine,
        )
        wanted = "" if self.path else self.env.get("KERNEL_WORKING_DIR", "")
        return Launch(
            argv=self.spec.argv,
            namespace={"kernel_id": self.kernel_id, "resource_dir": self.spec.resource_dir},
            env=build_environment(sources) | ({SPARK_UI_VARIABLE: spark_ui} if spark_ui else {}),
            cwd=existing_directory(self.rules.root_dir, self.path, wanted) if same_machine else "",
            interrupt_mode=self.spec.interrupt_mode.value,
            config=self.spec.placement.config,
            wishes=dict(self.env),
            spec_env=self.spec.env,
            language=self.spec.language,
            custom_resource=self.spec.placement.served_by is not self.spec.placement.backend,
            secrets=secrets,
            rules=msgspec.structs.replace(self.rules.agent, start_timeout=record.deadline - record.created),
        )


class Starter:
    """Starts kernels."""

    def __init__(
        self,
        registry: Registry,
        statuses: Statuses,
        catalog: Catalog,
        rules: StartRules,
        environ: Mapping[str, str],
    ) -> None:
        self.rules = rules
        """May be replaced at any time; a start under way goes on with those it began with."""
        self._registry = registry
        self._statuses = statuses
        self._catalog = catalog
        self._environ = environ
        self._claiming: dict[str, KernelRecord] = {}

    async def start(self, principal: Principal, request: StartRequest) -> ObservedKernel:
        """Start a kernel and wait for it, as long as the rules say. Raises as `KernelManager.start`."""
        start = self._check(principal, request)
        deadline = time.monotonic() + start.rules.start_wait
        observed = await self._existing(start) or await self._claim(start, deadline)
        return await self._await(observed, deadline)

    def _check(self, principal: Principal, request: StartRequest) -> _Start:
        rules = self.rules
        spec = self._catalog.get(request.name or self._catalog.default)
        env = parse_client_env(request.env, rules.client_envs)
        username = username_for(principal, env)
        decision = may_use(spec, username, rules.authorized_users, rules.unauthorized_users)
        if not decision.allowed:
            raise Forbidden(decision.reason)
        if spec.placement.served_by not in self._registry.backends:
            named = spec.placement.named or spec.placement.backend
            known = ", ".join(sorted(self._registry.backends))
            raise StartFailed(
                f"Kernel spec {spec.name!r} asks for {named!r}, which this gateway does not offer; it has: {known}"
            )
        kernel_id = parse_kernel_id(env["KERNEL_ID"]) if "KERNEL_ID" in env else str(uuid.uuid4())
        return _Start(rules, principal.name, username, kernel_id, spec, env, request.path or "")

    async def _existing(self, start: _Start) -> ObservedKernel | None:
        """The kernel that an earlier try started; one that has ended makes room.

        Raises:
            KernelConflict: the id is somebody else's, or of another spec.
        """
        observed = self._registry.lookup(start.kernel_id)
        if observed is None:
            return None
        if observed.record.owner != start.owner or observed.record.spec_name != start.spec.name:
            raise KernelConflict(f"KERNEL_ID {start.kernel_id} is in use; leave it out or choose another UUID")
        if observed.phase is Phase.ENDED:
            await self._registry.backend_of(observed).remove(start.kernel_id)
            return None
        return observed

    async def _claim(self, start: _Start, deadline: float) -> ObservedKernel:
        """Create the kernel, or wait for the one that somebody else is creating under the same id."""
        name = start.spec.placement.served_by
        backend = self._registry.backends[name]
        record = start.record(self._registry.newest_key_id(name))
        secrets = self._registry.secrets(record)
        spark_ui = "" if backend.same_machine else self._spark_ui(start.rules, record)
        launch = start.launch(record, self._environ, secrets, spark_ui, same_machine=backend.same_machine)
        created = False
        try:
            while True:
                if not created and (created := await self._create(start.rules, record, launch)):
                    log.info("Kernel %s is started for %s", start.spec.name, start.username, extra=_about(record))
                observed = await self._existing(start)
                if observed is not None:
                    return observed
                if time.monotonic() > deadline:
                    where = "was shut down while it started" if created else "is being started elsewhere; ask again"
                    raise StartFailed(f"KERNEL_ID {start.kernel_id} {where}")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(NEWS_SECONDS):
                        await backend.changed(start.kernel_id)
        finally:
            self._claiming.pop(start.kernel_id, None)

    def _spark_ui(self, rules: StartRules, record: KernelRecord) -> str:
        """The link that a notebook can show; empty where nobody has told the gateway its address."""
        return rules.public_url and rules.public_url + self._registry.spark_ui_path(record)

    async def _create(self, rules: StartRules, record: KernelRecord, launch: Launch) -> bool:
        def admit(others: Iterable[KernelRecord]) -> None:
            check_limits(rules, record.username, (each for each in others if each.kernel_id != record.kernel_id))

        known = {each.record.kernel_id: each.record for each in self._registry.observed() if _counts(each)}
        admit((known | self._claiming).values())
        # It counts from here on until the backend shows it, which a watched store does a moment after `create`.
        self._claiming[record.kernel_id] = record
        backend = self._registry.backends[record.backend]
        return await backend.create(record, launch, admit if rules.limited else None)

    async def _await(self, observed: ObservedKernel, deadline: float) -> ObservedKernel:
        """Wait until the kernel is ready, has ended, or `deadline` is over."""
        kernel_id = observed.record.kernel_id
        pause = FIRST_PAUSE
        while (remaining := deadline - time.monotonic()) > 0:
            current = self._registry.lookup(kernel_id)
            if current is None:
                raise StartFailed("The kernel was shut down while it started")
            if current.phase is Phase.ENDED:
                raise _start_failed(current)
            if self._registry.address(current) is None:
                await self._news(current, remaining)
                continue
            status = await self._started_or_over(current, remaining)
            if status is not None and status.state in (KernelState.RUNNING, KernelState.RESTARTING):
                break
            # An address can be known before somebody listens there.
            await self._news(current, min(remaining, pause))
            pause = min(pause * 2, NEWS_SECONDS)
        return self._registry.lookup(kernel_id) or observed

    async def _started_or_over(self, observed: ObservedKernel, timeout: float) -> AgentStatus | None:
        """What the agent says once it has started the kernel; None when the backend sees the kernel's end first."""
        started = asyncio.ensure_future(self._statuses.when_started(observed, timeout))
        over = asyncio.ensure_future(self._over(observed))
        try:
            await asyncio.wait({started, over}, return_when=asyncio.FIRST_COMPLETED)
            return started.result() if started.done() else None
        finally:
            started.cancel()
            over.cancel()

    async def _over(self, observed: ObservedKernel) -> None:
        """Wait until the kernel has ended or its agent is elsewhere."""
        while True:
            current = self._registry.lookup(observed.record.kernel_id)
            if current is None or current.phase is Phase.ENDED or current.endpoint != observed.endpoint:
                return
            await self._registry.changed(observed)

    async def _news(self, observed: ObservedKernel, timeout: float) -> None:
        """Wait for the backend to see more than `observed`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._registry.lookup(observed.record.kernel_id) is observed:
                    await self._registry.changed(observed)

    def __repr__(self) -> str:
        return f"<Starter {len(self._claiming)} being claimed>"


def existing_directory(root: str, path: str, wanted: str) -> str:
    """Where a kernel begins: the nearest existing folder on the way to `path` below `root`, or `wanted`.

    `wanted` (`KERNEL_WORKING_DIR`) is a path on the client's machine: it counts only where it exists here too.
    """
    if wanted and _is_folder(Path(wanted)):
        return wanted
    folder = Path(root) / working_directory(path)
    while not _is_folder(folder) and folder != folder.parent:
        folder = folder.parent
    return str(folder)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name longer than the file system takes, a folder that may not be looked into
        return False


def _start_failed(observed: ObservedKernel) -> StartFailed:
    tail = observed.log_tail.strip()
    return StartFailed(observed.reason + (f"\n{tail}" if tail else ""))


def _counts(observed: ObservedKernel) -> bool:
    return observed.phase is not Phase.ENDED


def _about(record: KernelRecord) -> dict[str, str]:
    return {"kernel_id": record.kernel_id}
