"""The oracles are the two functions of jupyter_server for binary frames, and `json` for text frames."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jupyter_server.services.kernels.connection.base import (
    deserialize_binary_message,
    serialize_binary_message,
)
from wire_messages import (
    accepts_or_explains,
    buffer_lists,
    client_channels,
    damaged,
    headers,
    json_objects,
    messages,
    pack,
    stream_message,
)

from enterprise_gateway.errors import ProtocolError
from enterprise_gateway.wire import legacy
from enterprise_gateway.wire.message import Message, UnknownChannel, parse_header


def encode(message: Message) -> tuple[bool, bytes]:
    is_binary, pieces = legacy.encode(message, parse_header(message.header))
    return is_binary, b"".join(pieces)


def as_dict(message: Message) -> dict[str, object]:
    """The message as jupyter_server's own classes have it."""
    header = json.loads(message.header)
    return {
        "header": header,
        "parent_header": json.loads(message.parent_header),
        "metadata": json.loads(message.metadata),
        "content": json.loads(message.content),
        "buffers": list(message.buffers),
        "channel": message.channel,
        "msg_id": header["msg_id"],
        "msg_type": header["msg_type"],
    }


client_dicts = st.fixed_dictionaries(
    {
        "header": headers,
        "parent_header": headers,
        "metadata": json_objects,
        "content": json_objects,
        "channel": client_channels,
        "buffers": buffer_lists,
    }
)


def assert_same(message: Message, sent: dict[str, object]) -> None:
    for name in ("header", "parent_header", "metadata", "content"):
        assert json.loads(getattr(message, name)) == sent[name]
    assert message.channel == sent["channel"]
    assert message.buffers == sent["buffers"]


@given(messages())
def test_clients_read_every_field_of_what_is_sent(message):
    is_binary, payload = encode(message)
    assert is_binary == bool(message.buffers)
    if is_binary:
        assert deserialize_binary_message(payload) == as_dict(message)
    else:
        assert json.loads(payload.decode()) == as_dict(message)


@given(client_dicts)
def test_what_clients_write_as_binary_is_read(sent):
    assert_same(legacy.decode_binary(serialize_binary_message(sent)), sent)


@given(client_dicts, st.booleans())
def test_what_clients_write_as_text_is_read(sent, ascii_only):
    sent["buffers"] = []
    assert_same(legacy.decode_text(json.dumps(sent, ensure_ascii=ascii_only).encode()), sent)


def test_content_is_passed_on_byte_for_byte():
    content = b'{ "a" : 1.50, "b":"\\u00e9", "a":2 }'
    _, payload = encode(stream_message(content=content))
    assert content in payload
    assert legacy.decode_text(b'{"header":{}, "content":' + content + b"}").content == content


@pytest.mark.parametrize("part", ["header", "parent_header", "metadata", "content"])
@pytest.mark.parametrize("buffers", [[], [b"\xff\xfe"]])
def test_bytes_that_are_not_utf8_are_replaced_before_a_browser_sees_them(part, buffers):
    message = stream_message(**{part: b'{"session":"caf\xc3\xa9","text":"caf\xe9\xed\xb3\xbf"}'}, buffers=buffers)
    header = parse_header(b'{"msg_id":"1","msg_type":"stream"}')
    is_binary, pieces = legacy.encode(message, header)
    payload = b"".join(pieces)
    sent = deserialize_binary_message(payload) if is_binary else json.loads(payload.decode())
    assert sent[part]["session"] == "café"
    assert sent[part]["text"].startswith("caf\N{REPLACEMENT CHARACTER}")
    assert sent["buffers"] == buffers


def test_characters_outside_of_ascii_are_sent_as_they_are():
    message = stream_message(content=pack({"text": "日本語 🎉"}))
    assert message.content in encode(message)[1]


def test_ids_with_quotes_stay_strings():
    odd = 'a"\\\n\x7f'
    message = stream_message(header=pack({"msg_id": odd, "msg_type": odd}))
    sent = json.loads(encode(message)[1])
    assert (sent["msg_id"], sent["msg_type"]) == (odd, odd)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"header":{}}', ("shell", b"{}", b"{}", b"{}", b"{}")),
        ('{"header":{}, "channel":null}', ("shell", b"{}", b"{}", b"{}", b"{}")),
        (
            '{"header":{},"parent_header":null,"metadata":null,"content":null}',
            ("shell", b"{}", b"{}", b"{}", b"{}"),
        ),
        (
            '{"channel":"control","header":{"session":""},"content":{"a":1}}',
            ("control", b'{"session":""}', b"{}", b"{}", b'{"a":1}'),
        ),
        (
            ' {"msg_id":1,"x":[{}],"header": {} ,"channel":"stdin"} ',
            ("stdin", b"{}", b"{}", b"{}", b"{}"),
        ),
    ],
)
def test_what_clients_leave_out_is_empty_and_what_they_add_is_skipped(text, expected):
    assert legacy.decode_text(text.encode()) == Message(*expected, [])


