"""The client of the seed: NB2KG's requests, in the order of a notebook's life."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from support.gateway import StartGateway
from support.nb2kg import Nb2Kg

DEADLINE = 60.0


def in_time(work: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE):
            await work()

    asyncio.run(bounded())


@pytest.mark.parametrize("credentials", ["token", "basic"])
def test_a_classic_notebook_lives_through_a_kernels_life(start_gateway: StartGateway, credentials: str) -> None:
    gateway = start_gateway()

    async def notebook() -> None:
        if credentials == "token":
            client = Nb2Kg(gateway.url, gateway.token)
        else:
            client = Nb2Kg(gateway.url, user="alice", password=gateway.token)
        assert "python3" in (await client.kernelspecs())["kernelspecs"]
        kernel_id = await client.start("python3", KERNEL_USERNAME="alice", KERNEL_WORKING_DIR="/not/here")
        socket = await client.connect(kernel_id)
        text, reply = await socket.output(
            await socket.send_code("import os; kept = 1; print(os.environ['KERNEL_USERNAME'])")
        )
        assert (text.strip(), reply["status"]) == ("alice", "ok")

        slow = await socket.send_code("import time\nprint('on', flush=True)\nwhile True: time.sleep(0.01)")
        await socket.output(slow, until="stream")
        assert await client.act(kernel_id, "interrupt") == 204
        _, reply = await socket.output(slow)
        assert reply["ename"] == "KeyboardInterrupt"
        text, _ = await socket.output(await socket.send_code("print(kept)"))
        assert text.strip() == "1"

        assert await client.act(kernel_id, "restart") == 200
        _, reply = await socket.output(await socket.send_code("kept"))
        assert reply["ename"] == "NameError"
        assert (await client.model(kernel_id))["id"] == kernel_id
        socket.close()
        assert await client.shut_down(kernel_id) == 204

    in_time(notebook)
