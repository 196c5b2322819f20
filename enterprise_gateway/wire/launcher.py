"""The report of a launcher made for Enterprise Gateway: where the kernel listens that it starts.

A launcher makes the connection file itself, so it must tell. It sends one message to `RESPONSE_ADDRESS` and closes:

    base64( {"version": 1, "key": base64( RSA( aes_key ) ), "conn_info": base64( AES( connection file and more ) )} )

Sockets and cryptography are others' business: this knows the layers and what must be in them. Nothing that is said
about a report quotes it. Source: `server_listener.py` of gateway_provisioners.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Annotated, TypeAlias, TypeVar

import msgspec

from enterprise_gateway.core.records import ConnectionInfo
from enterprise_gateway.errors import ProtocolError
from enterprise_gateway.wire.kernel import Signer

MAX_REPORT = 64 * 1024
"""Bytes; a report has about 1,500."""
VERSION = 1

Unseal: TypeAlias = Callable[[bytes, bytes], bytes]
"""The text of `conn_info`, from the bytes of `key` and of `conn_info`; raises ValueError if they are for another."""

_Port: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=65535)]
_T = TypeVar("_T")


class LauncherReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a launcher has told."""

    kernel_id: str
    connection: ConnectionInfo
    """But for the address: launchers say 0.0.0.0, and are where their report comes from."""
    comm_port: int | None
    """Where it takes signals for its kernel, if it does."""


class _Envelope(msgspec.Struct):
    version: int
    key: str
    conn_info: str


class _Info(msgspec.Struct):
    kernel_id: str
    shell_port: _Port
    iopub_port: _Port
    stdin_port: _Port
    control_port: _Port
    hb_port: _Port
    key: Annotated[str, msgspec.Meta(min_length=1)]
    transport: str = "tcp"
    signature_scheme: str = "hmac-sha256"
    comm_port: _Port | None = None


def decode_report(payload: bytes, unseal: Unseal) -> LauncherReport:
    """The report in everything that came over one connection.

    Raises:
        ProtocolError: says which layer is not what it must be.
    """
    if len(payload) > MAX_REPORT:
        raise ProtocolError(f"The report is longer than {MAX_REPORT} bytes.")
    wrapped = _base64(payload.strip(), "The report")
    if not wrapped.startswith(b"{"):
        raise ProtocolError(f"The report is not of version {VERSION}; version 0, of old launchers, is not supported.")
    envelope = _decode(wrapped, _Envelope, "The report")
    if envelope.version != VERSION:
        raise ProtocolError(f"The report is of version {envelope.version}; {VERSION} is supported.")
    sealed_key, sealed_text = _base64(envelope.key, "'key'"), _base64(envelope.conn_info, "'conn_info'")
    try:
        text = unseal(sealed_key, sealed_text)
    except ValueError:
        raise ProtocolError("The report is not sealed with the PUBLIC_KEY of this kernel.") from None
    info = _decode(text, _Info, "'conn_info'")
    if info.transport != "tcp":
        raise ProtocolError("The report's 'transport' must be 'tcp'.")
    Signer(b"", info.signature_scheme)  # names a scheme that cannot be used
    return LauncherReport(kernel_id=info.kernel_id, connection=_connection(info), comm_port=info.comm_port)


def encode_signal(signum: int) -> bytes:
    """What a launcher's `comm_port` is sent, on a connection of its own, to have its kernel sent a signal."""
    return msgspec.json.encode({"signum": signum})


def encode_shutdown() -> bytes:
    """Likewise, to have it take no more."""
    return msgspec.json.encode({"shutdown": 1})


def _connection(info: _Info) -> ConnectionInfo:
    return ConnectionInfo(
        shell_port=info.shell_port,
        iopub_port=info.iopub_port,
        stdin_port=info.stdin_port,
        control_port=info.control_port,
        hb_port=info.hb_port,
        key=info.key,
        signature_scheme=info.signature_scheme,
    )


def _base64(text: bytes | str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise ProtocolError(f"{what} is not base64.") from None


def _decode(text: bytes, kind: type[_T], what: str) -> _T:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError as error:  # names the field and its rule, never the value
        raise ProtocolError(f"{what} is not what it must be: {error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProtocolError(f"{what} is not JSON.") from None
