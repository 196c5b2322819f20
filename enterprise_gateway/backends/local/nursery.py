"""The gateway's side of `agent.nursery`: a warm process that forks an agent on request."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from enterprise_gateway.core.agents import KernelProcessConfig
from enterprise_gateway.core.warm import NurseryAnswer, NurseryRequest, Recipe
from enterprise_gateway.errors import BackendUnavailable

log = logging.getLogger(__name__)

TIMEOUT = 10.0
"""Seconds for a fork; far more than it takes."""
_NEEDED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
"""All an agent's own environment holds: no setting and no secret of the gateway."""


class Nursery:
    """Starts agents; begins a new warm parent whenever the last one is gone."""

    def __init__(self, environ: Mapping[str, str], recipe: Recipe | None, parked: int) -> None:
        """`parked` interpreters made from `recipe` are kept ready for kernels it fits."""
        self._environ = {name: environ[name] for name in _NEEDED if name in environ}
        self._recipe = recipe if parked else None
        self._count = parked
        self._lock = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def warm_up(self) -> None:
        """Have the parent ready before the first start."""
        async with self._lock:
            await self._ensure()

    async def start(self, folder: Path, listen_on: Path, process: KernelProcessConfig) -> int:
        """Fork an agent for the kernel in `folder`; it listens on the unix socket `listen_on` at once. Its process id.

        Raises:
            BackendUnavailable: no process could be started.
        """
        fits = self._recipe is not None and self._recipe.fits(process.argv, process.env)
        async with self._lock:
            await self._ensure()
            return (await self._ask(NurseryRequest(str(folder), str(listen_on), parked=fits))).pid

    async def close(self) -> None:
        """End the parent; the agents live on."""
        async with self._lock:
            await self._drop()

    async def _ensure(self) -> None:
        """Have a parent.

        Raises:
            BackendUnavailable: it cannot be started.
        """
        if self._process is not None and self._process.returncode is None and self._writer is not None:
            return
        await self._drop()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", "enterprise_gateway.agent.nursery", str(theirs.fileno())),
                    pass_fds=[theirs.fileno()],
                    env=self._environ,
                    stdin=asyncio.subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                raise BackendUnavailable(f"No agent could be started: {error}") from None
        self._reader, self._writer = await asyncio.open_connection(sock=ours)
        if self._recipe is not None:
            await self._ask(NurseryRequest(recipe=self._recipe, count=self._count))

    async def _ask(self, request: NurseryRequest) -> NurseryAnswer:
        assert self._reader is not None  # noqa: S101 - _ensure came first
        assert self._writer is not None  # noqa: S101
        try:
            async with asyncio.timeout(TIMEOUT):
                self._writer.write(msgspec.json.encode(request) + b"\n")
                answer = msgspec.json.decode(await self._reader.readline(), type=NurseryAnswer)
        except (OSError, msgspec.MsgspecError) as error:
            await self._drop()
            raise BackendUnavailable(f"No agent could be started: {error!r}") from None
        except asyncio.CancelledError:
            # The answer that is under way must not be taken for the next request's.
            self._writer.close()
            self._writer = None
            raise
        if answer.error:
            raise BackendUnavailable(f"No agent could be started: {answer.error}")
        return answer

    async def _drop(self) -> None:
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        if self._process is not None:
            await self._process.wait()
        self._process = self._reader = self._writer = None
