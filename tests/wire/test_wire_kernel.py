"""The oracle is `jupyter_client.session.Session`: what it sends is read, what is sent it reads."""

from __future__ import annotations

import hashlib
import hmac
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jupyter_client.session import Session
from wire_messages import accepts_or_explains, damaged, json_objects, messages, pack, stream_message

from enterprise_gateway.errors import ProtocolError
from enterprise_gateway.wire.kernel import DELIMITER, BadSignature, Signer
from enterprise_gateway.wire.message import parse_header

KEY = b"0b8a-key"


def new_session(key: bytes = KEY, scheme: str = "hmac-sha256") -> Session:
    return Session(key=key, signature_scheme=scheme, session="6c1d", username="user")


@pytest.mark.parametrize("scheme", ["hmac-sha256", "hmac-md5", "hmac-sha512", "hmac-sha3_256", "hmac-blake2b"])
@pytest.mark.parametrize("key", [b"", b"k", b"k" * 64, b"k" * 65, b"k" * 1000])
def test_signatures_are_those_of_jupyter_client(scheme, key):
    parts = (b'{"a":1}', b"{}", b"{}", b'{"text":"hello"}')
    assert Signer(key, scheme).sign(*parts) == new_session(key, scheme).sign(list(parts))


@pytest.mark.parametrize("size", [0, 1, 32 * 1024 - 1, 32 * 1024, 1 << 20])
def test_a_signature_is_an_hmac_whatever_the_size_of_the_content(size):
    content = b"x" * size
    expected = hmac.digest(KEY, b"header" + b"parent" + b"metadata" + content, "sha256").hex()
    signer = Signer(KEY)
    assert signer.sign(b"header", b"parent", b"metadata", content) == expected.encode()
    assert signer.sign(b"header", b"parent", b"metadata", content) == expected.encode()


@pytest.mark.parametrize("scheme", ["", "sha256", "hmac-", "hmac-nothing", "hmac-shake_128", "hmac-__name__"])
def test_an_unknown_signature_scheme_is_refused(scheme):
    with pytest.raises(ProtocolError, match="signature scheme"):
        Signer(KEY, scheme)


@given(
    content=json_objects,
    metadata=json_objects,
    buffers=st.lists(st.binary(max_size=20), max_size=3),
    identities=st.lists(st.binary(min_size=1, max_size=20).filter(lambda i: i != DELIMITER), max_size=3),
    key=st.sampled_from([KEY, b""]),
)
def test_what_jupyter_client_sends_is_read(content, metadata, buffers, identities, key):
    session = new_session(key)
    sent = session.msg("stream", content=content, parent={"msg_id": "p"}, metadata=metadata)
    frames = [*session.serialize(sent, ident=identities), *buffers]
    message = Signer(key).decode("iopub", frames)
    assert message.channel == "iopub"
    assert session.unpack(message.content) == content
    assert session.unpack(message.metadata) == metadata
    assert session.unpack(message.parent_header) == {"msg_id": "p"}
    assert message.buffers == buffers
    assert parse_header(message.header).msg_id == sent["msg_id"]


@given(messages(), st.sampled_from([KEY, b""]))
def test_jupyter_client_reads_what_is_sent(message, key):
    session = new_session(key)
    _, frames = session.feed_identities(Signer(key).encode(message), copy=True)
    received = session.deserialize(frames)
    assert session.pack(received["content"]) == session.pack(session.unpack(message.content))
    assert received["msg_id"] == parse_header(message.header).msg_id
    assert [bytes(buffer) for buffer in received["buffers"]] == message.buffers


@given(messages())
def test_a_message_comes_back_as_it_was(message):
    signer = Signer(KEY)
    assert signer.decode(message.channel, signer.encode(message)) == message


@pytest.mark.parametrize("frame", range(1, 6))
def test_a_changed_frame_is_noticed(frame):
    signer = Signer(KEY)
    frames = signer.encode(stream_message())
    frames[frame] += b" "
    with pytest.raises(BadSignature):
        signer.decode("iopub", frames)


def test_an_unsigned_message_and_another_key_are_noticed():
    frames = Signer(b"another").encode(stream_message())
    with pytest.raises(BadSignature):
        Signer(KEY).decode("iopub", frames)
    frames[1] = b""
    with pytest.raises(BadSignature):
        Signer(KEY).decode("iopub", frames)


def test_without_a_key_no_signature_is_asked_for():
    frames = Signer(KEY).encode(stream_message())
    assert Signer(b"").decode("iopub", frames) == stream_message()


@pytest.mark.parametrize("count", range(6))
def test_a_message_with_too_few_frames_is_refused(count):
    frames = Signer(KEY).encode(stream_message())[:count]
    with pytest.raises(ProtocolError, match="delimiter") as caught:
        Signer(KEY).decode("iopub", frames)
    assert not isinstance(caught.value, BadSignature)


@given(st.lists(damaged(st.just(DELIMITER) | json_objects.map(pack)), max_size=8))
def test_only_protocol_errors_leave_decode(frames):
    for signer in (Signer(KEY), Signer(b"")):
        accepts_or_explains(partial(signer.decode, "shell"), frames)


def test_every_hash_that_is_always_there_can_be_used():
    fixed = [name for name in hashlib.algorithms_guaranteed if not name.startswith("shake")]
    assert all(len(Signer(KEY, f"hmac-{name}").sign(b"", b"", b"", b"")) >= 32 for name in fixed)
