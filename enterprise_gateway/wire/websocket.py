"""The server's side of a websocket: its handshake, and frames as bytes in, events and bytes out.

It has no socket and takes no decision: who answers a PING or a CLOSE is the caller's business. No extension
is ever accepted, so there is no compression. A `FrameDecoder` belongs to one connection and one task.
Source: RFC 6455; close codes: https://www.iana.org/assignments/websocket
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
import struct
from collections.abc import Collection
from typing import Final, NamedTuple

from enterprise_gateway.errors import ProtocolError
from enterprise_gateway.wire.http1 import RequestHead, encode_response, tokens


class Opcode(enum.IntEnum):
    """What a frame carries."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class Text(NamedTuple):
    """A whole text message: valid UTF-8."""

    payload: bytes


class Binary(NamedTuple):
    """A whole binary message."""

    payload: bytes


class Ping(NamedTuple):
    """To be answered by `encode_pong` with the same payload."""

    payload: bytes


class Pong(NamedTuple):
    """The answer to a PING, or a sign of life that nobody asked for."""

    payload: bytes


class Closed(NamedTuple):
    """The peer's CLOSE: the last event. Answered by `encode_close` with the same code."""

    code: int
    """1005 when the frame gives none."""
    reason: str


Event = Text | Binary | Ping | Pong | Closed

PROTOCOL_ERROR: Final = 1002
NO_STATUS: Final = 1005
INVALID_TEXT: Final = 1007
TOO_BIG: Final = 1009

_CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)})
"""Those that may be sent: the reserved 1004, 1005, 1006 and 1015 never come over a wire."""

