"""What a kernel asks of whoever holds its process: its agent (`agent.child`) or a container (`agent.supervised`).

Says nothing of how. One event loop.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple, Protocol

from enterprise_gateway.core.records import ConnectionInfo, EndReport


class Exit(NamedTuple):
    """The end of one life."""

    code: int | None
    """The exit code, negative for the signal that ended it; None when nobody knows."""
    reason: str
    """In words for the user."""
    final: bool = False
    """Whether no other life can follow it in this place."""


class Process(Protocol):
    """One life of the kernel."""

    pid: int
    """Where it runs: in a container, that container's number."""
    exited: asyncio.Future[Exit]

    def signal_group(self, signum: int) -> None:
        """Send a signal to every process of the kernel's group."""

    async def close(self) -> None:
        """End what is left of it; `exited` is done afterwards."""


class Holder(Protocol):
    """The place where a kernel lives, one life after the other."""

    ready: asyncio.Event
    """Set once a life can begin."""

    async def start(self) -> Process:
        """Begin a life; only when it is ready and no other is left.

        Raises:
            OSError: the command cannot be run; the message says why.
            ValueError: likewise, of a command or environment with a NUL in it.
        """

    async def connection(self, planned: ConnectionInfo) -> ConnectionInfo:
        """Where the life that began last listens: as planned, or as its launcher says once it has chosen."""

    @property
    def silence(self) -> str:
        """While `connection` is waited for: what has not come, in words for the user."""

    @property
    def log_tail(self) -> str:
        """The last output, if it passes here."""

    @property
    def forsaken(self) -> str:
        """Why no gateway could find this kernel any more; empty while one could."""

    def leave(self, report: EndReport) -> None:
        """The kernel has ended for good: put the report where its backend looks for it."""
