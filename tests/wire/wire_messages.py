"""What the tests of `wire` share: messages as Hypothesis strategies, and as the oracles take them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from enterprise_gateway.errors import ProtocolError
from enterprise_gateway.wire.message import CHANNELS, Message

# How fast a busy machine is says nothing about these claims.
settings.register_profile("wire", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("wire")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
json_objects = st.dictionaries(st.text(max_size=8), json_values, max_size=4)
# The version is fixed, because jupyter_client translates the content of messages of other ones.
headers = st.fixed_dictionaries(
    {
        "msg_id": st.text(max_size=12),
        "msg_type": st.text(max_size=12),
        "session": st.text(max_size=12),
        "version": st.just("5.4"),
    },
    optional={"username": st.text(max_size=5), "x": json_values},
)
buffer_lists = st.lists(st.binary(max_size=40), max_size=4)
client_channels = st.sampled_from(sorted(CHANNELS))
channels = client_channels | st.just("iopub")


def pack(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def messages(channel: st.SearchStrategy[str] = channels) -> st.SearchStrategy[Message]:
    objects = json_objects.map(pack)
    return st.builds(Message, channel, headers.map(pack), headers.map(pack), objects, objects, buffer_lists)


def stream_message(**parts: Any) -> Message:
    """An ordinary message, with other parts where the test says so."""
    header = {
        "msg_id": "6c1d_12",
        "msg_type": "stream",
        "session": "6c1d",
        "username": "user",
        "date": datetime(2026, 8, 1, tzinfo=UTC).isoformat(),
        "version": "5.4",
    }
    fields = {
        "channel": "iopub",
        "header": pack(header),
        "parent_header": pack(header),
        "metadata": b"{}",
        "content": pack({"name": "stdout", "text": "hello\n"}),
        "buffers": [],
    }
    return Message(**(fields | parts))


def damaged(valid: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Arbitrary bytes, and valid ones that were cut, or had one byte changed or put in."""

    def damage(data: bytes, position: int, insert: bytes, skip: int) -> bytes:
        position %= len(data) + 1
        return data[:position] + insert + data[position + skip :]

    places = st.integers(0, 1 << 16)
    return st.binary(max_size=80) | st.builds(
        damage, valid, places, st.binary(max_size=2), st.sampled_from([0, 1, 1 << 16])
    )


def accepts_or_explains(decode: Callable[[Any], object], data: Any) -> None:
    """Call `decode`; the one exception it may raise has a sentence for its reader."""
    message = "."
    try:
        decode(data)
    except ProtocolError as error:
        message = error.message
    assert message.endswith(".")
