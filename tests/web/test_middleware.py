"""What every request goes through: nothing a client sends is an error of ours, and no credential is written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession
from fakes.backend import FakeBackend
from prometheus_client import REGISTRY
from support.served import TOKEN, Served, new_record, served
from yarl import URL

ACCESS = "enterprise_gateway.access"
KERNEL_ID = "5f0c2e1a-9a3b-4c57-8a61-0d2f6f1f7b90"


@pytest.fixture
async def gateway() -> AsyncIterator[Served]:
    backend = FakeBackend()
    backend.put(new_record(KERNEL_ID))
    async with served(backend) as gateway:
        yield gateway


@pytest.fixture
async def stranger(gateway: Served) -> AsyncIterator[ClientSession]:
    """A client that sends no credential by itself."""
    async with ClientSession(gateway.url) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/api/kernels?token={TOKEN}", 200),
        (f"/t/{TOKEN}/api/kernels", 200),
        (f"/t/{TOKEN}/api/kernels/", 200),
        (f"/t/{TOKEN}/kernelspecs/python3/t/{TOKEN}", 404),
        (f"/t/{TOKEN}/api/nothing", 404),
        (f"/t/{TOKEN}", 404),
        (f"/t/{TOKEN}%2Fx/api/kernels", 401),
        (f"/t/x%2F{TOKEN}/api/kernels", 401),
        (f"/t/x%0A{TOKEN}/api/kernels", 401),
    ],
)
async def test_no_credential_of_an_address_is_logged(
    stranger: ClientSession, caplog: pytest.LogCaptureFixture, path: str, status: int
) -> None:
    caplog.set_level(logging.INFO)
    async with stranger.get(URL(path, encoded=True)) as answer:
        assert answer.status == status
    [line] = [record for record in caplog.records if record.name == ACCESS]
    assert str(status) in line.getMessage()
    assert TOKEN not in line.getMessage().partition("/kernelspecs")[0]


@pytest.mark.parametrize("value", [f"token {TOKEN}", f"Bearer {TOKEN}", f"Digest {TOKEN}"])
async def test_no_credential_of_a_header_is_logged(
    stranger: ClientSession, caplog: pytest.LogCaptureFixture, value: str
) -> None:
    caplog.set_level(logging.INFO)
    async with stranger.get("/api/kernels", headers={"Authorization": value}):
        assert TOKEN not in caplog.text


async def test_a_line_tells_who_asked_for_which_kernel(
    stranger: ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with stranger.get(f"/t/{TOKEN}/api/kernels/{KERNEL_ID}") as answer:
        assert answer.status == 200
    [line] = [record for record in caplog.records if record.name == ACCESS]
    assert (vars(line)["kernel_id"], vars(line)["principal"]) == (KERNEL_ID, "shared-token")
    assert line.getMessage().startswith(f"200 GET /t/********/api/kernels/{KERNEL_ID} (127.0.0.1)")


@pytest.mark.parametrize(
    "path",
    [
        "/kernelspecs/fortran66/api/swagger.json",
        "/kernelspecs/python3/api/swagger.yaml",
        "/api/kernelspecs/x%2Fapi%2Fswagger.json",
    ],
)
async def test_a_path_that_only_ends_like_the_description_wants_a_credential(
    stranger: ClientSession, path: str
) -> None:
    async with stranger.get(URL(path, encoded=True)) as answer:
        assert answer.status == 401


@pytest.mark.parametrize("origin", ["http://[", "http://]x[", "null", "//", "https://elsewhere.example"])
async def test_an_origin_that_is_not_the_gateways_is_a_403(stranger: ClientSession, origin: str) -> None:
    async with stranger.get("/api", headers={"Authorization": f"token {TOKEN}", "Origin": origin}) as answer:
        assert answer.status == 403


async def test_rare_methods_share_one_time_series(stranger: ClientSession) -> None:
    for method in ("PROPFIND", "MKCOL", "REPORT"):
        async with stranger.request(method, "/api") as answer:
            assert answer.status == 405
    samples = (sample for metric in REGISTRY.collect() for sample in metric.samples)
    methods = {sample.labels["method"] for sample in samples if "method" in sample.labels}
    assert "other" in methods
    assert methods.isdisjoint({"PROPFIND", "MKCOL", "REPORT"})


async def test_bytes_that_are_no_http_are_a_400_and_one_quiet_line(
    gateway: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(f"GET /api HTTP/1.1\r\nHost: x\r\nAuthorization: token {TOKEN}\0\r\n\r\n".encode())
    assert b" 400 " in (await reader.read()).partition(b"\r\n")[0]
    writer.close()
    [line] = [record for record in caplog.records if record.name == "enterprise_gateway.http"]
    assert (line.levelno, line.exc_info) == (logging.INFO, None)
    assert TOKEN not in line.getMessage()


async def test_options_is_answered_everywhere_without_a_credential(stranger: ClientSession) -> None:
    for path in ("/api/kernels", f"/api/kernels/{KERNEL_ID}", "/nowhere"):
        async with stranger.options(path) as answer:
            assert (answer.status, await answer.read()) == (200, b"")


async def test_every_answer_forbids_guessing_its_type(stranger: ClientSession) -> None:
    for path in ("/api", "/api/swagger.json", "/nowhere"):
        async with stranger.get(path) as answer:
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(("host", "status"), [("[", 403), ("[::1", 403), ("evil.example", 403), ("localhost:1", 200)])
async def test_an_open_gateway_answers_to_its_own_names_alone(host: str, status: int) -> None:
    async with (
        served(FakeBackend(), token="") as gateway,
        ClientSession(gateway.url) as client,
        client.get("/api/kernels", headers={"Host": host}) as answer,
    ):
        assert answer.status == status
