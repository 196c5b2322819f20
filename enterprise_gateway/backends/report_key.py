"""The key pair of one start by a launcher: what the launcher seals its reports with, and what opens them."""

from __future__ import annotations

import base64
from typing import NamedTuple

from enterprise_gateway.core.secret import Secret

_BITS = 2048
_EXPONENT = 65537


class ReportKey(NamedTuple):
    """Both halves."""

    private: Secret
    """In PEM; the agent's alone."""
    public: str
    """As launchers read it: base64 of DER, SubjectPublicKeyInfo."""


def make_report_key() -> ReportKey:
    """A new one. Takes some 40 ms, at times 120, without Python's lock: for a thread, not for an event loop."""
    # Most gateways never need it, and it takes its time.
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415

    key = rsa.generate_private_key(_EXPONENT, _BITS)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return ReportKey(Secret(private.decode()), base64.b64encode(public).decode())
