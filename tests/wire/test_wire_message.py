from __future__ import annotations

import json

import pytest
from hypothesis import given
from wire_messages import accepts_or_explains, damaged, headers, messages, pack

from enterprise_gateway.errors import ProtocolError
from enterprise_gateway.wire.message import Header, Message, parse_header


@given(headers)
def test_a_header_is_read_as_json_reads_it(fields):
    header = parse_header(pack(fields))
    assert header == Header(fields["msg_id"], fields["msg_type"], fields["session"])


def test_a_missing_field_is_empty_and_an_extra_one_is_skipped():
    assert parse_header(b"{}") == Header("", "", "")
    assert parse_header(b'{"msg_id": "1", "date": null, "x": [{}]}') == Header("1", "", "")


@pytest.mark.parametrize("field", ["msg_id", "msg_type", "session"])
@pytest.mark.parametrize("value", [None, 1, [], {}, True])
def test_a_field_of_another_type_is_named(field, value):
    with pytest.raises(ProtocolError, match=field):
        parse_header(json.dumps({field: value}).encode())


@pytest.mark.parametrize("raw", [b"", b"null", b"[]", b"{", b'{"msg_id": "\xff"}', b'{"x":' + b"[" * 100_000, b"{} {}"])
def test_what_is_not_an_object_is_refused(raw):
    with pytest.raises(ProtocolError, match="header"):
        parse_header(raw)


@given(damaged(headers.map(pack)))
def test_only_protocol_errors_leave_parse_header(raw):
    accepts_or_explains(parse_header, raw)


@given(messages())
def test_size_counts_every_part(message: Message):
    parts = [message.header, message.parent_header, message.metadata, message.content, *message.buffers]
    assert message.size == len(b"".join(parts))
