"""Jupyter messages in the three forms a client meets them: ZMQ frames, legacy JSON and websocket v1.

Bytes in, bytes out; knows no socket. Only what a measurement needs is decoded (type and ids), in
all three forms alike, so that the forms can be compared. For ZMQ that includes the signature,
which a client behind a gateway never sees. Protocol: jupyter_client's "Messaging in Jupyter" and
jupyter_server's `v1.kernel.websocket.jupyter.org`.
"""

from __future__ import annotations

import hmac
import itertools
import os
import struct
from typing import Any, NamedTuple

import msgspec

DELIMITER = b"<IDS|MSG>"
V1_SUBPROTOCOL = "v1.kernel.websocket.jupyter.org"
DATE = "2018-01-01T00:00:00.000000Z"

Bytes = bytes | memoryview

_prefix = os.urandom(8).hex()
_serial = itertools.count()
_V1_PARTS = 5  # channel, header, parent header, metadata, content
_v1_offsets = struct.Struct(f"<{_V1_PARTS + 1}Q")


class Message(NamedTuple):
    """What is known of a received message; `content` is JSON, valid until the next receive."""

    channel: str
    msg_type: str
    msg_id: str
    parent_id: str
    content: Bytes

    def says_idle(self) -> bool:
        """Whether this is the message after which nothing more comes of its request."""
        return self.msg_type == "status" and b'"idle"' in bytes(self.content)


class _Header(msgspec.Struct):
    msg_id: str
    msg_type: str


class _ParentHeader(msgspec.Struct):
    msg_id: str = ""


class _LegacyMessage(msgspec.Struct):
    channel: str
    header: _Header
    parent_header: _ParentHeader
    content: msgspec.Raw


_decode_header = msgspec.json.Decoder(_Header).decode
_decode_parent = msgspec.json.Decoder(_ParentHeader).decode
_decode_legacy = msgspec.json.Decoder(_LegacyMessage).decode


def new_header(msg_type: str, session: str) -> dict[str, Any]:
    """A header with an id never used before, not by an earlier client of the same session either."""
    return {
        "msg_id": f"{_prefix}-{next(_serial)}",
        "session": session,
        "username": "bench",
        "date": DATE,
        "msg_type": msg_type,
        "version": "5.3",
    }


def sign(key: bytes, parts: list[Bytes]) -> bytes:
    """The signature of header, parent header, metadata and content."""
    return hmac.digest(key, b"".join(parts), "sha256").hex().encode()


def encode_zmq(key: bytes, header: dict[str, Any], content: dict[str, Any]) -> list[bytes]:
    parts: list[Bytes] = [msgspec.json.encode(header), b"{}", b"{}", msgspec.json.encode(content)]
    return [DELIMITER, sign(key, parts), *(bytes(part) for part in parts)]


def decode_zmq(key: bytes, channel: str, frames: list[bytes]) -> Message:
    """Frames of a DEALER or SUB socket; raises ValueError when the signature is wrong."""
    at = frames.index(DELIMITER)
    parts = frames[at + 2 : at + 6]
    if frames[at + 1] != sign(key, list(parts)):
        raise ValueError(f"wrong signature on {channel}")
    header, parent = _decode_header(parts[0]), _decode_parent(parts[1])
    return Message(channel, header.msg_type, header.msg_id, parent.msg_id, parts[3])


def encode_legacy(channel: str, header: dict[str, Any], content: dict[str, Any]) -> bytes:
    empty: dict[str, Any] = {"parent_header": {}, "metadata": {}, "buffers": []}
    return msgspec.json.encode({"channel": channel, "header": header, "content": content, **empty})


def decode_legacy(payload: Bytes) -> Message:
    message = _decode_legacy(payload)
    header, content = message.header, memoryview(message.content)
    return Message(message.channel, header.msg_type, header.msg_id, message.parent_header.msg_id, content)


def encode_v1(channel: str, header: dict[str, Any], content: dict[str, Any]) -> bytes:
    parts = [channel.encode(), msgspec.json.encode(header), b"{}", b"{}", msgspec.json.encode(content)]
    start = 8 * (1 + len(parts) + 1)
    offsets = itertools.accumulate((len(part) for part in parts), initial=start)
    return b"".join([struct.pack(f"<{len(parts) + 2}Q", len(parts) + 1, *offsets), *parts])


def decode_v1(payload: Bytes) -> Message:
    channel_at, header_at, parent_at, metadata_at, content_at, end = _v1_offsets.unpack_from(payload, 8)
    header, parent = (
        _decode_header(payload[header_at:parent_at]),
        _decode_parent(payload[parent_at:metadata_at]),
    )
    channel = str(payload[channel_at:header_at], "ascii")
    return Message(channel, header.msg_type, header.msg_id, parent.msg_id, payload[content_at:end])
