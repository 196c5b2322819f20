"""Who may use a kernel spec.

Pure rules, asked by `?user=` listings and again at every start. Names are compared as they are, letter case
included.
"""

from __future__ import annotations

import msgspec

from .model import KernelSpec


class Decision(msgspec.Struct, frozen=True):
    """Whether, and if not, why not, in words for the user."""

    allowed: bool
    reason: str = ""


def may_use(spec: KernelSpec, user: str, authorized: frozenset[str] | None, unauthorized: frozenset[str]) -> Decision:
    """Whether `user` may see and start `spec`.

    The deny set is asked first and wins: `unauthorized` and the spec's own together. Then the allow set: the
    spec's own where it has one, else `authorized`. None or an empty set allows everybody; a set of the empty
    name alone (EG's reading of `EG_AUTHORIZED_USERS=`) allows nobody.
    """
    about = f"User {user!r} may not use the kernel {spec.display_name!r}"
    if user in unauthorized or user in spec.placement.unauthorized_users:
        return Decision(allowed=False, reason=f"{about}: the name is in the set of unauthorized users")
    allow_set = spec.placement.authorized_users or authorized
    if allow_set and not (user and user in allow_set):
        return Decision(allowed=False, reason=f"{about}: the name is not in the set of authorized users")
    return Decision(allowed=True)


def split_user(value: str) -> tuple[str, str | None]:
    """The user and the kernel spec's name in a `?user=` value.

    The stock Jupyter client asks for one spec at `/api/kernelspecs?user=bob/python3`: it appends the name
    behind the query. So what follows the last `/` is a spec's name; None when there is none.
    """
    user, slash, name = value.rpartition("/")
    return (user, name or None) if slash else (value, None)
