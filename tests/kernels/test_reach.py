"""Connections to agents over TLS: the pinned key, and nothing of ours for anybody else."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from enterprise_gateway.core.keys import KernelSecrets, MasterKeys
from enterprise_gateway.core.records import TlsEndpoint
from enterprise_gateway.core.tls import make_identity
from enterprise_gateway.kernels.reach import Address, connect

KEYS = MasterKeys([b"k" * 32])


def secrets_of(kernel_id: str) -> KernelSecrets:
    return KEYS.secrets(KEYS.newest_id, kernel_id)


class Recorder(asyncio.Protocol):
    """Keeps what is sent to a server."""

    def __init__(self, received: asyncio.Queue[bytes]) -> None:
        self._received = received

    def data_received(self, data: bytes) -> None:
        self._received.put_nowait(data)


@asynccontextmanager
async def agent(folder: Path, kernel_id: str) -> AsyncIterator[tuple[int, asyncio.Queue[bytes]]]:
    """Somebody who listens with a kernel's key: the port, and what was received."""
    pem = folder / f"{kernel_id}.pem"
    pem.write_bytes(make_identity(secrets_of(kernel_id).tls_seed))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    received: asyncio.Queue[bytes] = asyncio.Queue()
    server = await asyncio.get_running_loop().create_server(lambda: Recorder(received), "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1], received


def address(port: int, kernel_id: str) -> Address:
    secrets = secrets_of(kernel_id)
    return Address(TlsEndpoint("127.0.0.1", port), secrets.token, secrets.tls_seed)


async def test_an_agent_that_shows_its_kernels_key_is_spoken_to(tmp_path: Path) -> None:
    async with agent(tmp_path, "one") as (port, received):
        transport, _ = await connect(address(port, "one"), asyncio.Protocol)
        transport.write(b"hello")
        async with asyncio.timeout(10):
            assert await received.get() == b"hello"
        transport.abort()


async def test_another_kernels_agent_at_the_same_address_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    async with agent(tmp_path, "other") as (port, received):
        with pytest.raises(ConnectionRefusedError, match="does not hold this kernel's key"):
            await connect(address(port, "one"), asyncio.Protocol)
    assert received.empty()


class Blunt(asyncio.Protocol):
    """Answers with something that is not TLS."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def test_somebody_without_tls_is_an_error_of_the_connection() -> None:
    server = await asyncio.get_running_loop().create_server(Blunt, "127.0.0.1", 0)
    async with server:
        with pytest.raises(OSError, match=r"WRONG_VERSION_NUMBER|wrong version"):
            await connect(address(server.sockets[0].getsockname()[1], "one"), asyncio.Protocol)
