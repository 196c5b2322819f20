"""Ending processes that nobody looks after any more, and only those: ids are checked before a signal is sent."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

PROC = Path("/proc")
AGENT_MODULE = b"enterprise_gateway.agent"


def kill_agent(pid: int) -> None:
    """SIGKILL `pid` if it is still an agent."""
    if pid and AGENT_MODULE in _read(pid, "cmdline"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def kill_group(pgid: int, kernel_id: str) -> None:
    """SIGKILL the processes of group `pgid` if any of them has this kernel's id in its environment.

    Without /proc nothing can be checked, and nothing is done.
    """
    if not pgid or not PROC.is_dir():
        return
    marker = f"KERNEL_ID={kernel_id}".encode()
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(pid) == pgid and marker in _read(pid, "environ").split(b"\0"):
                os.killpg(pgid, signal.SIGKILL)
                return


def _read(pid: int, name: str) -> bytes:
    try:
        return (PROC / str(pid) / name).read_bytes()
    except OSError:
        return b""
