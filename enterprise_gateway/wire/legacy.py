"""The websocket form without a subprotocol: one JSON text, in a binary envelope when there are buffers.

The envelope is, all numbers big-endian and of 32 bits: how many parts follow, the offset of each from the
start of the frame, then the parts: the JSON text and the buffers. Going out, the JSON is put together from
the raw parts of the message and never encoded again; coming in, `content` is cut out and never parsed.
Pure functions over bytes.
Source: https://jupyter-server.readthedocs.io/en/latest/developers/websocket-protocols.html
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import msgspec

from enterprise_gateway.errors import ProtocolError
from enterprise_gateway.wire.message import CHANNELS, Header, Message, Part, UnknownChannel

_TAILS = {name: f',"buffers":[],"channel":"{name}","msg_id":'.encode() for name in (*CHANNELS, "iopub")}
_encode_json = msgspec.json.Encoder().encode
_EMPTY = msgspec.Raw(b"{}")
_PARTS = {"header", "parent_header", "metadata", "content"}


class _ClientMessage(msgspec.Struct, gc=False):
    """What clients send; some leave most of it out, Enterprise Gateway's own has `"buffers": {}`."""

    header: msgspec.Raw
    parent_header: msgspec.Raw = _EMPTY
    metadata: msgspec.Raw = _EMPTY
    content: msgspec.Raw = _EMPTY
    channel: str | None = None
    buffers: list[Any] | dict[str, Any] | None = None


_decode_json = msgspec.json.Decoder(_ClientMessage).decode


def encode(message: Message, header: Header) -> tuple[bool, list[Part]]:
    """Whether the frame is binary, and the pieces whose concatenation is its payload.

    `header` is the message's own header, parsed: clients expect its `msg_id` and `msg_type` at the top, too.
    """
    tail = _TAILS[message.channel] + _encode_json(header.msg_id)
    tail += b',"msg_type":' + _encode_json(header.msg_type) + b"}"
    pieces: list[Part] = [
        b'{"header":',
        _utf8(message.header),
        b',"parent_header":',
        _utf8(message.parent_header),
        b',"metadata":',
        _utf8(message.metadata),
        b',"content":',
        _utf8(message.content),
        tail,
    ]
    if not message.buffers:
        return False, pieces
    count = 1 + len(message.buffers)
    sizes = [sum(map(len, pieces)), *map(len, message.buffers[:-1])]
    table = struct.pack(f"!{count + 1}I", count, *accumulate(sizes, initial=4 * (count + 1)))
    return True, [table, *pieces, *message.buffers]


def _utf8(part: bytes) -> bytes:
    # A kernel may print bytes that are not UTF-8, ipykernel passes them on, and a browser ends the whole
    # connection at the first text frame that is not UTF-8.
    if part.isascii():
        return part
    try:
        part.decode()
    except UnicodeDecodeError:
        return part.decode("utf-8", "replace").encode()
    return part


def decode_text(payload: bytes) -> Message:
    """The message in the payload of a client's text frame.

    Raises:
        UnknownChannel: it is for a channel that clients cannot send to.
        ProtocolError: it is not a JSON object with a `header`, or a field has the wrong type.
    """
    fields = _read_json(payload)
    if fields.buffers:
        raise ProtocolError("The field 'buffers' of a text frame is not empty; buffers come in binary frames.")
    return _message(fields, [])


def decode_binary(payload: bytes) -> Message:
    """The message in the payload of a client's binary frame; its buffers are views into `payload`.

    Raises:
        UnknownChannel: it is for a channel that clients cannot send to.
        ProtocolError: the envelope does not fit the payload, or its JSON is refused as by `decode_text`.
    """
    starts = _read_offsets(payload)
    view = memoryview(payload)
    text, *buffers = [view[start:end] for start, end in pairwise((*starts, len(payload)))]
    return _message(_read_json(bytes(text)), buffers)


def _read_offsets(payload: bytes) -> tuple[int, ...]:
    count = int.from_bytes(payload[:4], "big")
    table_size = 4 * (count + 1)
    if count < 1 or table_size > len(payload):
        raise ProtocolError(f"A binary frame of {len(payload)} bytes cannot begin with {count} offsets.")
    offsets = struct.unpack_from(f"!{count}I", payload, 4)
    if offsets[0] < table_size or offsets[-1] > len(payload):
        raise ProtocolError(f"An offset of a binary frame is outside of its {len(payload)} bytes.")
    if any(start > end for start, end in pairwise(offsets)):
        raise ProtocolError("The offsets of a binary frame are not in order.")
    return offsets


def _read_json(text: bytes) -> _ClientMessage:
    try:
        if not text.isascii():
            text.decode()
        return _decode_json(text)
    except msgspec.ValidationError as error:
        raise ProtocolError(f"A field of the message is wrong: {error}.") from None
    except msgspec.DecodeError:
        return _read_lenient_json(text)
    except UnicodeDecodeError as error:
        raise ProtocolError(f"The message is not UTF-8: {error.reason} at byte {error.start}.") from None
    except RecursionError:
        raise ProtocolError("The message is nested too deep.") from None


def _read_lenient_json(text: bytes) -> _ClientMessage:
    # What msgspec refuses and kernels take: NaN and infinities, which Python clients write, and the lone
    # surrogates that a browser escapes. Only here is content encoded again.
    try:
        fields = json.loads(text.decode())
        if isinstance(fields, dict):
            for name in _PARTS & fields.keys():
                fields[name] = msgspec.Raw(json.dumps(fields[name]).encode())
        return msgspec.convert(fields, _ClientMessage)
    except msgspec.ValidationError as error:
        raise ProtocolError(f"A field of the message is wrong: {error}.") from None
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"The message is not JSON: {error}.") from None


def _message(fields: _ClientMessage, buffers: Sequence[Part]) -> Message:
    channel = fields.channel
    if channel is None:
        channel = "shell"
    elif channel not in CHANNELS:
        raise UnknownChannel(channel)
    return Message(
        channel,
        _object("header", fields.header),
        _object("parent_header", fields.parent_header),
        _object("metadata", fields.metadata),
        _object("content", fields.content),
        buffers,
    )


def _object(name: str, value: msgspec.Raw) -> bytes:
    raw = bytes(value)
    if raw.startswith(b"{"):
        return raw
    if raw == b"null" and name != "header":
        return b"{}"
    raise ProtocolError(f"The field {name!r} of the message is not a JSON object.")
