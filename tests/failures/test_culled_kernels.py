"""Kernels that end by the operator's rules, and their reasons."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
from support.channels import Channels, Message
from support.gateway import Gateway, StartGateway
from support.local import agent_pid, kernel_pid
from support.rest import answer_of, assert_error
from support.specs import NULL
from support.wait import eventually

IDLE = "1"
AGENT_CHECKS = 2.0
"""Seconds in which every rule is looked at."""


def reason_of(gateway: Gateway, kernel_id: str) -> str:
    """Why a kernel was culled, once it was; claims that clients can read it."""
    rest = gateway.rest
    eventually(lambda: kernel_id not in rest.kernel_ids())
    reason = str(answer_of(rest.get(f"/api/kernels/{kernel_id}/why"))["kernel"]["reason"])
    assert reason.startswith("culled: ")
    assert_error(rest.get(f"/api/kernels/{kernel_id}"), 404, reason)
    return reason


def is_dead(message: Message) -> bool:
    return bool(message["msg_type"] == "status" and message["content"]["execution_state"] == "dead")


def notice_before_the_end(client: Channels) -> str:
    """What the notebook was told before `dead`."""
    messages = client.recv_until(is_dead)
    return "".join(m["content"]["text"] for m in messages if m["msg_type"] == "stream")


def sleeping(seconds: float, done: Path) -> str:
    """Code that sleeps, then makes the file `done`."""
    touch = f"pathlib.Path({str(done)!r}).touch()"
    return f"import pathlib, time; print('running', flush=True); time.sleep({seconds}); {touch}"


def start_code(gateway: Gateway, kernel_id: str, code: str) -> None:
    """Leaves code running behind a client that went away."""
    with Channels.of(gateway, kernel_id, session_id="left") as client:
        client.send_code(code)
        client.recv_until(lambda message: message["msg_type"] == "stream")


def test_an_idle_kernel_is_culled_and_one_with_a_client_is_not(start_gateway: StartGateway) -> None:
    gateway = start_gateway(kernelspecs={"null": NULL}, EG_CULL_IDLE_TIMEOUT=IDLE)
    attached, idle = gateway.rest.start_kernel("null"), gateway.rest.start_kernel("null")
    with Channels.of(gateway, attached, session_id="mine") as client:
        assert "idle for" in reason_of(gateway, idle)
        assert client.execute("nothing").reply["status"] == "ok"
        assert gateway.rest.kernel_ids() == {attached}
    assert "idle for" in reason_of(gateway, attached)


def test_the_notebook_of_a_connected_kernel_is_told_before_it_is_culled(start_gateway: StartGateway) -> None:
    gateway = start_gateway(kernelspecs={"null": NULL}, EG_CULL_IDLE_TIMEOUT=IDLE, EG_CULL_CONNECTED="True")
    kernel_id = gateway.rest.start_kernel("null")
    with Channels.of(gateway, kernel_id, session_id="mine") as client:
        request = client.send_code("nothing")
        messages = client.recv_until(is_dead)
    notices = [m for m in messages if m["msg_type"] == "stream"]
    assert "[gateway] This kernel is shut down: it was idle for" in notices[0]["content"]["text"]
    assert notices[0]["parent_header"]["msg_id"] == request, "it would not show in the notebook"
    assert "idle for" in reason_of(gateway, kernel_id)


def test_a_busy_kernel_is_culled_only_where_the_operator_says_so(start_gateway: StartGateway, tmp_path: Path) -> None:
    patient = start_gateway(EG_CULL_IDLE_TIMEOUT=IDLE)
    kernel_id = patient.rest.start_kernel()
    start_code(patient, kernel_id, sleeping(3, tmp_path / "done"))
    assert "idle for" in reason_of(patient, kernel_id)
    assert (tmp_path / "done").exists()

    strict = start_gateway(EG_CULL_IDLE_TIMEOUT=IDLE, EG_CULL_BUSY="True")
    kernel_id = strict.rest.start_kernel()
    start_code(strict, kernel_id, sleeping(600, tmp_path / "never"))
    assert "idle for" in reason_of(strict, kernel_id)
    assert not (tmp_path / "never").exists()


def test_a_kernel_of_the_maximum_age_ends_whatever_it_does(start_gateway: StartGateway, tmp_path: Path) -> None:
    gateway = start_gateway(EG_CULL_MAX_AGE="3")
    kernel_id = gateway.rest.start_kernel()
    with Channels.of(gateway, kernel_id, session_id="mine") as client:
        client.send_code(sleeping(600, tmp_path / "never"))
        assert "maximum age of 3 s" in notice_before_the_end(client)
    assert "maximum age of 3 s" in reason_of(gateway, kernel_id)


def test_a_kernel_without_gateway_and_work_ends_by_itself_and_the_next_gateway_knows_why(
    start_gateway: StartGateway,
) -> None:
    gateway = start_gateway(kernelspecs={"null": NULL}, EG_ORPHAN_TIMEOUT="1")
    kernel_id = gateway.rest.start_kernel("null")
    pids = agent_pid(gateway, kernel_id), kernel_pid(gateway, kernel_id)
    gateway.kill()
    eventually(lambda: not any(psutil.pid_exists(pid) for pid in pids))
    gateway.start()
    assert "no gateway and no activity" in reason_of(gateway, kernel_id)


def test_a_kernel_is_no_orphan_while_its_gateway_runs_however_quiet(start_gateway: StartGateway) -> None:
    gateway = start_gateway(kernelspecs={"null": NULL}, EG_ORPHAN_TIMEOUT="1")
    kernel_id = gateway.rest.start_kernel("null")
    time.sleep(2 * AGENT_CHECKS)  # nothing may happen in this time
    assert gateway.rest.kernel_ids() == {kernel_id}
