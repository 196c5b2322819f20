"""What settings must not say together.

Decisions only: `contradiction` names the first one, `config.build` raises it. Pure: whether a file is there
and an address exists is for those who open and bind them to find out.
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from enterprise_gateway.config.settings import Settings


class Contradiction(NamedTuple):
    """Settings that cannot hold together."""

    fields: tuple[str, ...]
    sentence: str


def contradiction(settings: Settings) -> Contradiction | None:
    """The first thing in `settings` that cannot be meant, or None."""
    if (problem := settings.port_range.problem(settings.min_port_range_size)) is not None:
        return Contradiction(("port_range",), f"the range {settings.port_range} {problem}")
    for name in ("keyfile", "client_ca"):
        if getattr(settings, name) is not None and settings.certfile is None:
            return Contradiction((name,), "there is no TLS without a certificate: set EG_CERTFILE as well")
    if settings.authorized_origin and settings.client_ca is None:
        return Contradiction(("authorized_origin",), "clients have no certificate to show unless EG_CLIENT_CA is set")
    if is_open(settings) and not is_loopback(settings.ip) and not settings.allow_unauthenticated:
        return Contradiction(
            ("ip", "auth_token"),
            f"anybody who reaches {settings.ip or 'this machine'} could run code on it: set EG_AUTH_TOKEN, "
            "or EG_ALLOW_UNAUTHENTICATED=true if something in front of the gateway authenticates",
        )
    return None


def is_open(settings: Settings) -> bool:
    """Whether requests need no credential at all."""
    return settings.auth_token == "" and settings.token_file is None and settings.client_ca is None


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is for this machine alone; of names, only localhost is."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
