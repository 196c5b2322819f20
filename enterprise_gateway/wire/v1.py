"""The websocket subprotocol `v1.kernel.websocket.jupyter.org`: the raw parts behind a table of offsets.

A binary frame is, all numbers little-endian and of 64 bits: how many offsets follow, the offsets (from the
start of the frame: channel name, header, parent header, metadata, content, each buffer, end), and the parts.
Pure functions over bytes; no part is parsed.
Source: https://jupyter-server.readthedocs.io/en/latest/developers/websocket-protocols.html
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import accumulate, pairwise

from enterprise_gateway.errors import ProtocolError
from enterprise_gateway.wire.message import CHANNELS, Message, Part, UnknownChannel

SUBPROTOCOL = "v1.kernel.websocket.jupyter.org"

_FEWEST_OFFSETS = 6
"""Channel name, four JSON parts, end."""

_CHANNEL_NAMES = {name: name.encode() for name in (*CHANNELS, "iopub")}
_CHANNELS = {name.encode(): name for name in CHANNELS}

_pack_plain = struct.Struct("<7Q").pack


def encode(message: Message) -> list[Part]:
    """The pieces whose concatenation is the payload of a binary frame; big parts are not copied."""
    channel = _CHANNEL_NAMES[message.channel]
    header, parent, metadata, content = (
        message.header,
        message.parent_header,
        message.metadata,
        message.content,
    )
    if message.buffers:
        parts = [channel, header, parent, metadata, content, *message.buffers]
        return [_offset_table(parts), *parts]
    at_header = 56 + len(channel)
    at_parent = at_header + len(header)
    at_metadata = at_parent + len(parent)
    at_content = at_metadata + len(metadata)
    table = _pack_plain(6, 56, at_header, at_parent, at_metadata, at_content, at_content + len(content))
    return [table, channel, header, parent, metadata, content]


def _offset_table(parts: list[Part]) -> bytes:
    count = len(parts) + 1
    offsets = accumulate(map(len, parts), initial=8 * (count + 1))
    return struct.pack(f"<{count + 1}Q", count, *offsets)


def decode(payload: bytes) -> Message:
    """The message in the payload of a client's binary frame; its buffers are views into `payload`.

    Raises:
        UnknownChannel: it is for a channel that clients cannot send to.
        ProtocolError: the table of offsets does not fit the payload.
    """
    offsets = _read_offsets(payload)
    name = payload[offsets[0] : offsets[1]]
    channel = _CHANNELS.get(name)
    if channel is None:
        raise UnknownChannel(name.decode("utf-8", "replace"))
    header, parent, metadata, content = (payload[start:end] for start, end in pairwise(offsets[1:6]))
    return Message(channel, header, parent, metadata, content, list(_views(payload, offsets[5:])))


def _read_offsets(payload: bytes) -> tuple[int, ...]:
    count = int.from_bytes(payload[:8], "little")
    table_size = 8 * (count + 1)
    if count < _FEWEST_OFFSETS or table_size > len(payload):
        raise ProtocolError(
            f"A v1 frame of {len(payload)} bytes cannot begin with {count} offsets; "
            f"there are at least {_FEWEST_OFFSETS}."
        )
    offsets = struct.unpack_from(f"<{count}Q", payload, 8)
    if offsets[0] < table_size or offsets[-1] > len(payload):
        raise ProtocolError(f"An offset of a v1 frame is outside of its {len(payload)} bytes.")
    if any(start > end for start, end in pairwise(offsets)):
        raise ProtocolError("The offsets of a v1 frame are not in order.")
    return offsets


def _views(payload: bytes, offsets: tuple[int, ...]) -> Iterator[memoryview]:
    view = memoryview(payload)
    return (view[start:end] for start, end in pairwise(offsets))
