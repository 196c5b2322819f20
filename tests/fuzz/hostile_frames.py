"""Websocket frames and Jupyter messages that no client should send. Seeded, so repeatable.

Packed by hand: the product's own encoder could not make most of them.
"""

from __future__ import annotations

import json
import random
import struct
import uuid
from typing import Any, NamedTuple

from hostile_json import NOT_JSON, STRINGS, value

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
MAX_MESSAGE = 1024 * 1024
"""What the gateway under attack is set to take."""
CHANNELS = ["shell", "control", "stdin", "iopub", "hb", "", "SHELL", "shell\0", "x" * 5_000]
TYPES = [
    "execute_request",
    "comm_msg",
    "kernel_info_request",
    "complete_request",
    "input_reply",
    "",
    "_request",
    "x" * 3_000,
]
PARTS = ("header", "parent_header", "metadata", "content", "channel", "buffers")


class Fault(NamedTuple):
    """Bytes that break the protocol, and the codes a server may close with; none where it cannot know yet."""

    data: bytes
    codes: frozenset[int]


def frame(opcode: int, payload: bytes, *, first: int | None = None, key: bytes = b"\1\2\3\4") -> bytes:
    """A masked frame; `first` replaces its first byte."""
    length = len(payload)
    head = bytes([0x80 | opcode if first is None else first])
    if length < 126:
        head += bytes([0x80 | length])
    elif length < 1 << 16:
        head += struct.pack("!BH", 0x80 | 126, length)
    else:
        head += struct.pack("!BQ", 0x80 | 127, length)
    return head + key + bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))


def message(rng: random.Random) -> dict[str, Any]:
    """Nearly a Jupyter message; never one that ends the kernel."""
    header = {"msg_id": uuid.UUID(int=rng.getrandbits(128)).hex, "msg_type": rng.choice(TYPES), "session": "s"}
    made: dict[str, Any] = {"header": header, "parent_header": {}, "metadata": {}, "content": {"code": "1"}}
    made |= {"channel": rng.choice(CHANNELS[:3]), "buffers": rng.choice([[], {}, None])}
    if rng.random() < 0.2:
        made |= {"channel": rng.choice(CHANNELS), "buffers": rng.choice([[1], "x", 1])}
    for _ in range(rng.choice([0, 1, 1, 2])):
        place = rng.choice([made, header])
        name = rng.choice([*place, "extra"])
        if rng.random() < 0.3:
            place.pop(name, None)
        else:
            place[name] = value(rng)
    return made


def legacy_text(rng: random.Random) -> bytes:
    """A text frame in Jupyter's older protocol: whole JSON, half of it, or something else; always UTF-8."""
    text = json.dumps(message(rng), ensure_ascii=False)
    if rng.random() < 0.2:
        text = rng.choice([each for each in NOT_JSON if _is_utf8(each)]).decode()
    elif rng.random() < 0.2:
        text = text[: rng.randrange(len(text))]
    elif rng.random() < 0.2:
        text = text.replace(rng.choice('":{}[],'), rng.choice(STRINGS), 1)
    return text.encode()


def legacy_binary(rng: random.Random) -> bytes:
    """A binary frame in Jupyter's older protocol with a table of offsets that need not be right."""
    parts = [json.dumps(message(rng)).encode(), *(rng.randbytes(rng.randrange(9)) for _ in range(rng.randrange(4)))]
    return _table(rng, "!", "I", parts)


def v1_binary(rng: random.Random) -> bytes:
    """A binary frame of the v1 subprotocol, likewise."""
    made = message(rng)
    parts = [rng.choice(CHANNELS).encode(), *(json.dumps(made.get(name, {})).encode() for name in PARTS[:4])]
    if rng.random() < 0.3:
        parts[rng.randrange(5)] = rng.choice(NOT_JSON)
    parts += [rng.randbytes(rng.randrange(9)) for _ in range(rng.randrange(4))]
    return _table(rng, "<", "Q", [*parts, b""] if rng.random() < 0.9 else parts[: rng.randrange(6)])


