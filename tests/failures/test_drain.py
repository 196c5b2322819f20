"""A gateway that is told to stop hands its clients over; Ctrl-C ends what it ran."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from support.channels import V1, Channels, ClosedByServerError, Message
from support.gateway import Gateway
from support.local import agent_pid, kernel_pid
from support.specs import NULL
from support.wait import eventually

SERVICE_RESTART = 1012
MESSAGES = 2000


@pytest.fixture(scope="module")
def mortal() -> Iterator[Gateway]:
    with Gateway(kernelspecs={"null": NULL}) as gateway:
        yield gateway.start()


def read_to_close(client: Channels) -> tuple[list[Message], int]:
    """Everything up to CLOSE, and its code."""
    messages = []
    try:
        while True:
            messages.append(client.recv())
    except ClosedByServerError as closed:
        return messages, closed.code


def is_idle(message: Message) -> bool:
    return bool(message["msg_type"] == "status" and message["content"]["execution_state"] == "idle")


@pytest.mark.parametrize("subprotocols", [pytest.param((), id="legacy"), pytest.param((V1,), id="v1")])
def test_sigterm_closes_websockets_with_1012_once_their_clients_have_everything(
    mortal: Gateway, subprotocols: tuple[str, ...]
) -> None:
    kernel_id = mortal.rest.start_kernel("null")
    pids = agent_pid(mortal, kernel_id), kernel_pid(mortal, kernel_id)
    options = {"session_id": "mine", "subprotocols": subprotocols}
    client = Channels.of(mortal, kernel_id, **options)
    request = client.send_code(f"stream {MESSAGES} 100")
    ending = threading.Thread(target=mortal.terminate)
    ending.start()
    received, code = read_to_close(client)
    assert code == SERVICE_RESTART
    client.close()
    ending.join()
    assert not mortal.running
    assert sum(message["msg_type"] == "stream" for message in received) == MESSAGES
    mortal.start()
    assert (agent_pid(mortal, kernel_id), kernel_pid(mortal, kernel_id)) == pids
    with Channels.of(mortal, kernel_id, **options) as back:
        again = back.execute("nothing")
        assert request not in {message["parent_header"].get("msg_id") for message in again.messages}
        assert not again.of("stream")
    mortal.rest.shut_down(kernel_id)


def test_a_client_that_does_not_read_cannot_hold_a_gateway_back(mortal: Gateway) -> None:
    kernel_id = mortal.rest.start_kernel("null")
    options = {"session_id": "mine", "skip_utf8_validation": True}
    client = Channels.of(mortal, kernel_id, **options)
    client.send_code("stream 20000 1000")
    assert mortal.terminate() == 0
    client.drop()
    mortal.start()
    with Channels.of(mortal, kernel_id, **options) as back:
        texts = [m for m in back.recv_until(is_idle) if m["msg_type"] == "stream"]
    assert texts, "what it did not read was not kept"
    mortal.rest.shut_down(kernel_id)


def test_sigint_ends_local_kernels_with_the_gateway(mortal: Gateway) -> None:
    kernel_id = mortal.rest.start_kernel("null")
    with Channels.of(mortal, kernel_id, session_id="mine") as client:
        client.execute("nothing")
        assert mortal.interrupt() == 0
    eventually(lambda: not mortal.processes())
    mortal.start()
    assert mortal.rest.kernel_ids() == set()