@pytest.mark.parametrize("buffers", ["[]", "[ ]", "{}", "{ }", "null"])
def test_every_form_of_no_buffers_is_taken(buffers):
    assert legacy.decode_text(f'{{"header":{{}},"buffers":{buffers}}}'.encode()).buffers == []


@pytest.mark.parametrize("channel", ["iopub", "hb", "", "Shell", "\\ud800"])
def test_a_channel_that_clients_cannot_send_to_is_named(channel):
    with pytest.raises(UnknownChannel, match="no channel"):
        legacy.decode_text(f'{{"header":{{}},"channel":"{channel}"}}'.encode())


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("NaN", "NaN"),
        ("[-Infinity]", "[-Infinity]"),
        ('"\\ud800"', '"\\ud800"'),
        ('"é\\udc00"', '"\\u00e9\\udc00"'),
    ],
)
def test_json_that_only_python_and_browsers_write_reaches_the_kernel(text, written):
    message = legacy.decode_text(f'{{"header":{{}},"content":{{"a":{text}}},"channel":"control"}}'.encode())
    assert message.content.decode() == f'{{"a": {written}}}'
    assert (message.channel, message.header, message.metadata) == ("control", b"{}", b"{}")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"header":{}} {}', "not JSON"),
        (b'{"header":{},"content":' + b"9" * 5000 + b"x", "not JSON"),
        (b'{"header":{},"content":' + b"[" * 100_000, "nested"),
        (b'{"header":{"a":"\xff"}}', "not UTF-8"),
        (b"null", "object"),
        (b"[]", "object"),
        (b"[NaN]", "object"),
        (b"NaN", "object"),
        (b"{}", "header"),
        (b'{"header":null}', "header"),
        (b'{"header":"x"}', "header"),
        (b'{"header":[]}', "header"),
        (b'{"header":{},"parent_header":1}', "parent_header"),
        (b'{"header":{},"metadata":[]}', "metadata"),
        (b'{"header":{},"content":"x"}', "content"),
        (b'{"header":{},"content":[NaN]}', "content"),
        (b'{"header":{},"channel":1}', "channel"),
        (b'{"header":{},"channel":1,"content":{"a":NaN}}', "channel"),
        (b'{"content":{"a":NaN},"header":{},"channel":1}', "channel"),
        (b'{"header":{},"buffers":"x"}', "buffers"),
        (b'{"header":{},"buffers":[1]}', "buffers"),
        (b'{"header":{},"buffers":{"a":1}}', "buffers"),
    ],
)
def test_what_is_wrong_with_a_message_is_named(text, named):
    with pytest.raises(ProtocolError, match=named):
        legacy.decode_text(text)


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        (b"", "cannot begin with 0 offsets"),
        (struct.pack("!I", 0), "cannot begin with 0 offsets"),
        (struct.pack("!I", 2**32 - 1), "cannot begin with"),
        (struct.pack("!III", 2, 12, 99), "outside"),
        (struct.pack("!III", 2, 4, 12), "outside"),
        (struct.pack("!IIII", 3, 16, 18, 17) + b"{}{}", "not in order"),
        (struct.pack("!II", 1, 8) + b"{}", "header"),
    ],
)
def test_an_envelope_that_does_not_fit_its_frame_is_refused(payload, complaint):
    with pytest.raises(ProtocolError, match=complaint):
        legacy.decode_binary(payload)


@given(damaged(client_dicts.map(lambda sent: json.dumps(sent | {"buffers": []}).encode())))
def test_only_protocol_errors_leave_decode_text(payload):
    accepts_or_explains(legacy.decode_text, payload)


@given(damaged(client_dicts.map(serialize_binary_message)))
def test_only_protocol_errors_leave_decode_binary(payload):
    accepts_or_explains(legacy.decode_binary, payload)
