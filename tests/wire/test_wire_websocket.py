"""The oracle is the client of `websockets`, without its sockets: each side reads what the other writes."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame
from websockets.frames import Opcode as TheirOpcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri
from wire_messages import damaged

from enterprise_gateway.errors import ProtocolError
from enterprise_gateway.wire import websocket
from enterprise_gateway.wire.http1 import RequestHead, parse_request, parse_response
from enterprise_gateway.wire.websocket import (
    Binary,
    Closed,
    Event,
    FrameDecoder,
    Opcode,
    Ping,
    Pong,
    Text,
    WebSocketError,
)

LIMIT = 1000
V1 = "v1.kernel.websocket.jupyter.org"


def frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """A masked frame, written by `websockets`."""
    return Frame(TheirOpcode(opcode), payload, fin=fin).serialize(mask=True)


def raw_frame(first: int, second: int, rest: bytes = b"") -> bytes:
    return bytes((first, second)) + rest


def feed(chunks: list[bytes], limit: int = LIMIT) -> tuple[list[Event], int | None]:
    """All events, and the code of the error that ended them."""
    decoder = FrameDecoder(limit)
    events: list[Event] = []
    for chunk in chunks:
        try:
            events += decoder.feed(chunk)
        except WebSocketError as error:
            ignored = decoder.feed(b"\x00" * 20)
            return events + error.events + ignored, error.code
    return events, None


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, list[Event]]:
    """Bytes of a well-behaved client, and what they mean: fragments with control frames between them."""
    data, events = b"", []
    for _ in range(draw(st.integers(0, 4))):
        is_text = draw(st.booleans())
        payload = draw(st.text(max_size=60)).encode() if is_text else draw(st.binary(max_size=300))
        fragments = split(payload, draw(st.lists(st.integers(0, 300), max_size=3))) or [b""]
        for index, fragment in enumerate(fragments):
            opcode = Opcode.CONTINUATION if index else (Opcode.TEXT if is_text else Opcode.BINARY)
            data += frame(opcode, fragment, fin=index == len(fragments) - 1)
            if index < len(fragments) - 1 and draw(st.booleans()):
                ping = draw(st.binary(max_size=125))
                pinging = draw(st.booleans())
                data += frame(Opcode.PING if pinging else Opcode.PONG, ping)
                events.append(Ping(ping) if pinging else Pong(ping))
        events.append(Text(payload) if is_text else Binary(payload))
    if draw(st.booleans()):
        reason = draw(st.text(max_size=30))
        code = draw(st.sampled_from([1000, 1001, 1012, 3000, 4999]))
        data += frame(Opcode.CLOSE, code.to_bytes(2, "big") + reason.encode()) + draw(st.binary(max_size=9))
        events.append(Closed(code, reason))
    return data, events


cuts = st.lists(st.integers(0, 2000), max_size=8)


@given(conversations(), cuts)
def test_every_fragmentation_and_every_split_gives_the_same_events(conversation, where):
    data, events = conversation
    assert feed(split(data, where)) == (events, None)
    assert feed([data[i : i + 1] for i in range(len(data))]) == (events, None)


@given(damaged(conversations().map(lambda conversation: conversation[0])), cuts)
def test_damaged_bytes_end_alike_however_they_are_split(data, where):
    whole = feed([data], limit=100)
    assert feed(split(data, where), limit=100) == whole
    assert feed([data[i : i + 1] for i in range(len(data))], limit=100) == whole


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 8191, 8192, 8193, 100_003])
@pytest.mark.parametrize("piece", [1_000, 4_099, 65_536, 1 << 20])
def test_messages_of_every_length_form_are_unmasked(size, piece):
    payload = random.Random(size).randbytes(size)
    data = frame(Opcode.BINARY, payload) + frame(Opcode.PING, b"after")
    chunks = [data[start : start + piece] for start in range(0, len(data), piece)]
    assert feed(chunks, limit=size) == ([Binary(payload), Ping(b"after")], None)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(Opcode.TEXT, b"hi").replace(b"\x81\x82", b"\xc1\x82", 1), 1002),
        (raw_frame(0x91, 0x80, b"mask"), 1002),
        (raw_frame(0xA1, 0x80, b"mask"), 1002),
        (raw_frame(0x81, 0x02, b"hi"), 1002),
        *((raw_frame(0x80 | opcode, 0x80, b"mask"), 1002) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
        (raw_frame(0x09, 0x80, b"mask"), 1002),
        (raw_frame(0x89, 0xFE), 1002),
        (raw_frame(0x88, 0xFF), 1002),
        (frame(Opcode.CONTINUATION, b"x"), 1002),
        (frame(Opcode.TEXT, b"a", fin=False) + frame(Opcode.TEXT, b"b"), 1002),
        (frame(Opcode.TEXT, b"a", fin=False) + frame(Opcode.BINARY, b"b"), 1002),
        (frame(Opcode.TEXT, b"a") + frame(Opcode.CONTINUATION, b"b"), 1002),
        (frame(Opcode.CLOSE, b"\x03"), 1002),
        (frame(Opcode.CLOSE, b"\x03\xe8\xff"), 1007),
        (frame(Opcode.TEXT, b"caf\xe9"), 1007),
        (frame(Opcode.TEXT, b"\xed\xa0\x80"), 1007),
        (frame(Opcode.TEXT, b"\xc3", fin=False) + frame(Opcode.CONTINUATION, b"("), 1007),
        (frame(Opcode.BINARY, b"x" * (LIMIT + 1)), 1009),
        (raw_frame(0x82, 0xFF, b"\x7f" + b"\xff" * 7 + b"mask"), 1009),
        (raw_frame(0x82, 0xFF, b"\xff" * 8 + b"mask"), 1009),
        (frame(Opcode.TEXT, b"x" * LIMIT, fin=False) + frame(Opcode.CONTINUATION, b"x"), 1009),
    ],
)
def test_what_breaks_the_protocol_gets_the_code_that_says_how(data, code):
    before = frame(Opcode.PONG, b"before")
    events, received = feed([before + data])
    assert received == code
    assert events[0] == Pong(b"before")


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
def test_a_close_code_that_may_not_be_sent_is_refused(code):
    assert feed([frame(Opcode.CLOSE, code.to_bytes(2, "big"))]) == ([], 1002)


def test_a_character_may_be_split_between_fragments():
    data = frame(Opcode.TEXT, b"\xc3", fin=False) + frame(Opcode.CONTINUATION, b"\xa9")
    assert feed([data]) == ([Text("é".encode())], None)


def test_a_message_of_exactly_the_limit_passes_and_its_successor_starts_from_zero():
    data = frame(Opcode.TEXT, b"x" * (LIMIT - 1), fin=False) + frame(Opcode.CONTINUATION, b"x")
    assert feed([data + data]) == ([Text(b"x" * LIMIT)] * 2, None)


def test_too_big_a_message_is_refused_before_its_payload_comes():
    assert feed([frame(Opcode.BINARY, b"x" * (LIMIT + 1))[:8]]) == ([], 1009)


def test_a_close_without_a_code_and_the_bytes_behind_it():
    assert feed([frame(Opcode.CLOSE, b"") + b"garbage", b"more"]) == ([Closed(1005, "")], None)


def test_an_exact_payload_is_handed_on_even_when_empty():
    assert feed([frame(Opcode.TEXT, b""), frame(Opcode.BINARY, b"")]) == ([Text(b""), Binary(b"")], None)


# What the server writes.


def connected_client(*offered: str) -> tuple[ClientProtocol, str | None]:
    client = ClientProtocol(parse_uri("ws://127.0.0.1:8888/channels?session_id=1"), subprotocols=list(offered) or None)
    client.send_request(client.connect())
    request = parse_request(b"".join(client.data_to_send()))
    answer, chosen = websocket.handshake_response(request, {V1})
    client.receive_data(answer)
    assert isinstance(client.events_received()[0], Response)
    assert client.handshake_exc is None
    assert client.state is State.OPEN
    assert client.subprotocol == chosen
    return client, chosen


def received_by_client(data: bytes) -> list[tuple[int, bytes, bool]]:
    client, _ = connected_client()
    client.receive_data(data)
    return [(event.opcode, bytes(event.data), event.fin) for event in client.events_received()]


@pytest.mark.parametrize(
    ("offered", "chosen"), [([], None), (["x"], None), ([V1], V1), (["x", V1], V1), (["V1." + V1], None)]
)
def test_a_client_agrees_on_what_was_chosen(offered, chosen):
    assert connected_client(*offered)[1] == chosen


def test_the_first_offer_that_is_known_is_chosen():
    request = handshake(("Sec-WebSocket-Protocol", "c, b"), ("sec-websocket-protocol", "a"))
    assert websocket.handshake_response(request, ["a", "b"])[1] == "b"


def test_the_accept_key_is_that_of_the_rfc():
    assert websocket.accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def handshake(*changes: tuple[str, str | None], method: str = "GET") -> RequestHead:
    headers = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    } | dict(changes)
    present = tuple((name, value) for name, value in headers.items() if value is not None)
    return RequestHead(method, "/channels", present)


def test_lists_and_other_cases_are_understood_and_extensions_declined():
    request = handshake(
        ("Connection", "keep-alive, upgrade"),
        ("Upgrade", "h2c, WebSocket"),
        ("Sec-WebSocket-Extensions", "permessage-deflate"),
    )
    answer, chosen = websocket.handshake_response(request, {V1})
    head = parse_response(answer)
    assert (head.status, chosen) == (101, None)
    assert head.get("Sec-WebSocket-Extensions") is None
    assert head.get("Sec-WebSocket-Protocol") is None


@pytest.mark.parametrize(
    ("request_head", "complaint"),
    [
        (handshake(method="POST"), "GET"),
        (handshake(("Upgrade", None)), "Upgrade"),
        (handshake(("Upgrade", "h2c")), "Upgrade"),
        (handshake(("Connection", "keep-alive")), "Connection"),
        (handshake(("Sec-WebSocket-Version", None)), "Version"),
        (handshake(("Sec-WebSocket-Version", "8")), "Version"),
        (handshake(("Sec-WebSocket-Key", None)), "Key"),
        (handshake(("Sec-WebSocket-Key", "c2hvcnQ=")), "Key"),
        (handshake(("Sec-WebSocket-Key", "not base64 at all!!!!!!!")), "Key"),
        (handshake(("Sec-WebSocket-Key", "é" * 24)), "Key"),
        (handshake(("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")), "Key"),
    ],
)
def test_a_request_that_is_no_handshake_is_refused(request_head, complaint):
    with pytest.raises(ProtocolError, match=complaint):
        websocket.handshake_response(request_head, {V1})


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70_000])
@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY])
def test_a_client_reads_frames_of_every_length_form(opcode, size):
    data = websocket.frame_header(opcode, size) + b"x" * size
    assert received_by_client(data) == [(opcode, b"x" * size, True)]


@given(st.binary(max_size=125))
def test_a_client_reads_pings_and_pongs(payload):
    data = websocket.encode_ping(payload) + websocket.encode_pong(payload)
    assert received_by_client(data) == [(Opcode.PING, payload, True), (Opcode.PONG, payload, True)]


def test_a_client_answers_a_ping_with_the_payload_that_came():
    client, _ = connected_client()
    client.receive_data(websocket.encode_ping(b"\x00\x01sequence"))
    assert feed(client.data_to_send()) == ([Pong(b"\x00\x01sequence")], None)


@given(st.sampled_from([1000, 1012, 4000]), st.text(max_size=200))
def test_a_client_reads_a_close_and_as_much_of_its_reason_as_fits(code, reason):
    client, _ = connected_client()
    client.receive_data(websocket.encode_close(code, reason))
    received = client.close_rcvd
    assert received.code == code
    assert reason.startswith(received.reason)
    assert received.reason == reason or 120 <= len(received.reason.encode()) <= 123


def test_a_close_without_a_code_is_answered_without_one():
    assert received_by_client(websocket.encode_close(1005, "")) == [(Opcode.CLOSE, b"", True)]


@pytest.mark.parametrize("encode", [websocket.encode_ping, websocket.encode_pong])
def test_too_long_a_control_frame_is_not_sent(encode):
    with pytest.raises(ProtocolError, match="125"):
        encode(b"x" * 126)
