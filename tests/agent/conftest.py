"""An agent inside the test's own event loop: real sockets, real kernel processes, and its objects within reach."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import uvloop
from agent_parts import InProcessAgent


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Agents run on uvloop, whose transports and processes are not asyncio's."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a path short enough for unix sockets in it."""
    path = Path(tempfile.mkdtemp(prefix="eg-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
async def start_agent(folder: Path) -> AsyncIterator[Callable[..., InProcessAgent]]:
    """Starts agents whose kernels end with the test."""
    async with AsyncExitStack() as stack:

        async def start(*flags: str, **rules: object) -> InProcessAgent:
            return await stack.enter_async_context(InProcessAgent(folder, flags, rules))

        yield start
