"""Who gets what, and what is remembered of those who are away."""

from __future__ import annotations

import asyncio
import json

import pytest
from agent_parts import DEADLINE, header, message, parsed, status, stream
from fakes.websocket import FakeSocket

from enterprise_gateway.agent.hub import MAX_CLIENTS, MAX_DETACHED, MAX_PENDING, Hub
from enterprise_gateway.agent.outgoing import Author
from enterprise_gateway.agent.session import Session
from enterprise_gateway.errors import ProtocolError
from enterprise_gateway.wire.message import Message


class Front:
    """A front end: its session at the hub and its websocket."""

    def __init__(self, hub: Hub, name: str, *, session_id: str | None = None) -> None:
        self.hub = hub
        self.name = name
        self.socket = FakeSocket()
        self.session: Session = hub.attach(name if session_id is None else session_id, self.socket)

    def asks(self, msg_id: str, msg_type: str = "execute_request", channel: str = "shell") -> dict[str, str]:
        """Send a request; its header."""
        request = message(channel, msg_type, {}, session=self.name, msg_id=msg_id)
        self.hub.from_client(self.session, request, parsed(request.header))
        return json.loads(request.header)

    def leaves(self) -> None:
        self.hub.detach(self.session, self.socket)


@pytest.fixture
def own() -> list[str]:
    """Types of the messages that were for the agent itself."""
    return []


@pytest.fixture
async def hub(own: list[str]) -> Hub:
    return Hub(1 << 20, Author("agent"), lambda _, head: own.append(head.msg_type))


def kernel_says(hub: Hub, *messages: Message) -> None:
    for each in messages:
        hub.from_kernel(each)
    hub.flush()


def reply(parent: dict[str, str], msg_type: str = "execute_reply", channel: str = "shell") -> Message:
    return message(channel, msg_type, {"status": "ok"}, parent=parent, session="kernel")


def types(socket: FakeSocket) -> list[str]:
    return [each["msg_type"] for each in socket.messages]


async def test_output_goes_to_everybody_and_a_reply_to_who_asked(hub):
    ann, bob = Front(hub, "ann"), Front(hub, "bob")
    request = ann.asks("m1")
    kernel_says(hub, stream("hello", request), reply(request))
    assert types(ann.socket) == ["stream", "execute_reply"]
    assert types(bob.socket) == ["stream"]


async def test_one_client_may_use_several_sessions_and_one_session_several_names(hub):
    left = Front(hub, "notebook", session_id="left")
    right = Front(hub, "notebook", session_id="right")
    first, second = left.asks("m1"), right.asks("m2")
    kernel_says(hub, reply(second), reply(first))
    assert [each["parent_header"]["msg_id"] for each in left.socket.messages] == ["m1"]
    assert [each["parent_header"]["msg_id"] for each in right.socket.messages] == ["m2"]


async def test_a_question_of_the_kernel_goes_to_who_ran_the_cell_and_leaves_its_reply_expected(hub):
    ann, bob = Front(hub, "ann"), Front(hub, "bob")
    request = ann.asks("m1")
    kernel_says(hub, reply(request, "input_request", "stdin"), reply(request))
    assert types(ann.socket) == ["input_request", "execute_reply"]
    assert bob.socket.messages == []


async def test_a_second_reply_is_routed_by_the_name_of_the_client(hub):
    ann = Front(hub, "ann", session_id="window")
    request = ann.asks("m1")
    kernel_says(hub, reply(request), reply(request))
    assert types(ann.socket) == ["execute_reply"] * 2


async def test_a_reply_to_nobody_known_is_dropped(hub):
    ann = Front(hub, "ann")
    kernel_says(hub, reply(header("execute_request", session="stranger")))
    assert ann.socket.messages == []


async def test_the_agents_own_messages_are_its_own_business(hub, own):
    ann = Front(hub, "ann")
    parent = header("kernel_info_request", session="agent")
    kernel_says(hub, reply(parent, "kernel_info_reply"), status("busy", parent), message("iopub", "iopub_welcome", {}))
    assert own == ["kernel_info_reply", "status", "iopub_welcome"]
    assert ann.socket.messages == []
    assert hub.heard_iopub
    assert hub.activity.execution_state == "starting"


