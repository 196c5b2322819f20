"""Six thousand hostile requests: the gateway answers each with a client's error and keeps nothing of them."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import urlsplit

from aiohttp import ClientSession
from fuzz_target import Target, check_answer
from hostile_http import Requests
from hostile_json import encoded, session_body, start_body

Input = TypeVar("Input")

AT_ONCE = 16
QUIET_SECONDS = 0.1
"""A server that says nothing for so long waits for more; then it is told that no more will come."""
DEADLINE = 30.0


def test_four_thousand_hostile_requests(target: Target) -> None:
    rng = random.Random(4000)
    requests = Requests(rng, target.gateway.token, target.kernel_id)
    port = urlsplit(target.gateway.url).port or 0

    def attack(count: int) -> None:
        asyncio.run(side_by_side([requests.make() for _ in range(count)], lambda data: one_connection(port, data)))

    target.survives(attack, 4000)


def test_two_thousand_hostile_bodies(target: Target) -> None:
    rng = random.Random(2000)
    session = f"/api/sessions/{target.session_id}"

    def one() -> tuple[str, str, bytes]:
        match rng.randrange(3):
            case 0:
                return "POST", "/api/kernels", encoded(rng, start_body(rng))
            case 1:
                return "POST", "/api/sessions", encoded(rng, session_body(rng))
            case _:
                return "PATCH", session, encoded(rng, session_body(rng))

    def attack(count: int) -> None:
        asyncio.run(send_bodies(target, [one() for _ in range(count)]))

    target.survives(attack, 2000)
    assert target.gateway.rest.kernel_ids() == {target.kernel_id}


async def side_by_side(inputs: list[Input], send: Callable[[Input], Awaitable[None]]) -> None:
    few = asyncio.Semaphore(AT_ONCE)

    async def one(each: Input) -> None:
        async with few, asyncio.timeout(DEADLINE):
            await send(each)

    async with asyncio.TaskGroup() as group:
        for each in inputs:
            group.create_task(one(each))


async def one_connection(port: int, data: bytes) -> None:
    """Send `data`, hear the answers, and claim that the server lets go when the client does."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    with contextlib.suppress(ConnectionError):
        writer.write(data)
        with contextlib.suppress(TimeoutError):
            while chunk := await asyncio.wait_for(reader.read(1 << 20), QUIET_SECONDS):
                answer += chunk
        if not reader.at_eof():
            writer.write_eof()
            answer += await reader.read()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    check_answer(answer, data)


async def send_bodies(target: Target, cases: list[tuple[str, str, bytes]]) -> None:
    headers = {"Authorization": f"token {target.gateway.token}", "Content-Type": "application/json"}
    async with ClientSession(target.gateway.url, headers=headers) as client:

        async def send(case: tuple[str, str, bytes]) -> None:
            method, path, body = case
            async with client.request(method, path, data=body) as answer:
                check_answer(b"HTTP/1.1 %d\r\n" % answer.status + await answer.read(), body)

        await side_by_side(cases, send)
