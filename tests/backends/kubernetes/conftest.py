"""Fixtures of tests on the fake API server: the server, a client of it, two replicas of the backend."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from backend_parts import Replica, in_step, new_id, pod_of, replica, run_pod
from fakes.api_server import FakeApi

from enterprise_gateway.backends.kubernetes.api import KubernetesApi


@pytest.fixture
async def fake() -> AsyncIterator[FakeApi]:
    """An API server."""
    async with FakeApi() as server:
        yield server


@pytest.fixture
async def api(fake: FakeApi, tmp_path: Path) -> AsyncIterator[KubernetesApi]:
    """Its client."""
    client = fake.connect(tmp_path)
    yield client
    await client.close()


@pytest.fixture
async def one(fake: FakeApi, tmp_path: Path) -> AsyncIterator[Replica]:
    """A replica."""
    async with replica(fake, tmp_path) as backend:
        yield backend


@pytest.fixture
async def other(fake: FakeApi, tmp_path: Path) -> AsyncIterator[Replica]:
    """Another replica."""
    async with replica(fake, tmp_path) as backend:
        yield backend


@pytest.fixture
async def kernel_id(fake: FakeApi, one: Replica) -> str:
    """A kernel that runs."""
    kernel_id = new_id()
    await one.start(kernel_id)
    run_pod(fake, pod_of(kernel_id))
    await in_step(fake, one)
    return kernel_id
