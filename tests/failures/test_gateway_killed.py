"""A gateway that is killed again and again loses no output, and keeps every order."""

from __future__ import annotations

import random
import time
from pathlib import Path

from support.channels import V1, Channels, Message
from support.follower import Follower
from support.gateway import StartGateway
from support.local import agent_pid, kernel_pid
from support.rest import answer_of
from support.wait import eventually

KILLS = 50
LONGEST_LIFE = 0.2
"""Seconds; clients need some of them to come back."""


def counting(stop: Path) -> str:
    """Code that prints numbered lines, about a hundred a second, until `stop` exists."""
    return f"""
import pathlib, time
number = 0
while not pathlib.Path({str(stop)!r}).exists():
    print(number, flush=True)
    number += 1
    time.sleep(0.01)
print("end", flush=True)
"""


def is_idle(message: Message) -> bool:
    return message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"


def test_a_gateway_killed_fifty_times_loses_no_line_and_keeps_their_order(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    moments = random.Random(1)
    gateway = start_gateway()
    kernel_id = gateway.rest.start_kernel()
    legacy = Follower(gateway, kernel_id, is_idle, session_id="legacy")
    v1 = Follower(gateway, kernel_id, is_idle, session_id="v1", subprotocols=[V1])
    eventually(lambda: answer_of(gateway.rest.get(f"/api/kernels/{kernel_id}"))["connections"] == 2)
    assert legacy.channels is not None
    legacy.channels.send_code(counting(tmp_path / "stop"))
    for _ in range(KILLS):
        time.sleep(moments.uniform(0, LONGEST_LIFE))
        gateway.kill()
        gateway.start()
    (tmp_path / "stop").touch()
    for follower in (legacy, v1):
        messages = follower.finish()
        lines = "".join(m["content"]["text"] for m in messages if m["msg_type"] == "stream").splitlines()
        assert lines == [*map(str, range(len(lines) - 1)), "end"]
        assert len(follower.connections) > KILLS / 2, "the kills went by between its connections"
    gateway.rest.shut_down(kernel_id)


def test_interpreters_kept_warm_end_with_a_killed_gateway_and_its_kernels_do_not(start_gateway: StartGateway) -> None:
    gateway = start_gateway(EG_WARM_KERNELS="2")
    with Channels.of(gateway, kernel_id := gateway.rest.start_kernel()) as client:
        client.execute("kept = 1")
    living = {agent_pid(gateway, kernel_id), kernel_pid(gateway, kernel_id)}
    for _ in range(3):
        gateway.kill()
        eventually(lambda: {process.pid for process in gateway.processes()} == living)
        gateway.start()
    with Channels.of(gateway, kernel_id) as client:
        assert client.execute("print(kept)").text == "1\n"
    gateway.rest.shut_down(kernel_id)
