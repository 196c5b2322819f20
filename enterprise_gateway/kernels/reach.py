"""Connections to agents: a unix socket here, or TLS to a pod, where the agent must show this kernel's own key.

A pod's address may belong to another pod by the time it is used, and anybody may answer at one; the pinned key
is what tells them apart, before a single byte of ours is sent. One event loop.
"""

from __future__ import annotations

import asyncio
import hmac
import socket
import ssl
from collections.abc import Callable
from typing import TypeVar, assert_never

import msgspec

from enterprise_gateway.core import tls
from enterprise_gateway.core.records import Endpoint, TlsEndpoint, UnixEndpoint
from enterprise_gateway.core.secret import Secret

_PROBES = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 2, "TCP_USER_TIMEOUT": 20_000}
"""Seconds, seconds, probes, milliseconds: a node that has vanished says nothing. Not every platform has all of them."""

_Protocol = TypeVar("_Protocol", bound=asyncio.Protocol)


class Address(msgspec.Struct, frozen=True):
    """Where an agent listens, the token it wants, and where its key comes from."""

    endpoint: Endpoint
    token: Secret
    tls_seed: Secret = Secret("")
    """Makes the key that an agent on a network must show."""

    @property
    def authorization(self) -> tuple[str, str]:
        """The header that authenticates a gateway to the agent."""
        return ("Authorization", f"token {self.token.reveal()}")


async def connect(address: Address, factory: Callable[[], _Protocol]) -> tuple[asyncio.Transport, _Protocol]:
    """A connection to the agent at `address`.

    Raises:
        OSError: nobody listens there, or somebody else does.
    """
    loop = asyncio.get_running_loop()
    match address.endpoint:
        case UnixEndpoint(path=path):
            transport, protocol = await loop.create_unix_connection(factory, path)
        case TlsEndpoint(host=host, port=port):
            transport, protocol = await loop.create_connection(factory, host, port, ssl=_CONTEXT)
            if not _shows(transport, tls.pin(address.tls_seed)):
                transport.abort()
                raise ConnectionRefusedError(f"who answers at {host}:{port} does not hold this kernel's key")
            _notice_a_vanished_node(transport)
        case endpoint:
            assert_never(endpoint)
    return transport, protocol


def _shows(transport: asyncio.BaseTransport, pin: bytes) -> bool:
    certificate = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return hmac.compare_digest(tls.shown_key(certificate or b""), pin)


def _notice_a_vanished_node(transport: asyncio.BaseTransport) -> None:
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _PROBES.items():
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    # No authority vouches for an agent: its key is compared with the pinned one.
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


_CONTEXT = _context()
