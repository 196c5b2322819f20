"""An agent's TLS identity: a key made from the kernel's secrets, which every gateway can make again and pin.

Pure. The certificate only carries the key; its names and dates mean nothing, because nobody checks them.
"""

from __future__ import annotations

import datetime
import functools

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import NameOID

from enterprise_gateway.core.secret import Secret

_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kernel agent")])
_FROM = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
_UNTIL = datetime.datetime(9999, 12, 31, tzinfo=datetime.UTC)


def make_identity(seed: Secret) -> bytes:
    """The private key and a self-signed certificate for it, in one PEM file."""
    key = _private_key(seed)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_NAME)
        .issuer_name(_NAME)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(_FROM)
        .not_valid_after(_UNTIL)
        .sign(key, algorithm=None)
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem + certificate.public_bytes(serialization.Encoding.PEM)


@functools.lru_cache(maxsize=8192)
def pin(seed: Secret) -> bytes:
    """The public key, 32 bytes, that an agent with this seed must show."""
    return _private_key(seed).public_key().public_bytes_raw()


def shown_key(certificate: bytes) -> bytes:
    """The public key in a certificate in DER form; empty when it is not an Ed25519 key."""
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except ValueError:
        return b""
    return key.public_bytes_raw() if isinstance(key, Ed25519PublicKey) else b""


def _private_key(seed: Secret) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed.reveal()))
