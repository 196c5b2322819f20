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

from enterprise_gateway.errors import BackendUnavailable

log = logging.getLogger(__name__)

TIMEOUT = 10.0
"""Seconds for a fork; far more than it takes."""
_NEEDED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
"""All an agent's own environment holds: no setting and no secret of the gateway."""


class _Answer(msgspec.Struct):
    pid: int = 0
    error: str = ""


class Nursery:
    """Starts agents; begins a new warm parent whenever the last one is gone."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = {name: environ[name] for name in _NEEDED if name in environ}
        self._lock = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def warm_up(self) -> None:
        """Have the parent ready before the first start."""
        async with self._lock:
            await self._ensure()

    async def start(self, folder: Path, listen_on: Path) -> int:
        """Fork an agent for the kernel in `folder`; it listens on the unix socket `listen_on` at once. Its process id.

        Raises:
            BackendUnavailable: no process could be started.
        """
        request = msgspec.json.encode({"folder": str(folder), "socket": str(listen_on)}) + b"\n"
        async with self._lock:
            try:
                async with asyncio.timeout(TIMEOUT):
                    reader, writer = await self._ensure()
                    writer.write(request)
                    answer = msgspec.json.decode(await reader.readline(), type=_Answer)
            except (OSError, TimeoutError, msgspec.MsgspecError) as error:
                await self._drop()
                raise BackendUnavailable(f"No agent could be started: {error!r}") from None
        if answer.error:
            raise BackendUnavailable(f"No agent could be started: {answer.error}")
        return answer.pid

    async def close(self) -> None:
        """End the parent; the agents live on."""
        async with self._lock:
            await self._drop()

    async def _ensure(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        alive = self._process is not None and self._process.returncode is None
        if alive and self._reader is not None and self._writer is not None:
            return self._reader, self._writer
        await self._drop()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "enterprise_gateway.agent.nursery", str(theirs.fileno())),
                pass_fds=[theirs.fileno()],
                env=self._environ,
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        self._reader, self._writer = await asyncio.open_connection(sock=ours)
        return self._reader, self._writer

    async def _drop(self) -> None:
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        if self._process is not None:
            await self._process.wait()
        self._process = self._reader = self._writer = None
