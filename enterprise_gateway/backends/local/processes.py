"""Ending processes that nobody looks after any more, and only those: ids are checked before a signal is sent."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

PROC = Path("/proc")


def is_agent(pid: int, log: Path) -> bool:
    """Whether `pid` is the agent that writes `log`; ids are used again, by other agents too."""
    try:
        return pid > 0 and (PROC / str(pid) / "fd" / "1").readlink() == log
    except OSError:
        return False


def kill_agent(pid: int, log: Path) -> None:
    """SIGKILL `pid` if it is the agent that writes `log`."""
    if is_agent(pid, log):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def kill_group(pgid: int, kernel_id: str) -> None:
    """SIGKILL the processes of group `pgid` if any of them has this kernel's id in its environment.

    Without /proc nothing can be checked, and nothing is done.
    """
    if not pgid or not PROC.is_dir() or not _group_exists(pgid):
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


def _group_exists(pgid: int) -> bool:
    try:
        os.killpg(pgid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _read(pid: int, name: str) -> bytes:
    try:
        return (PROC / str(pid) / name).read_bytes()
    except OSError:
        return b""
