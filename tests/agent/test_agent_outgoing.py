from __future__ import annotations

import json

import pytest
from agent_parts import header, message, parsed, stream
from fakes.websocket import FakeSocket

from enterprise_gateway.agent.outgoing import JOIN_BYTES, Author, Outgoing
from enterprise_gateway.wire import v1
from enterprise_gateway.wire.message import Message

AUTHOR = Author("agent-1")
PROTOCOLS = [None, v1.SUBPROTOCOL]


def outgoing(source: Message) -> Outgoing:
    return Outgoing(source, parsed(source.header), essential=False)


def read(each: Outgoing, subprotocol: str | None = None) -> dict:
    """As a client has it."""
    socket = FakeSocket(subprotocol)
    socket.write(each.frame(subprotocol))
    (found,) = socket.messages
    return found


@pytest.mark.parametrize("subprotocol", PROTOCOLS)
def test_a_message_is_encoded_once_for_each_protocol_however_many_clients_there_are(subprotocol):
    each = outgoing(stream("hello"))
    assert each.frame(subprotocol) is each.frame(subprotocol)


@pytest.mark.parametrize("size", [0, 200, JOIN_BYTES - 1, JOIN_BYTES, 3 * JOIN_BYTES])
def test_both_protocols_carry_the_same_message_whatever_its_size(size):
    each = outgoing(stream("x" * size, parent=header("execute_request", msg_id="m1")))
    legacy, modern = (read(each, subprotocol) for subprotocol in PROTOCOLS)
    assert legacy["parent_header"] == modern["parent_header"]
    assert legacy["content"] == modern["content"] == {"name": "stdout", "text": "x" * size}
    assert legacy["msg_id"] == modern["msg_id"]


@pytest.mark.parametrize("subprotocol", PROTOCOLS)
def test_a_large_buffer_is_never_copied(subprotocol):
    buffer = bytes(JOIN_BYTES)
    source = message("iopub", "display_data", {})
    frame = outgoing(Message("iopub", source.header, b"{}", b"{}", b"{}", [buffer])).frame(subprotocol)
    assert any(piece is buffer for piece in frame)


def test_an_own_status_goes_to_the_cell_whose_header_is_given():
    parent = header("execute_request", msg_id="m1")
    found = read(AUTHOR.status("idle", json.dumps(parent).encode()))
    assert (found["channel"], found["msg_type"]) == ("iopub", "status")
    assert found["content"] == {"execution_state": "idle"}
    assert found["parent_header"] == parent


def test_what_a_front_end_would_wait_for_is_essential_and_words_are_not():
    assert AUTHOR.status("idle").essential
    assert AUTHOR.failure(parsed(b'{"msg_type": "x_request"}'), b"{}", "shell", "why").essential
    assert not AUTHOR.stderr("words").essential


def test_a_failure_is_the_error_reply_to_its_request():
    request = header("execute_request", msg_id="m1")
    raw = json.dumps(request).encode()
    found = read(AUTHOR.failure(parsed(raw), raw, "shell", "it died"))
    assert (found["channel"], found["msg_type"]) == ("shell", "execute_reply")
    assert found["content"] == {"status": "error", "ename": "KernelDied", "evalue": "it died", "traceback": []}
    assert found["parent_header"] == request


def test_own_requests_are_told_apart_by_their_ids_and_known_by_their_session():
    first, second = (AUTHOR.request("control", "shutdown_request", {"restart": True}) for _ in range(2))
    assert parsed(first.header).msg_id != parsed(second.header).msg_id
    assert parsed(first.header).session == "agent-1"
    assert (first.channel, json.loads(first.content)) == ("control", {"restart": True})
