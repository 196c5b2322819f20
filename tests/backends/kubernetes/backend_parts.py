"""Replicas of a gateway's Kubernetes backend on a scripted API server, and what happens to their kernels' pods."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
from fakes.api_server import FakeApi
from pod_parts import KEYS, make_launch

from enterprise_gateway.backends.base import Admission
from enterprise_gateway.backends.kubernetes.api import KubernetesApi
from enterprise_gateway.backends.kubernetes.backend import KubernetesBackend
from enterprise_gateway.backends.kubernetes.observe import StartPatience
from enterprise_gateway.backends.kubernetes.plan import Planner, PodSettings
from enterprise_gateway.backends.kubernetes.policy import PodPolicy
from enterprise_gateway.core.records import KernelRecord, Phase, SessionRecord

DEADLINE = 10.0
SWEEP = 0.05
"""Seconds between sweeps in these tests."""
RUNNING = {"state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}
NO_IMAGE = 'Failed to pull image "localhost/kernel:1": not found'


def settings(namespace: str = "kernels") -> PodSettings:
    return PodSettings(
        namespace=namespace,
        namespaces=frozenset({"kernels", "team", namespace}),
        agent_image="localhost/gateway:1",
        kernel_image="localhost/kernel:1",
        service_account="",
        mirror_working_dirs=False,
        home="127.0.0.1:1",
    )


class Replica(KubernetesBackend):
    """A backend that knows how to start a kernel by its id alone."""

    def __init__(self, fake: FakeApi, folder: Path, *namespaces: str, **changes: Any) -> None:
        self.client: KubernetesApi = fake.connect(folder)
        options = {"patience": StartPatience(), "retention": 600.0, "sweep_seconds": SWEEP} | changes
        self.task: asyncio.Task[None] | None = None
        planner = Planner(settings(fake.namespace), options.pop("policy", PodPolicy()))
        super().__init__(self.client, planner, namespaces=namespaces or [fake.namespace], **options)

    async def start(
        self, kernel_id: str = "", username: str = "alice", *, admit: Admission | None = None, **changes: Any
    ) -> bool:
        """What a gateway does for a start request; `changes` are the record's, `wishes` and `argv`."""
        wishes = {"KERNEL_USERNAME": username} | changes.pop("wishes", {})
        command = {"argv": changes.pop("argv")} if "argv" in changes else {}
        record = new_record(kernel_id or new_id(), username, **changes)
        launch = make_launch(
            namespace={"kernel_id": record.kernel_id},
            env=wishes | {"KERNEL_ID": record.kernel_id},
            wishes=wishes,
            secrets=KEYS.secrets(KEYS.newest_id, record.kernel_id),
            **command,
        )
        return await self.create(record, launch, admit)

    async def crash(self) -> None:
        """Be gone in the middle of things: nothing can be said to the API server any more."""
        await self.client.close()
        await self.leave()

    async def leave(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)


@contextlib.asynccontextmanager
async def replica(fake: FakeApi, folder: Path, *namespaces: str, **changes: Any) -> AsyncIterator[Replica]:
    """One that is in sync and watches."""
    backend = Replica(fake, folder, *namespaces, **changes)
    watches = fake.open_watches
    backend.task = asyncio.create_task(backend.run())
    try:
        await asyncio.wait_for(backend.until_synced(), DEADLINE)
        await fake.until(lambda: fake.open_watches == watches + 2 * max(1, len(namespaces)))
        yield backend
    finally:
        await backend.leave()


async def until(condition: Callable[[], object]) -> None:
    """Wait for what nobody announces to a test."""
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - that is what it is for
            await asyncio.sleep(0.005)


async def in_step(fake: FakeApi, *backends: KubernetesBackend) -> None:
    """Wait until every backend has heard of the newest version of each kernel's pod."""
    versions = {each["metadata"]["uid"]: each["metadata"]["resourceVersion"] for each in fake.pods.values()}

    def seen(backend: KubernetesBackend) -> dict[str, str]:
        return {pod.metadata.uid: pod.metadata.resource_version for pod in backend._watched()}

    await until(lambda: all(seen(backend) == versions for backend in backends))


def new_id() -> str:
    return str(uuid.uuid4())


def new_record(kernel_id: str, username: str = "alice", **changes: Any) -> KernelRecord:
    now = time.time()
    plain = {
        "kernel_id": kernel_id,
        "spec_name": "python_kubernetes",
        "backend": "kubernetes",
        "owner": username,
        "username": username,
        "created": now,
        "deadline": now + 60,
        "key_id": KEYS.newest_id,
    }
    return KernelRecord(**plain | changes)


def pod_of(kernel_id: str, username: str = "alice") -> str:
    return f"{username}-{kernel_id}"


def add_kernel(fake: FakeApi, record: KernelRecord, **status: Any) -> str:
    """A pod that some replica made before; its name."""
    name = pod_of(record.kernel_id, record.username)
    labels = {"app": "enterprise-gateway", "component": "kernel", "kernel_id": record.kernel_id}
    annotations = {"enterprise-gateway/record": msgspec.json.encode(record).decode()}
    metadata = {"name": name, "labels": labels, "annotations": annotations}
    fake.add("pods", {"metadata": metadata, "spec": {"nodeName": "node1"}, "status": {"phase": "Pending"} | status})
    return name


def run_pod(fake: FakeApi, name: str, ip: str = "10.0.0.5", kernel: str = "kernel") -> None:
    """What a scheduler and a node do with a pod that has all it needs."""
    fake.schedule(name)
    containers = [{"name": each, **RUNNING} for each in (kernel, "agent")]
    fake.set_pod_status(name, {"phase": "Running", "podIP": ip, "containerStatuses": containers})


def fail_image(fake: FakeApi, name: str) -> None:
    """A node cannot pull the kernel's image."""
    fake.schedule(name)
    waiting = {"name": "kernel", "state": {"waiting": {"reason": "ErrImagePull", "message": NO_IMAGE}}}
    fake.set_pod_status(name, {"phase": "Pending", "containerStatuses": [waiting]})


def end_pod(fake: FakeApi, name: str, reason: str = "the kernel was shut down", when: float | None = None) -> None:
    """An agent has left its report and the pod is over."""
    report = {"reason": reason, "time": time.time() if when is None else when}
    over = {"exitCode": 0, "message": msgspec.json.encode(report).decode(), "finishedAt": "2026-01-01T00:00:00Z"}
    statuses = [
        {"name": "kernel", "state": {"terminated": {"exitCode": 0}}},
        {"name": "agent", "state": {"terminated": over}},
    ]
    fake.set_pod_status(name, {"phase": "Succeeded", "containerStatuses": statuses})


def view(backend: KubernetesBackend) -> dict[str, tuple[Phase, str]]:
    """What a backend says of each kernel."""
    return {kernel_id: (each.phase, each.reason) for kernel_id, each in backend.kernels.items()}


def with_session(name: str) -> Callable[[KernelRecord], KernelRecord]:
    """A change of a record: one more session."""

    def change(record: KernelRecord) -> KernelRecord:
        session = SessionRecord(id=name, path=f"{name}.ipynb", name=name, type="notebook")
        return msgspec.structs.replace(record, sessions=(*record.sessions, session))

    return change


def session_ids(record: KernelRecord) -> set[str]:
    return {session.id for session in record.sessions}
