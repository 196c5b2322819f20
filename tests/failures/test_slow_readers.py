"""A client that does not keep up harms itself alone, and is told what it missed."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import psutil
import pytest
from support.channels import V1, Channels, Message
from support.gateway import Gateway
from support.rest import answer_of
from support.specs import NULL
from support.wait import eventually

RING = 2 * 1024 * 1024
ROUNDS = 40
ROUND = "stream 500 1000"
"""A quarter of the ring; all rounds are far more than every buffer on the way to a client holds."""
MEMORY = 12 * 1024 * 1024
"""Bytes an agent may grow by: one ring, the buffers of its sockets, and what the allocator keeps."""
NOTICE = re.compile(r"\[gateway\] (\d+) messages \([\d.]+ MB\) of output were dropped here")


@pytest.fixture(scope="module")
def small_rings() -> Iterator[Gateway]:
    with Gateway(kernelspecs={"null": NULL}, EG_REPLAY_BUFFER_SIZE=str(RING)) as gateway:
        yield gateway.start()


def agent_memory(gateway: Gateway, kernel_id: str) -> int:
    """Bytes."""
    pid = int((gateway.state_dir / "kernels" / kernel_id / "agent.pid").read_text())
    return int(psutil.Process(pid).memory_info().rss)


def wait_for_connections(gateway: Gateway, kernel_id: str, count: int) -> None:
    eventually(lambda: answer_of(gateway.rest.get(f"/api/kernels/{kernel_id}"))["connections"] == count)


def idle_of(request: str, message: Message) -> bool:
    idle = message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"
    return idle and message["parent_header"].get("msg_id") == request


def reply_to(request: str, message: Message) -> bool:
    reply = message["msg_type"] == "execute_reply"
    return bool(reply and message["parent_header"].get("msg_id") == request)


def up_to_idle(client: Channels, request: str) -> list[Message]:
    """Everything that came up to the idle of `request`."""
    return client.recv_until(lambda message: idle_of(request, message))


def from_kernel(messages: list[Message]) -> int:
    """How many of them the kernel published."""
    return sum(m["channel"] == "iopub" and m["header"]["username"] != "gateway" for m in messages)


def missed(messages: list[Message]) -> int:
    """How many messages the client is told it missed."""
    texts = (m["content"]["text"] for m in messages if m["msg_type"] == "stream" and m["content"]["name"] == "stderr")
    return sum(int(found[1]) for text in texts if (found := NOTICE.match(text)))


@pytest.mark.parametrize("subprotocols", [pytest.param((), id="legacy"), pytest.param((V1,), id="v1")])
def test_a_client_that_stops_reading_delays_nobody_and_is_told_exactly_what_it_missed(
    small_rings: Gateway, subprotocols: tuple[str, ...]
) -> None:
    kernel_id = small_rings.rest.start_kernel("null")
    narrow = {"sockopt": [(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)]}
    options = {"subprotocols": subprotocols, "skip_utf8_validation": True}
    slow = Channels.of(small_rings, kernel_id, session_id="slow", **options, **narrow)
    fast = Channels.of(small_rings, kernel_id, session_id="fast", **options)
    with slow, fast:
        wait_for_connections(small_rings, kernel_id, 2)
        before = agent_memory(small_rings, kernel_id)
        unread = slow.send_code("nothing")
        published = 0
        for _ in range(ROUNDS):
            published += from_kernel(up_to_idle(fast, fast.send_code(ROUND)))
        assert agent_memory(small_rings, kernel_id) - before < MEMORY
        last = slow.send_code("nothing")
        published += from_kernel(up_to_idle(fast, last))
        received = up_to_idle(slow, last)
        assert missed(received) > 0
        assert from_kernel(received) + missed(received) == published
        if not any(reply_to(last, message) for message in received):
            received += slow.recv_until(lambda message: reply_to(last, message))
        assert any(reply_to(unread, message) for message in received)
        assert any(idle_of(unread, message) for message in received)
    small_rings.rest.shut_down(kernel_id)
