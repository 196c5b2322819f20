"""The processes behind a local kernel, found the way an operator finds them: in the state folder and in /proc."""

from __future__ import annotations

import os

import psutil
from support.gateway import Gateway


def agent_pid(gateway: Gateway, kernel_id: str) -> int:
    return _pid(gateway, kernel_id, "agent.pid")


def kernel_pid(gateway: Gateway, kernel_id: str) -> int:
    return _pid(gateway, kernel_id, "kernel.pid")


def group(pgid: int) -> list[int]:
    """Living processes of a process group."""
    return [process.pid for process in psutil.process_iter() if _lives_in(process, pgid)]


def _pid(gateway: Gateway, kernel_id: str, name: str) -> int:
    return int((gateway.state_dir / "kernels" / kernel_id / name).read_text())


def _lives_in(process: psutil.Process, pgid: int) -> bool:
    try:
        return os.getpgid(process.pid) == pgid and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False