_MAX_CONTROL = 125
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class WebSocketError(ProtocolError):
    """The peer broke the websocket protocol, and the connection has to be closed."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        """The code to close the connection with: 1002, 1007 or 1009."""
        self.events: list[Event] = []
        """What came whole, and before the error, in the bytes that were fed last."""


def accept_key(key: str) -> str:
    """The `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key`."""
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def handshake_response(request: RequestHead, subprotocols: Collection[str]) -> tuple[bytes, str | None]:
    """The head that accepts an upgrade, and the first offered subprotocol that is among `subprotocols`.

    Raises:
        ProtocolError: the request does not ask for a websocket of version 13.
    """
    if request.method != "GET":
        raise ProtocolError(f"A websocket is opened by GET, not by {request.method[:40]}.")
    for name, token in (("Upgrade", "websocket"), ("Connection", "upgrade")):
        if token not in map(str.lower, tokens(request, name)):
            raise ProtocolError(f"Not a websocket handshake: the header {name!r} lacks {token!r}.")
    if tokens(request, "Sec-WebSocket-Version") != ["13"]:
        raise ProtocolError("The header 'Sec-WebSocket-Version' is not 13.")
    keys = tokens(request, "Sec-WebSocket-Key")
    if len(keys) != 1 or not _is_key(keys[0]):
        raise ProtocolError("The header 'Sec-WebSocket-Key' is not 16 bytes in base64.")
    headers = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", accept_key(keys[0])),
    ]
    offered = tokens(request, "Sec-WebSocket-Protocol")
    chosen = next((name for name in offered if name in subprotocols), None)
    if chosen is not None:
        headers.append(("Sec-WebSocket-Protocol", chosen))
    return encode_response(101, "Switching Protocols", headers), chosen


def _is_key(key: str) -> bool:
    try:
        return len(binascii.a2b_base64(key, strict_mode=True)) == 16
    except ValueError:
        return False


_FINAL = 0x80
_SHORT_HEADERS = {int(opcode): tuple(bytes((_FINAL | opcode, length)) for length in range(126)) for opcode in Opcode}
_pack_medium = struct.Struct("!BBH").pack
_pack_long = struct.Struct("!BBQ").pack


def frame_header(opcode: int, length: int) -> bytes:
    """What goes before a payload of `length` bytes to make an unfragmented frame of it."""
    if length < 126:
        return _SHORT_HEADERS[opcode][length]
    if length < 1 << 16:
        return _pack_medium(_FINAL | opcode, 126, length)
    return _pack_long(_FINAL | opcode, 127, length)


def encode_close(code: int, reason: str) -> bytes:
    """A CLOSE frame; a reason too long is cut, 1005 gives the empty frame that it stands for."""
    if code == NO_STATUS:
        return frame_header(Opcode.CLOSE, 0)
    # Cut between characters: 123 bytes are left beside the code.
    text = reason.encode("utf-8", "replace")[: _MAX_CONTROL - 2].decode("utf-8", "ignore").encode()
    return _encode_control(Opcode.CLOSE, code.to_bytes(2, "big") + text)


def encode_ping(payload: bytes) -> bytes:
    """A PING frame; `ProtocolError` for more than 125 bytes."""
    return _encode_control(Opcode.PING, payload)


def encode_pong(payload: bytes) -> bytes:
    """A PONG frame; `ProtocolError` for more than 125 bytes."""
    return _encode_control(Opcode.PONG, payload)


def _encode_control(opcode: Opcode, payload: bytes) -> bytes:
    if len(payload) > _MAX_CONTROL:
        raise ProtocolError(f"A control frame has {len(payload)} bytes; {_MAX_CONTROL} are allowed.")
    return frame_header(opcode, len(payload)) + payload


class _FrameHeader(NamedTuple):
    final: bool
    opcode: int
    length: int
    key: bytes
    size: int
    """Bytes of the header itself."""


class FrameDecoder:
    """Turns a client's bytes into events, however they are cut.

    A message may have `max_message` bytes. Bytes after a CLOSE or an error are ignored. Fragments are put
    together in one growing array, so a message costs time and memory in proportion to its size.
    """

    __slots__ = ("_body", "_done", "_header", "_max_message", "_missing", "_opcode", "_rest")

    def __init__(self, max_message: int) -> None:
        self._max_message = max_message
        self._rest = b""
        """The beginning of a frame, not enough to go on with: of a header, or of a control frame."""
        self._opcode: int | None = None
        """TEXT or BINARY while a message is unfinished."""
        self._body = bytearray()
        """What has come of the unfinished message, unmasked."""
        self._header: _FrameHeader | None = None
        """The data frame whose payload is coming in."""
        self._missing = 0
        """Bytes of that payload that are still to come."""
        self._done = False

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes of the connection and return what became complete with them.

        Raises:
            WebSocketError: with what was complete before the error in its `events`.
        """
        events: list[Event] = []
        if self._rest:
            data, self._rest = self._rest + data, b""
        position = 0
        try:
            while position < len(data) and not self._done:
                if self._header is None:
                    position = self._begin_frame(data, position, events)
                else:
                    position = self._continue_frame(self._header, data, position, events)
        except WebSocketError as error:
            self._done = True
            error.events = events
            raise
        return events

    def _begin_frame(self, data: bytes, position: int, events: list[Event]) -> int:
        """Read a header, and the payload when it has come whole; return the position behind them."""
        header = _read_header(data, position)
        if header is not None:
            start = position + header.size
            end = start + header.length
            if header.opcode < Opcode.CLOSE:
                self._check_data_frame(header)
                if header.opcode != Opcode.CONTINUATION:
                    self._opcode = header.opcode
                if end > len(data):
                    self._header, self._missing = header, header.length
                    return start
                self._end_frame(header, _unmask(data[start:end], header.key), events)
                return end
            if end <= len(data):
                event = _control_event(header.opcode, _unmask(data[start:end], header.key))
                self._done = isinstance(event, Closed)
                events.append(event)
                return end
        self._rest = data[position:]
        return len(data)

    def _continue_frame(self, header: _FrameHeader, data: bytes, position: int, events: list[Event]) -> int:
        turn = (header.length - self._missing) % 4
        chunk = data[position : position + self._missing]
        chunk_unmasked = _unmask(chunk, header.key[turn:] + header.key[:turn])
        self._missing -= len(chunk)
        if self._missing:
            self._body += chunk_unmasked
        else:
            self._header = None
            self._end_frame(header, chunk_unmasked, events)
        return position + len(chunk)

    def _check_data_frame(self, header: _FrameHeader) -> None:
        if (header.opcode == Opcode.CONTINUATION) == (self._opcode is None):
            raise WebSocketError(
                PROTOCOL_ERROR,
                "A message begins before the last one has ended."
                if self._opcode is not None
                else "A frame continues a message that has not begun.",
            )
        size = len(self._body) + header.length
        if size > self._max_message:
            raise WebSocketError(TOO_BIG, f"A message has {size} bytes or more; {self._max_message} are allowed.")

    def _end_frame(self, header: _FrameHeader, last: bytes, events: list[Event]) -> None:
        if not header.final:
            self._body += last
            return
        payload = last
        if self._body:
            self._body += last
            payload = bytes(self._body)
            self._body = bytearray()
        opcode, self._opcode = self._opcode, None
        if opcode == Opcode.TEXT:
            _check_utf8(payload, "A text message")
            events.append(Text(payload))
        else:
            events.append(Binary(payload))