def harmless(rng: random.Random, payload: bytes, opcode: int) -> bytes:
    """The message whole, or in fragments with pings in between; proper, if unusual, framing."""
    key = rng.randbytes(4)
    if rng.random() < 0.6:
        return frame(opcode, payload, key=key)
    cuts = sorted(rng.randrange(len(payload) + 1) for _ in range(rng.randrange(1, 6)))
    pieces = [payload[start:end] for start, end in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
    frames = [frame(0, piece, first=opcode if at == 0 else 0, key=key) for at, piece in enumerate(pieces[:-1])]
    pings = [frame(PING, b"between", key=key) if rng.random() < 0.3 else b"" for _ in frames]
    return b"".join(map(bytes.__add__, frames, pings)) + frame(0, pieces[-1], key=key)


def fault(rng: random.Random) -> Fault:
    """Something after which the server has to close."""
    protocol, text, size = frozenset({1002}), frozenset({1007}), frozenset({1009})
    ping = frame(PING, b"x")
    huge = rng.choice([MAX_MESSAGE + 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1])
    faults = [
        Fault(frame(TEXT, b"{}", first=0x81 | rng.choice([0x10, 0x20, 0x40, 0x70])), protocol),
        Fault(frame(rng.choice([3, 4, 5, 6, 7, 11, 12, 13, 14, 15]), b"x"), protocol),
        Fault(b"\x81\x02{}" + rng.randbytes(20), protocol),
        Fault(frame(PING, b"x", first=rng.choice([8, 9, 10])), protocol),
        Fault(bytes([0x80 | rng.choice([8, 9, 10])]) + b"\xfe\x00\x7e" + rng.randbytes(130), protocol),
        Fault(frame(0, b"nothing to go on with"), protocol),
        Fault(frame(0, b"{", first=TEXT) + ping + frame(TEXT, b"}"), protocol),
        Fault(frame(TEXT, rng.choice([b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"ok\xf0\x9f"])), text),
        Fault(frame(0, b"\xc3", first=TEXT) + frame(0, b"\x28"), text),
        Fault(frame(CLOSE, struct.pack("!H", rng.choice([0, 1, 999, 1004, 1005, 1006, 1015, 5000, 65535]))), protocol),
        Fault(frame(CLOSE, b"\x03"), protocol),
        Fault(frame(CLOSE, b"\x03\xe8\xff\xfe"), text),
        Fault(b"\x82\xff" + struct.pack("!Q", huge) + rng.randbytes(40), size),
        Fault(frame(0, b"x" * 1000, first=BINARY) + b"\x80\xff" + struct.pack("!Q", MAX_MESSAGE) + b"aaaa", size),
        Fault(frame(CLOSE, b"\x03\xe8bye" + b"x" * rng.randrange(110)), frozenset({1000})),
        Fault(frame(CLOSE, b""), frozenset({1005})),
        Fault(b"\x81\xfe\xff\xff" + rng.randbytes(100), frozenset()),
        Fault(frame(TEXT, b'{"half": ')[: rng.randrange(1, 12)], frozenset()),
    ]
    before = b"".join(harmless(rng, legacy_text(rng), TEXT) for _ in range(rng.randrange(3)))
    made = rng.choice(faults)
    return Fault(before + made.data, made.codes)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _table(rng: random.Random, order: str, unit: str, parts: list[bytes]) -> bytes:
    size = struct.calcsize(unit)
    offsets = [size * (len(parts) + 1)]
    for part in parts[:-1]:
        offsets.append(offsets[-1] + len(part))
    numbers = [len(parts), *offsets]
    limit = 2 ** (8 * size) - 1
    if rng.random() < 0.5:
        numbers[rng.randrange(len(numbers))] = rng.choice([0, 1, 7, limit, limit // 2, rng.randrange(2000)])
    whole = struct.pack(f"{order}{len(numbers)}{unit}", *numbers) + b"".join(parts)
    return whole[: rng.randrange(len(whole))] if rng.random() < 0.2 else whole
