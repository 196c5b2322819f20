"""Waiting for the ends of processes, children or not."""

from __future__ import annotations

import contextlib
import os
import select

DEADLINE = 30.0


def have_ended(*pids: int) -> bool:
    """Wait for the ends of these processes; False when one lives on. A zombie nobody has reaped yet has ended."""
    with contextlib.ExitStack() as stack:
        for pid in pids:
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            stack.callback(os.close, descriptor)
            if not select.select([descriptor], [], [], DEADLINE)[0]:
                return False
    return True