def _read_header(data: bytes, position: int) -> _FrameHeader | None:
    """The frame header at `position`, or None when not all of it is there."""
    available = len(data) - position
    if available < 2:
        return None
    first, second = data[position], data[position + 1]
    opcode, length = first & 0x0F, second & 0x7F
    _check_first_bytes(first, second)
    size = 6
    if length > 125:
        extended = 2 if length == 126 else 8
        size += extended
        length = int.from_bytes(data[position + 2 : position + 2 + extended], "big")
    if available < size:
        return None
    end = position + size
    return _FrameHeader(bool(first & _FINAL), opcode, length, data[end - 4 : end], size)


def _check_first_bytes(first: int, second: int) -> None:
    opcode = first & 0x0F
    fault = ""
    if first & 0x70:
        fault = "A frame has reserved bits set, but no extension was agreed on."
    elif opcode not in _SHORT_HEADERS:
        fault = f"A frame has the unknown opcode {opcode}."
    elif not second & 0x80:
        fault = "A frame is not masked; a client has to mask its frames."
    elif opcode >= Opcode.CLOSE and not first & _FINAL:
        fault = "A control frame is fragmented."
    elif opcode >= Opcode.CLOSE and second & 0x7F > _MAX_CONTROL:
        fault = f"A control frame has more than {_MAX_CONTROL} bytes."
    if fault:
        raise WebSocketError(PROTOCOL_ERROR, fault)


def _control_event(opcode: int, payload: bytes) -> Ping | Pong | Closed:
    if opcode == Opcode.PING:
        return Ping(payload)
    if opcode == Opcode.PONG:
        return Pong(payload)
    if not payload:
        return Closed(NO_STATUS, "")
    code = int.from_bytes(payload[:2], "big")
    if len(payload) < 2 or code not in _CLOSE_CODES:
        raise WebSocketError(PROTOCOL_ERROR, f"A CLOSE frame has the invalid code {code}.")
    _check_utf8(payload[2:], "The reason of a CLOSE frame")
    return Closed(code, payload[2:].decode())


def _check_utf8(payload: bytes, what: str) -> None:
    if payload.isascii():
        return
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        raise WebSocketError(INVALID_TEXT, f"{what} is not UTF-8: {error.reason} at byte {error.start}.") from None


_BLOCK = 8 * 1024
_BLOCK_OF_ONES = int.from_bytes(b"\1\0\0\0" * (_BLOCK // 4), "little")
"""Times a 32-bit number: that number over and over, as long as a block."""


def _unmask(data: bytes, key: bytes) -> bytes:
    """`data` XOR the endless repetition of the four bytes of `key`.

    As integers, and those of a size that stays in the processor's cache: 0.4 GB/s and more.
    """
    length = len(data)
    whole = length - length % _BLOCK
    rest = data[whole:]
    pad = int.from_bytes((key * (len(rest) // 4 + 1))[: len(rest)], "little")
    unmasked = (int.from_bytes(rest, "little") ^ pad).to_bytes(len(rest), "little")
    if not whole:
        return unmasked
    pad = int.from_bytes(key, "little") * _BLOCK_OF_ONES
    blocks = [
        (int.from_bytes(data[start : start + _BLOCK], "little") ^ pad).to_bytes(_BLOCK, "little")
        for start in range(0, whole, _BLOCK)
    ]
    blocks.append(unmasked)
    return b"".join(blocks)
