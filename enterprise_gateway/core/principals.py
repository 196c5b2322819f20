"""Who asks: principals, their roles, and which of them may act for others.

Pure rules. Credentials are compared in `core.tokens`; what a principal may see is decided here and asked by
`kernels.manager`.
"""

from __future__ import annotations

import enum

import msgspec


class Role(enum.StrEnum):
    """What a principal may do beyond its own kernels."""

    USER = "user"
    """Sees and uses its own kernels."""
    OPERATOR = "operator"
    """Sees and uses every kernel."""


class Principal(msgspec.Struct, frozen=True):
    """An authenticated caller."""

    name: str
    role: Role = Role.USER
    speaks_for_others: bool = False
    """Whether `KERNEL_USERNAME` and `?user=` may name somebody else than `name`."""

    def may_see(self, owner: str) -> bool:
        """Whether a kernel owned by the principal named `owner` exists for this one."""
        return self.role is Role.OPERATOR or self.name == owner

    def may_speak_for(self, username: str) -> bool:
        """Whether this principal may start kernels under `username`."""
        return self.speaks_for_others or username == self.name


SHARED_TOKEN_PRINCIPAL = Principal("shared-token", Role.USER, speaks_for_others=True)
"""Everybody who holds the one token of `EG_AUTH_TOKEN`: they share their kernels, as with EG."""

ANONYMOUS = Principal("anonymous", Role.USER, speaks_for_others=True)
"""Everybody, where authentication is switched off (`EG_AUTH_TOKEN=`)."""
