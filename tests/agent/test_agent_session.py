"""What one front end is owed: everything, in order, once it has room and comes back for it."""

from __future__ import annotations

import pytest
from agent_parts import header, parsed, status, stream
from fakes.websocket import FakeSocket
from hypothesis import given
from hypothesis import strategies as st

from enterprise_gateway.agent.outgoing import Author, Outgoing
from enterprise_gateway.agent.session import BATCH_BYTES, Session
from enterprise_gateway.wire import v1
from enterprise_gateway.wire.message import Message

LIMIT = 1 << 20


def new_session(limit: int = LIMIT) -> Session:
    return Session("s1", limit, Author("agent-1"), durable=True)


def deliver(session: Session, *messages: Message, essential: bool = False) -> None:
    for each in messages:
        session.deliver(Outgoing(each, parsed(each.header), essential=essential))
    session.pump()


def test_messages_arrive_in_order_with_a_ping_behind_each_batch():
    session, socket = new_session(), FakeSocket()
    session.attach(socket)
    deliver(session, stream("a"), stream("b"))
    deliver(session, stream("c"))
    assert socket.texts == ["a", "b", "c"]
    assert socket.pings == [b"2", b"3"]


def test_a_client_that_comes_back_gets_what_it_has_not_acknowledged_and_nothing_else():
    session, first = new_session(), FakeSocket()
    session.attach(first)
    deliver(session, stream("a"), stream("b"))
    first.answer_ping(session)
    deliver(session, stream("c"))
    session.detach(now=7.0)
    deliver(session, stream("d"))
    assert session.detached_at == 7.0
    second = FakeSocket()
    assert session.attach(second) is None
    assert second.texts == ["c", "d"]
    second.answer_ping(session)
    assert session.settled


def test_the_second_websocket_of_a_session_replaces_the_first():
    session, first, second = new_session(), FakeSocket(), FakeSocket()
    session.attach(first)
    assert session.attach(second) is first
    deliver(session, stream("a"))
    assert (first.texts, second.texts) == ([], ["a"])


def test_a_client_may_come_back_in_another_protocol():
    session, first, second = new_session(), FakeSocket(), FakeSocket(v1.SUBPROTOCOL)
    session.attach(first)
    deliver(session, stream("a"))
    session.attach(second)
    assert first.texts == second.texts == ["a"]


def test_a_client_without_room_is_written_to_no_further_and_goes_on_where_it_stopped():
    session, socket = new_session(), FakeSocket(room=1)
    session.attach(socket)
    deliver(session, stream("a"))
    deliver(session, stream("b"), stream("c"))
    assert socket.texts == ["a"]
    socket.room = None
    session.pump()
    assert socket.texts == ["a", "b", "c"]


def test_a_long_replay_is_written_in_batches_each_of_which_may_be_the_last():
    session, socket = new_session(16 * BATCH_BYTES), FakeSocket(room=2)
    deliver(session, *(stream("x" * (BATCH_BYTES // 4)) for _ in range(40)))
    session.attach(socket)
    assert [len(write) for write in socket.written] == [4, 4]
    assert socket.pings == [b"4", b"8"]


@pytest.mark.parametrize("payload", [b"", b"x", b"-1", b"1.0", b"\xff", b"9" * 20, "²".encode()])
def test_a_pong_that_is_no_number_of_ours_is_ignored(payload):
    session, socket = new_session(), FakeSocket()
    session.attach(socket)
    deliver(session, stream("a"))
    session.acknowledge(payload)
    assert not session.settled


def test_a_client_that_was_away_too_long_is_told_how_much_is_missing_in_the_cell_it_is_missing_from():
    session, socket = new_session(20_000), FakeSocket()
    cell = header("execute_request", msg_id="cell")
    session.attach(socket)
    deliver(session, stream("first", cell))
    socket.answer_ping(session)
    session.detach(now=0.0)
    deliver(session, *(stream(f"line {number}", cell) for number in range(1000)))
    back = FakeSocket()
    session.attach(back)
    notice, *rest = back.messages
    assert notice["content"]["name"] == "stderr"
    assert notice["content"]["text"].startswith(f"[gateway] {1000 - len(rest)} messages")
    assert notice["parent_header"] == cell
    assert [each["content"]["text"] for each in rest] == [f"line {n}" for n in range(1000 - len(rest), 1000)]


def test_an_idle_that_was_lost_is_said_again_in_its_place():
    session, socket = new_session(4000), FakeSocket()
    cells = [header("execute_request", msg_id=f"cell-{number}") for number in range(50)]
    deliver(session, *(status("idle", cell) for cell in cells), essential=True)
    session.attach(socket)
    notice, idle, *rest = socket.messages
    lost = int(notice["content"]["text"].split()[1])
    assert idle["content"] == {"execution_state": "idle"}
    assert len(rest) == len(cells) - lost
    assert idle["parent_header"]["msg_id"] in {cell["msg_id"] for cell in cells}
    assert idle["parent_header"]["msg_id"] not in {each["parent_header"]["msg_id"] for each in rest}


def test_the_notice_of_a_loss_survives_a_connection_that_broke_before_it_was_read():
    session, first, second = new_session(3000), FakeSocket(), FakeSocket()
    deliver(session, *(stream(str(number)) for number in range(50)))
    session.attach(first)
    session.attach(second)
    assert first.texts == second.texts
    assert "were dropped here" in second.texts[0]
    second.answer_ping(session)
    third = FakeSocket()
    session.attach(third)
    assert third.messages == []


@given(st.lists(st.sampled_from(["deliver", "acknowledge", "break", "return", "room", "full"]), max_size=60))
def test_whatever_happens_to_its_connections_a_client_has_everything_in_order(events):
    session, socket, sent = new_session(), FakeSocket(), 0
    session.attach(socket)
    seen: list[int] = []

    def read() -> None:
        """The client takes what is new to it; what it had already may come again, but no gap may open."""
        for text in socket.texts:
            if int(text) == len(seen):
                seen.append(int(text))
            assert int(text) < len(seen)

    for event in events:
        if event == "deliver":
            deliver(session, stream(str(sent)))
            sent += 1
        elif event == "acknowledge" and socket.pings and session.socket is socket:
            read()
            socket.answer_ping(session)
        elif event == "break":
            read()
            session.detach(0.0)
        elif event == "return":
            read()
            socket = FakeSocket()
            session.attach(socket)
        elif event in ("room", "full"):
            socket.room = None if event == "room" else 0
            session.pump()
    read()
    socket = FakeSocket()
    session.attach(socket)
    read()
    assert seen == list(range(sent))


def test_its_repr_tells_whether_somebody_is_there():
    session = new_session()
    assert "detached" in repr(session)
    session.attach(FakeSocket())
    assert "attached" in repr(session)
