"""What agents, and others, say to the port where agents say that they listen."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest
from aiohttp import ClientSession
from fakes.backend import FakeBackend
from support.served import KEYS, new_record

from enterprise_gateway.core.keys import MasterKeys
from enterprise_gateway.core.pods import Hello, hello_proof
from enterprise_gateway.core.records import ObservedKernel, Phase
from enterprise_gateway.kernels.registry import Registry
from enterprise_gateway.web.hello import make_hello_app
from enterprise_gateway.web.server import Sites, listen


class Home:
    """A replica's agents' port, and what it made of what was said there."""

    def __init__(self) -> None:
        self.backend = FakeBackend()
        self.keys = {"local": KEYS}
        self.announced: list[tuple[str, str]] = []
        self.url = ""

    def add_kernel(self) -> str:
        record = new_record()
        self.backend.kernels[record.kernel_id] = ObservedKernel(record=record, phase=Phase.STARTING)
        return record.kernel_id

    async def post(self, kernel_id: str, body: bytes) -> int:
        async with ClientSession() as session, session.post(f"{self.url}/agents/{kernel_id}", data=body) as answer:
            return answer.status


@pytest.fixture
async def home() -> AsyncIterator[Home]:
    home, sites = Home(), Sites()
    registry = Registry({"local": home.backend}, home.keys)
    listener = listen("127.0.0.1", 0, 0)
    await sites.serve(make_hello_app(registry, lambda *said: home.announced.append(said)), listener)
    home.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    yield home
    await sites.close()


def hello(kernel_id: str, host: str = "10.0.0.7", *, said_id: str = "", port: int = 8443) -> bytes:
    token = KEYS.secrets(KEYS.newest_id, kernel_id).token.reveal()
    return msgspec.json.encode(Hello(host, port, hello_proof(token, said_id or kernel_id, host, port)))


@pytest.mark.parametrize("host", ["10.0.0.7", "fd00::7", "2001:db8::1"])
async def test_an_agents_own_words_are_announced(home: Home, host: str) -> None:
    kernel_id = home.add_kernel()
    assert await home.post(kernel_id, hello(kernel_id, host)) == 204
    assert home.announced == [(kernel_id, host)]


async def test_only_the_kernels_own_agent_is_believed(home: Home) -> None:
    kernel_id, other = home.add_kernel(), home.add_kernel()
    true = msgspec.json.decode(hello(kernel_id), type=Hello)
    changed = [msgspec.structs.replace(true, host="10.6.6.6"), msgspec.structs.replace(true, port=1)]
    for body in (*map(msgspec.json.encode, changed), hello(other, said_id=kernel_id)):
        assert await home.post(kernel_id, body) == 404
    assert await home.post(other, hello(kernel_id)) == 404
    assert home.announced == []


async def test_an_unknown_kernel_has_no_agent(home: Home) -> None:
    kernel_id = new_record().kernel_id
    assert await home.post(kernel_id, hello(kernel_id)) == 404
    assert home.announced == []


async def test_a_kernel_whose_master_key_is_gone_has_no_agent(home: Home) -> None:
    kernel_id = home.add_kernel()
    home.keys["local"] = MasterKeys([bytes(32)])
    assert await home.post(kernel_id, hello(kernel_id)) == 404


async def test_an_agent_is_asked_to_come_back_while_kernels_are_being_read(home: Home) -> None:
    kernel_id = home.add_kernel()
    home.backend.synced = False
    assert await home.post(kernel_id, hello(kernel_id)) == 503
    home.backend.synced = True
    assert await home.post(kernel_id, hello(kernel_id)) == 204


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b'{"host": "10.0.0.7"}',
        b'{"host": 7, "port": 8443, "proof": "x"}',
        b'{"host": "attacker.example", "port": 8443, "proof": "x"}',
        b'{"host": "10.0.0.7/../x", "port": 8443, "proof": "x"}',
        b'{"x":' + b"[" * 1000,
        b'{"host": "10.0.0.7", "port": 8443, "proof": "\\ud800"}',
    ],
)
async def test_what_is_no_hello_is_refused(home: Home, body: bytes) -> None:
    assert await home.post(home.add_kernel(), body) == 400
    assert home.announced == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"host": "10.0.0.7", "port": 8443, "proof": "é"}', 404),
        ('{"host": "fe80::1%é", "port": 8443, "proof": "é"}', 404),
        ('{"host": "10.0.0.7", "port": 8443, "proof": "' + "x" * 2000 + '"}', 413),
    ],
)
async def test_strange_words_are_refused_in_good_order(home: Home, body: str, status: int) -> None:
    assert await home.post(home.add_kernel(), body.encode()) == status
    assert home.announced == []


async def test_strange_paths_are_nobodys(home: Home) -> None:
    for kernel_id in ("..%2F..%2Fx", "%00", "x" * 5000):
        assert await home.post(kernel_id, hello(home.add_kernel())) == 404