async def test_a_slow_client_keeps_nobody_waiting(hub):
    slow, quick = Front(hub, "slow"), Front(hub, "quick")
    slow.socket.room = 0
    kernel_says(hub, *(stream(str(number)) for number in range(100)))
    assert slow.socket.messages == []
    assert len(quick.socket.messages) == 100


async def test_status_messages_say_whether_the_kernel_is_busy(hub):
    request = Front(hub, "ann").asks("m1")
    kernel_says(hub, status("busy", request))
    assert hub.activity.execution_state == "busy"
    kernel_says(hub, status("idle", request))
    assert hub.activity.execution_state == "idle"


@pytest.mark.parametrize("content", [b"", b"[]", b'{"execution_state": null}'])
async def test_a_status_that_makes_no_sense_is_an_error_of_the_kernel(hub, content):
    bad = status("idle")
    with pytest.raises(ProtocolError, match="status"):
        hub.from_kernel(Message("iopub", bad.header, b"{}", b"{}", content, []))


async def test_a_client_that_comes_back_has_missed_nothing(hub):
    ann = Front(hub, "ann")
    request = ann.asks("m1")
    ann.leaves()
    kernel_says(hub, stream("while away", request), reply(request))
    back = Front(hub, "ann")
    assert types(back.socket) == ["stream", "execute_reply"]


async def test_a_session_that_is_opened_again_closes_its_first_websocket(hub):
    first, second = Front(hub, "ann"), Front(hub, "ann")
    assert first.socket.closed == (1001, "this session was opened again by its client")
    first.leaves()  # its end comes late
    assert hub.sockets == [second.socket]


async def test_a_client_without_a_session_id_is_forgotten_when_it_leaves(hub):
    ann = Front(hub, "ann", session_id="")
    request = ann.asks("m1")
    assert len(hub.sockets) == 1
    ann.leaves()
    kernel_says(hub, reply(request))
    assert (hub._sessions, hub._by_client, hub._pending) == ({}, {}, {})


async def test_two_clients_without_a_session_id_do_not_share_one(hub):
    ann, bob = Front(hub, "ann", session_id=""), Front(hub, "bob", session_id="")
    kernel_says(hub, reply(ann.asks("m1")))
    assert types(ann.socket) == ["execute_reply"]
    assert bob.socket.closed is None
    assert bob.socket.messages == []


async def test_of_too_many_clients_that_are_away_those_longest_away_are_forgotten(hub):
    staying = Front(hub, "staying")
    for number in range(MAX_DETACHED + 3):
        Front(hub, f"gone-{number}").leaves()
    assert set(hub._sessions) == {"staying", *(f"gone-{number}" for number in range(3, MAX_DETACHED + 3))}
    assert hub.sockets == [staying.socket]


async def test_after_its_grace_a_session_without_a_client_is_forgotten_with_all_it_asked(hub):
    gone, staying = Front(hub, "gone"), Front(hub, "staying")
    gone.asks("m1")
    staying.asks("m2")
    gone.leaves()
    hub.forget_detached(before=gone.session.detached_at)
    assert set(hub._sessions) == {"gone", "staying"}
    hub.forget_detached(before=gone.session.detached_at + 1)
    assert (set(hub._sessions), set(hub._by_client), set(hub._pending)) == ({"staying"}, {"staying"}, {"m2"})


async def test_every_cell_a_kernel_did_not_live_to_answer_is_answered_and_nothing_else(hub):
    ann, bob = Front(hub, "ann"), Front(hub, "bob")
    first, second = ann.asks("m1"), bob.asks("m2")
    bob.asks("m3", "kernel_info_request")
    kernel_says(hub, reply(first))
    hub.fail_pending("it died")
    assert types(ann.socket) == ["execute_reply", "status"]
    failure, idle = bob.socket.messages[0], bob.socket.messages[-1]
    assert (failure["msg_type"], failure["channel"], failure["parent_header"]) == ("execute_reply", "shell", second)
    assert failure["content"]["evalue"] == "it died"
    assert (idle["content"], idle["parent_header"]) == ({"execution_state": "idle"}, second)
    hub.fail_pending("it died again")
    assert len(bob.socket.messages) == 2


