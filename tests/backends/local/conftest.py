"""State folders, and gateways' backends on them, in the test's own event loop."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import uvloop
from local_parts import Gateways

from enterprise_gateway.backends.local.folder import StateFolder


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Gateways run on uvloop, whose transports and processes are not asyncio's."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder with a path short enough for unix sockets in it."""
    path = Path(tempfile.mkdtemp(prefix="eg-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def folder(root: Path) -> StateFolder:
    made = StateFolder(root / "s")
    made.prepare()
    return made


@pytest.fixture
async def gateways(folder: StateFolder) -> AsyncIterator[Gateways]:
    """Makes backends on one state folder; no kernel outlives the test."""
    made = Gateways(folder)
    yield made
    await made.close()
