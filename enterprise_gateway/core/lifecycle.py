"""The life of a kernel as its agent sees it: states, and the only ways from one to another.

    STARTING ──ready──> RUNNING ──died/restart──> RESTARTING ──ready──> RUNNING
        │                  │                          │
        └──────────────────┴────────── end ───────────┴──> ENDED

A kernel that fails its first start ends. One that dies later is restarted in place until the restart policy
gives up. `ENDED` is final and carries a reason. Pure.
"""

from __future__ import annotations

import enum

import msgspec


class KernelState(enum.StrEnum):
    """Where a kernel is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    ENDED = "ended"


_NEXT: dict[KernelState, frozenset[KernelState]] = {
    KernelState.STARTING: frozenset({KernelState.RUNNING, KernelState.RESTARTING, KernelState.ENDED}),
    KernelState.RUNNING: frozenset({KernelState.RESTARTING, KernelState.ENDED}),
    KernelState.RESTARTING: frozenset({KernelState.RUNNING, KernelState.RESTARTING, KernelState.ENDED}),
    KernelState.ENDED: frozenset(),
}


def may_become(state: KernelState, new: KernelState) -> bool:
    """Whether a kernel in `state` may go to `new`."""
    return new in _NEXT[state]


class Restart(msgspec.Struct, frozen=True):
    """Start the kernel again after `delay` seconds; it is attempt `attempt` of `limit`."""

    delay: float
    attempt: int
    limit: int


class GiveUp(msgspec.Struct, frozen=True):
    """Do not start the kernel again."""

    because: str


class RestartPolicy(msgspec.Struct, frozen=True):
    """When a kernel that died is started again, as Jupyter's restarter does it.

    A kernel that lived for `stable` seconds begins a new count.
    """

    enabled: bool = True
    limit: int = 5
    stable: float = 10.0

    def decide(self, attempts: int, lived: float) -> Restart | GiveUp:
        """What to do after a death: `attempts` restarts were made already, the last life took `lived` seconds."""
        if not self.enabled:
            return GiveUp("automatic restart is switched off")
        if lived >= self.stable:
            attempts = 0
        if attempts >= self.limit:
            return GiveUp(f"it died {attempts + 1} times in a row")
        delay = 0.0 if attempts == 0 else min(0.25 * 2.0**attempts, 4.0)
        return Restart(delay, attempts + 1, self.limit)