async def test_a_kernel_that_died_between_a_reply_and_its_idle_leaves_nobody_waiting_for_the_idle(hub):
    ann = Front(hub, "ann")
    request = ann.asks("m1")
    kernel_says(hub, status("busy", request), reply(request))
    hub.fail_pending("it died")
    assert types(ann.socket) == ["status", "execute_reply", "status"]
    idle = ann.socket.messages[-1]
    assert (idle["content"], idle["parent_header"]) == ({"execution_state": "idle"}, request)


async def test_requests_without_an_answer_cost_bounded_memory_and_the_newest_are_answered(hub):
    ann = Front(hub, "ann")
    for number in range(MAX_PENDING + 10):
        ann.asks(f"m{number}")
    assert len(hub._pending) == MAX_PENDING
    kernel_says(hub, reply(header("execute_request", session="ann", msg_id="m0")))
    assert types(ann.socket) == ["execute_reply"]


async def test_a_client_that_signs_each_message_with_another_name_costs_bounded_memory(hub):
    ann = Front(hub, "ann")
    for number in range(MAX_CLIENTS + 10):
        ann.name = f"name-{number}"
        ann.asks("m1", "comm_msg")
    assert len(hub._by_client) == MAX_CLIENTS


async def test_words_of_the_agent_appear_in_the_cell_that_ran_last_also_for_those_who_come_later(hub):
    ann = Front(hub, "ann")
    cell = ann.asks("cell")
    ann.asks("info", "kernel_info_request")
    ann.leaves()
    hub.tell("this kernel is shut down")
    back = Front(hub, "ann")
    (words,) = back.socket.messages
    assert words["content"] == {"name": "stderr", "text": "[gateway] this kernel is shut down\n"}
    assert words["parent_header"] == cell


async def test_settling_waits_for_the_acknowledgements_of_those_sockets_alone(hub):
    ann, bob = Front(hub, "ann"), Front(hub, "bob")
    kernel_says(hub, stream("last words"))
    settling = asyncio.create_task(hub.settle([ann.socket], DEADLINE))
    await asyncio.sleep(0)
    assert not settling.done()
    hub.acknowledge(bob.session, bob.socket.pings[-1])
    await asyncio.sleep(0)
    assert not settling.done()
    hub.acknowledge(ann.session, ann.socket.pings[-1])
    await settling


async def test_settling_does_not_wait_for_a_client_that_leaves(hub):
    ann = Front(hub, "ann")
    kernel_says(hub, stream("last words"))
    settling = asyncio.create_task(hub.settle([ann.socket], DEADLINE))
    await asyncio.sleep(0)
    ann.leaves()
    await settling


async def test_settling_all_waits_for_clients_that_are_away_until_they_are_forgotten(hub):
    ann = Front(hub, "ann")
    ann.leaves()
    kernel_says(hub, stream("last words"))
    settling = asyncio.create_task(hub.settle_all(DEADLINE))
    await asyncio.sleep(0)
    assert not settling.done()
    hub.forget_detached(before=ann.session.detached_at + 1)
    await asyncio.wait_for(settling, DEADLINE / 2)


async def test_settling_gives_up_after_its_time(hub):
    Front(hub, "ann")
    kernel_says(hub, stream("last words"))
    await hub.settle_all(0.01)


async def test_it_is_closed_when_the_last_websocket_is(hub):
    ann, bob = Front(hub, "ann"), Front(hub, "bob")
    closed = asyncio.create_task(hub.closed())
    ann.leaves()
    await asyncio.sleep(0)
    assert not closed.done()
    bob.leaves()
    await closed
