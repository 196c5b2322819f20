"""The oracles are the two functions with which jupyter_server speaks this protocol."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jupyter_server.services.kernels.connection.base import (
    deserialize_msg_from_ws_v1,
    serialize_msg_to_ws_v1,
)
from wire_messages import accepts_or_explains, client_channels, damaged, messages, stream_message

from enterprise_gateway.errors import ProtocolError
from enterprise_gateway.wire import v1
from enterprise_gateway.wire.message import Message, UnknownChannel


def parts_of(message: Message) -> list[bytes]:
    return [message.header, message.parent_header, message.metadata, message.content, *message.buffers]


def frame(*offsets: int, count: int | None = None, data: bytes = b"") -> bytes:
    count = len(offsets) if count is None else count
    return struct.pack(f"<{len(offsets) + 1}Q", count, *offsets) + data


@given(messages())
def test_frames_are_byte_for_byte_those_of_jupyter_server(message):
    expected = serialize_msg_to_ws_v1(parts_of(message), message.channel)
    assert b"".join(v1.encode(message)) == expected


@given(messages())
def test_jupyter_server_reads_what_is_sent(message):
    channel, parts = deserialize_msg_from_ws_v1(b"".join(v1.encode(message)))
    assert channel == message.channel
    assert parts == parts_of(message)


@given(messages(client_channels))
def test_what_jupyter_server_writes_is_read(message):
    assert v1.decode(serialize_msg_to_ws_v1(parts_of(message), message.channel)) == message


def test_big_parts_are_not_copied_on_the_way_out():
    content, buffer = b"x" * 1000, b"y" * 1000
    pieces = v1.encode(stream_message(content=content, buffers=[buffer]))
    assert any(piece is content for piece in pieces)
    assert any(piece is buffer for piece in pieces)


def test_memoryviews_are_sent_as_the_bytes_they_show():
    message = stream_message(buffers=[memoryview(b"abc")[1:]])
    assert deserialize_msg_from_ws_v1(b"".join(v1.encode(message)))[1][-1] == b"bc"


@pytest.mark.parametrize("channel", ["iopub", "hb", "", "SHELL", "shell ", "\udcff"])
def test_a_channel_that_clients_cannot_send_to_is_named(channel):
    name = channel.encode("utf-8", "surrogateescape")
    end = 56 + len(name)
    with pytest.raises(UnknownChannel, match="no channel"):
        v1.decode(frame(56, end, end, end, end, end, data=name))


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        (b"", "at least 6"),
        (b"\x06", "at least 6"),
        (frame(48, 53, 53, 53, 53, data=b"shell"), "at least 6"),
        (frame(56, 61, 61, 61, 61, 61, count=2**64 - 1), "cannot begin with"),
        (frame(56, 61, 61, 61, 61, 61, count=7), "cannot begin with"),
        (frame(56, 61, 61, 61, 61, 62, data=b"shell"), "outside"),
        (frame(0, 61, 61, 61, 61, 61, data=b"shell"), "outside"),
        (frame(56, 2**64 - 1, 61, 61, 61, 61, data=b"shell"), "not in order"),
        (frame(56, 61, 61, 60, 61, 61, data=b"shell"), "not in order"),
    ],
)
def test_a_table_that_does_not_fit_its_frame_is_refused(payload, complaint):
    with pytest.raises(ProtocolError, match=complaint):
        v1.decode(payload)


@given(damaged(messages().map(lambda message: b"".join(v1.encode(message)))))
def test_only_protocol_errors_leave_decode(payload):
    accepts_or_explains(v1.decode, payload)


@given(st.lists(st.integers(0, 80), min_size=6, max_size=8), st.binary(max_size=40))
def test_any_table_of_offsets_is_read_or_refused(offsets, data):
    accepts_or_explains(v1.decode, frame(*offsets, data=data))
