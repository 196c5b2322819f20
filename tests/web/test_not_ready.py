"""Until its whole state is known, a gateway says 503 and when to ask again: never 404, never an incomplete list."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession
from fakes.backend import FakeBackend
from support.served import TOKEN, Served, new_record, served

RECORD = new_record("5f0c2e1a-9a3b-4c57-8a61-0d2f6f1f7b90")
KERNEL = f"/api/kernels/{RECORD.kernel_id}"
SESSION = "/api/sessions/7b2d9c40-1f6e-4a8b-9c3d-5e0f1a2b3c4d"
UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}
SESSION_BODY = {"path": "a.ipynb", "type": "notebook"}

ROUTES: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/api/kernels", {}),
    ("POST", "/api/kernels", {}),
    ("GET", KERNEL, {}),
    ("DELETE", KERNEL, {}),
    ("POST", f"{KERNEL}/interrupt", {}),
    ("POST", f"{KERNEL}/restart", {}),
    ("GET", f"{KERNEL}/logs", {}),
    ("GET", f"{KERNEL}/why", {}),
    ("GET", f"{KERNEL}/channels", {"headers": UPGRADE}),
    ("GET", "/api/sessions", {}),
    ("POST", "/api/sessions", {"json": SESSION_BODY}),
    ("POST", "/api/sessions", {"json": {**SESSION_BODY, "kernel": {"id": RECORD.kernel_id}}}),
    ("GET", SESSION, {}),
    ("PATCH", SESSION, {"json": {"name": "a"}}),
    ("DELETE", SESSION, {}),
]


@pytest.fixture
async def backend() -> FakeBackend:
    """It has one kernel already and does not know yet whether that is all."""
    backend = FakeBackend()
    backend.synced = False
    backend.put(RECORD)
    return backend


@pytest.fixture
async def gateway(backend: FakeBackend) -> AsyncIterator[Served]:
    async with served(backend) as gateway:
        yield gateway


@pytest.fixture
async def client(gateway: Served) -> AsyncIterator[ClientSession]:
    async with ClientSession(gateway.url, headers={"Authorization": f"token {TOKEN}"}) as client:
        yield client


@pytest.mark.parametrize(("method", "path", "options"), ROUTES)
async def test_every_route_that_needs_the_state_is_a_503_until_it_is_known(
    client: ClientSession, backend: FakeBackend, method: str, path: str, options: dict[str, Any]
) -> None:
    async with client.request(method, path, **options) as answer:
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert (await answer.json())["reason"] == "Service Unavailable"
    assert not backend.launches


@pytest.mark.parametrize("path", ["/api", "/api/kernelspecs", "/api/swagger.json"])
async def test_what_needs_no_state_is_answered_at_once(client: ClientSession, path: str) -> None:
    async with client.get(path) as answer:
        assert answer.status == 200


async def test_a_stranger_is_not_told_whether_the_state_is_known(client: ClientSession) -> None:
    async with client.get("/api/kernels", headers={"Authorization": "token wrong"}) as answer:
        assert answer.status == 401


async def test_the_list_is_complete_as_soon_as_the_state_is_known(client: ClientSession, backend: FakeBackend) -> None:
    backend.synced = True
    async with client.get("/api/kernels") as answer:
        assert [kernel["id"] for kernel in await answer.json()] == [RECORD.kernel_id]


async def test_a_kernel_whose_master_key_is_gone_is_a_503(client: ClientSession, backend: FakeBackend) -> None:
    backend.synced = True
    backend.agent_appears(RECORD.kernel_id, "/nowhere")
    foreign = new_record()
    backend.put(msgspec.structs.replace(foreign, key_id="x"))
    backend.agent_appears(foreign.kernel_id, "/nowhere")
    async with client.post(f"/api/kernels/{foreign.kernel_id}/interrupt") as answer:
        assert answer.status == 503
        assert "master key x" in (await answer.json())["message"]
