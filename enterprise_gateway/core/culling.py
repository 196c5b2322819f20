"""When a kernel has been idle, unused or alive for too long. Pure: time is an argument."""

from __future__ import annotations

import msgspec


class CullPolicy(msgspec.Struct, frozen=True):
    """An operator's rules; 0 seconds switches a rule off."""

    idle_timeout: float = 0.0
    """Seconds without activity."""
    cull_connected: bool = False
    """Whether kernels with an open websocket are culled too."""
    cull_busy: bool = False
    """Whether kernels that are executing are culled too."""
    max_age: float = 0.0
    """Seconds since the start, whatever the kernel does."""
    orphan_timeout: float = 0.0
    """Seconds since a gateway was last heard of and anything happened."""

    @property
    def enabled(self) -> bool:
        """Whether any rule is on."""
        return bool(self.idle_timeout or self.max_age or self.orphan_timeout)


class Usage(msgspec.Struct, frozen=True):
    """What the rules look at; times in Unix seconds."""

    started: float
    last_activity: float
    last_gateway: float
    connections: int
    busy: bool


def cull_reason(policy: CullPolicy, usage: Usage, now: float) -> str | None:
    """Why the kernel should end now, for its user to read; None to let it live."""
    if policy.max_age and now - usage.started >= policy.max_age:
        return f"it reached its maximum age of {_seconds(policy.max_age)}"
    idle = now - usage.last_activity
    if policy.orphan_timeout and not usage.busy and min(idle, now - usage.last_gateway) >= policy.orphan_timeout:
        return f"no gateway and no activity for {_seconds(policy.orphan_timeout)}"
    if not policy.idle_timeout or idle < policy.idle_timeout:
        return None
    if usage.busy and not policy.cull_busy:
        return None
    if usage.connections and not policy.cull_connected:
        return None
    return f"it was idle for {_seconds(idle)} (the limit is {_seconds(policy.idle_timeout)})"


def seconds_to_next_check(policy: CullPolicy, usage: Usage, now: float) -> float:
    """How long `cull_reason` cannot change its answer for lack of time; at least one second, at most a minute."""
    moments = [now + 60.0]
    if policy.max_age:
        moments.append(usage.started + policy.max_age)
    if policy.idle_timeout:
        moments.append(usage.last_activity + policy.idle_timeout)
    if policy.orphan_timeout:
        moments.append(max(usage.last_activity, usage.last_gateway) + policy.orphan_timeout)
    return max(min(moments) - now, 1.0)


def _seconds(value: float) -> str:
    return f"{value:.0f} s"
