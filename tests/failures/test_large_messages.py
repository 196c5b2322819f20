"""Messages of 64 MiB, floods of small ones, and many sessions of one kernel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from support.channels import V1, Channels, Message
from support.gateway import Gateway
from support.rest import answer_of
from support.specs import NULL
from support.wait import eventually

LARGE = 64 * 1024 * 1024
FLOOD = 100_000
SESSIONS = 60
SUBPROTOCOLS = [pytest.param((), id="legacy"), pytest.param((V1,), id="v1")]


@pytest.fixture(scope="module")
def own_gateway() -> Iterator[Gateway]:
    with Gateway(kernelspecs={"null": NULL}) as gateway:
        yield gateway.start()


@pytest.fixture(scope="module")
def roomy() -> Iterator[Gateway]:
    """A gateway whose replay buffers hold the whole flood: a client may read it much slower than it comes."""
    with Gateway(kernelspecs={"null": NULL}, EG_REPLAY_BUFFER_SIZE=str(4 * LARGE)) as gateway:
        yield gateway.start()


@pytest.fixture
def null_id(own_gateway: Gateway) -> Iterator[str]:
    kernel_id = own_gateway.rest.start_kernel("null")
    yield kernel_id
    own_gateway.rest.shut_down(kernel_id)


def open_channels(gateway: Gateway, kernel_id: str, session_id: str, subprotocols: tuple[str, ...] = ()) -> Channels:
    # The client library's own check of UTF-8 takes minutes for this much text.
    options = {"session_id": session_id, "subprotocols": subprotocols, "skip_utf8_validation": True}
    return Channels.of(gateway, kernel_id, **options)


@pytest.mark.parametrize("subprotocols", SUBPROTOCOLS)
def test_messages_of_64_mib_pass_both_ways(own_gateway: Gateway, null_id: str, subprotocols: tuple[str, ...]) -> None:
    with open_channels(own_gateway, null_id, "large", subprotocols) as client:
        assert client.execute("nothing " + "x" * LARGE).reply["status"] == "ok"
        (display,) = client.execute(f"display 1 {LARGE}").of("display_data")
        assert len(display["content"]["data"]["text/plain"]) == LARGE
        content = {"comm_id": "c", "data": {}}
        client.send("shell", "comm_msg", content, buffers=[bytes(LARGE)])
        assert client.execute("nothing").reply["status"] == "ok"


def is_stream(message: Message) -> bool:
    return bool(message["msg_type"] == "stream")


def is_idle(message: Message) -> bool:
    return bool(message["msg_type"] == "status" and message["content"]["execution_state"] == "idle")


@pytest.mark.parametrize("subprotocols", SUBPROTOCOLS)
def test_a_flood_of_a_hundred_thousand_messages_arrives_whole_and_in_order(
    roomy: Gateway, subprotocols: tuple[str, ...]
) -> None:
    kernel_id = roomy.rest.start_kernel("null")
    with open_channels(roomy, kernel_id, "flood", subprotocols) as client:
        client.send_code(f"stream {FLOOD} 20")
        messages = client.recv_until(is_idle)
        numbers = [int(m["header"]["msg_id"].rpartition("-")[2]) for m in messages if is_stream(m)]
        assert numbers == list(range(FLOOD))
    roomy.rest.shut_down(kernel_id)


def test_every_session_of_many_gets_every_output_and_its_own_replies_alone(own_gateway: Gateway, null_id: str) -> None:
    with ExitStack() as stack:
        clients = [
            stack.enter_context(open_channels(own_gateway, null_id, f"s{number}", (V1,) if number % 2 else ()))
            for number in range(SESSIONS)
        ]
        eventually(lambda: answer_of(own_gateway.rest.get(f"/api/kernels/{null_id}"))["connections"] == SESSIONS)
        requests = [client.send_code("stream 2 10") for client in clients]
        for client, own in zip(clients, requests, strict=True):
            messages: list[Message] = []
            while not (sum(map(is_stream, messages)) == 2 * SESSIONS and has_reply(messages)):
                messages.append(client.recv())
            asked = {m["parent_header"].get("msg_id") for m in messages if is_stream(m)}
            assert asked == set(requests)
            assert [m["parent_header"]["msg_id"] for m in messages if m["msg_type"] == "execute_reply"] == [own]


def has_reply(messages: list[Message]) -> bool:
    return any(message["msg_type"] == "execute_reply" for message in messages)
