"""The operator's rules for starts, as plain data and pure decisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

import msgspec

from enterprise_gateway.core.agents import AgentRules
from enterprise_gateway.core.principals import Principal
from enterprise_gateway.core.records import KernelRecord
from enterprise_gateway.errors import Forbidden, InvalidRequest, LimitReached


class StartRules(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator configured about starts."""

    client_envs: tuple[str, ...]
    inherited_envs: tuple[str, ...]
    authorized_users: frozenset[str]
    unauthorized_users: frozenset[str]
    max_kernels: int | None
    max_kernels_per_user: int
    """-1 for no limit."""
    launch_timeout: float
    """Seconds for a kernel to become ready, unless the client asks for another time."""
    start_wait: float
    """Seconds after which a start that is still under way is answered."""
    root_dir: str
    """Kernels begin in this folder, or below it where a `path` says so."""
    agent: AgentRules
    public_url: str = ""
    """Where browsers reach the gateway, base URL included; empty when nobody has said."""

    @property
    def limited(self) -> bool:
        """Whether there is any limit on the number of kernels."""
        return self.max_kernels is not None or self.max_kernels_per_user >= 0


class StartRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /api/kernels`; every field may be left out or null, as clients send it."""

    name: str | None = None
    path: str | None = None
    env: dict[str, Any] | None = None


def username_for(principal: Principal, env: Mapping[str, str]) -> str:
    """In whose name the kernel runs.

    Raises:
        Forbidden: `principal` may not speak for the name it gave.
    """
    username = env.get("KERNEL_USERNAME") or principal.name
    if not principal.may_speak_for(username):
        raise Forbidden(f"KERNEL_USERNAME is {username!r}, but {principal.name!r} may only start kernels for itself")
    return username


def check_limits(rules: StartRules, username: str, others: Iterable[KernelRecord]) -> None:
    """Whether one more kernel of `username` is within the limits beside `others`, those still starting included.

    Raises:
        LimitReached: it is not.
    """
    usernames = [record.username for record in others]
    if rules.max_kernels is not None and len(usernames) >= rules.max_kernels:
        raise LimitReached(
            f"Resource Limit: {len(usernames)} kernels are running and EG_MAX_KERNELS is {rules.max_kernels}; "
            "shut one down first"
        )
    own = usernames.count(username)
    if 0 <= rules.max_kernels_per_user <= own:
        raise LimitReached(
            f"Resource Limit: {username!r} has {own} kernels and EG_MAX_KERNELS_PER_USER is "
            f"{rules.max_kernels_per_user}; shut one down first"
        )


def working_directory(path: str) -> PurePosixPath:
    """An API path as a relative path without a way up.

    Raises:
        InvalidRequest: it leaves the root.
    """
    relative = PurePosixPath(path.lstrip("/"))
    if ".." in relative.parts or "\0" in path:
        raise InvalidRequest("'path' must be a path below the gateway's root folder, without '..'")
    return relative
