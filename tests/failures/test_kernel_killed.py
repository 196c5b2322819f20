"""A kernel's process that dies is noticed, told and restarted in place, until that is pointless."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator

import pytest
from support.channels import Channels, Message
from support.gateway import Gateway, StartGateway
from support.local import kernel_pid
from support.rest import answer_of, assert_error
from support.specs import NULL, spec
from support.wait import eventually

LIMIT = 2
ENDLESS = "import time; print('running', flush=True); time.sleep(600)"
START_TIMEOUT = 1
RETENTION = 2

DOES_NOT_START = {
    "exits": spec("/bin/sh", "-c", "echo 'no module named nothing' >&2; exit 3"),
    "missing": spec("/nonexistent/kernel", "-f", "{connection_file}"),
    "mute": spec("/bin/sh", "-c", "echo 'thinking'; exec sleep 600"),
}


@pytest.fixture(scope="module")
def own_gateway() -> Iterator[Gateway]:
    with Gateway(EG_RESTART_LIMIT=str(LIMIT)) as gateway:
        yield gateway.start()


@pytest.fixture(scope="module")
def forgetful() -> Iterator[Gateway]:
    """A gateway that restarts nothing and soon forgets why a kernel ended."""
    specs = {**DOES_NOT_START, "null": NULL}
    with Gateway(kernelspecs=specs, EG_AUTORESTART="False", EG_REASON_RETENTION=str(RETENTION)) as gateway:
        yield gateway.start()


def is_status(message: Message, state: str) -> bool:
    return bool(message["msg_type"] == "status" and message["content"]["execution_state"] == state)


def test_a_killed_kernel_is_restarted_in_place_and_its_clients_are_told(own_gateway: Gateway) -> None:
    kernel_id = own_gateway.rest.start_kernel()
    with Channels.of(own_gateway, kernel_id, session_id="mine") as client:
        request = client.send_code(ENDLESS)
        client.recv_until(lambda message: message["msg_type"] == "stream")
        os.kill(kernel_pid(own_gateway, kernel_id), signal.SIGKILL)
        execution = client.recv_execution(request)
        assert execution.reply["status"] == "error"
        assert "SIGKILL" in execution.reply["evalue"]
        assert "SIGKILL" in execution.text
        client.recv_until(lambda message: is_status(message, "restarting"))
        assert client.execute("print('again')").text == "again\n"
    model = answer_of(own_gateway.rest.get(f"/api/kernels/{kernel_id}"))
    assert model["execution_state"] == "idle"
    own_gateway.rest.shut_down(kernel_id)


def test_a_kernel_that_dies_again_and_again_is_given_up_with_the_reason(own_gateway: Gateway) -> None:
    rest = own_gateway.rest
    kernel_id = rest.start_kernel()
    with Channels.of(own_gateway, kernel_id, session_id="mine") as client:
        for _ in range(LIMIT + 1):
            reply = client.execute("import os; os._exit(42)").reply
            assert reply["status"] == "error"
        messages = client.recv_until(lambda message: is_status(message, "dead"))
        assert not any(message["msg_type"] == "execute_reply" for message in messages)
    eventually(lambda: rest.get(f"/api/kernels/{kernel_id}").status_code == 404)
    assert_error(rest.get(f"/api/kernels/{kernel_id}"), 404, "exit code 42", f"{LIMIT + 1} times")
    assert kernel_id not in rest.kernel_ids()
    history = answer_of(rest.get(f"/api/kernels/{kernel_id}/why"))
    assert "exit code 42" in history["kernel"]["reason"]


def test_without_autorestart_the_first_death_is_the_last(forgetful: Gateway) -> None:
    rest = forgetful.rest
    kernel_id = rest.start_kernel("null")
    with Channels.of(forgetful, kernel_id, session_id="mine") as client:
        request = client.send_code("ticks 1000 1")
        client.recv_until(lambda message: message["msg_type"] == "stream")
        os.kill(kernel_pid(forgetful, kernel_id), signal.SIGKILL)
        assert client.recv_execution(request).reply["status"] == "error"
    eventually(lambda: rest.get(f"/api/kernels/{kernel_id}").status_code == 404)
    assert_error(rest.get(f"/api/kernels/{kernel_id}"), 404, "SIGKILL", "automatic restart is switched off")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("exits", ("exit code 3", "no module named nothing")),
        ("missing", ("/nonexistent/kernel",)),
        ("mute", (f"did not answer within {START_TIMEOUT} s", "thinking")),
    ],
)
def test_a_kernel_that_does_not_start_is_answered_with_the_reason_and_leaves_nothing(
    forgetful: Gateway, name: str, words: tuple[str, ...]
) -> None:
    kernel_id = str(uuid.uuid4())
    env = {"KERNEL_ID": kernel_id, "KERNEL_LAUNCH_TIMEOUT": str(START_TIMEOUT)}
    answer = forgetful.rest.post("/api/kernels", json={"name": name, "env": env})
    assert_error(answer, 500, *words)
    assert kernel_id not in forgetful.rest.kernel_ids()
    why = forgetful.rest.get(f"/api/kernels/{kernel_id}/why")
    assert words[0] in answer_of(why)["kernel"]["reason"]
    eventually(lambda: not (forgetful.state_dir / "kernels" / kernel_id).exists())
    eventually(lambda: forgetful.rest.get(f"/api/kernels/{kernel_id}/why").status_code == 404)


def test_a_dead_kernel_is_deleted_without_waiting_for_clients_that_never_return(start_gateway: StartGateway) -> None:
    gateway = start_gateway(kernelspecs={"null": NULL}, EG_AUTORESTART="False")
    kernel_id = gateway.rest.start_kernel("null")
    with Channels.of(gateway, kernel_id, session_id="never returns"):
        pass
    os.kill(kernel_pid(gateway, kernel_id), signal.SIGKILL)
    eventually(lambda: kernel_id not in gateway.rest.kernel_ids())
    answer = gateway.rest.delete(f"/api/kernels/{kernel_id}")
    assert_error(answer, 404, "SIGKILL")
    assert not gateway.state_dir.joinpath("kernels", kernel_id).exists()
