"""A killed agent takes its kernel with it; the gateway says so, and the kernel's id is free again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest
import websocket
from support.channels import Channels
from support.gateway import Gateway
from support.local import agent_pid, group, kernel_pid
from support.rest import answer_of, assert_error
from support.wait import eventually

WITH_A_CHILD = "import subprocess; child = subprocess.Popen(['sleep', '1000']); print(child.pid, flush=True)"


@pytest.fixture(scope="module")
def own_gateway() -> Iterator[Gateway]:
    with Gateway() as gateway:
        yield gateway.start()


def kill_agent(gateway: Gateway, kernel_id: str) -> None:
    os.kill(agent_pid(gateway, kernel_id), signal.SIGKILL)


def kill_agent_while_no_gateway_runs(gateway: Gateway, kernel_id: str) -> None:
    gateway.kill()
    kill_agent(gateway, kernel_id)
    gateway.start()


@pytest.mark.parametrize("kill", [kill_agent, kill_agent_while_no_gateway_runs])
def test_a_kernel_whose_agent_was_killed_is_gone_with_a_reason_and_can_be_started_again(
    own_gateway: Gateway, kill: Callable[[Gateway, str], None]
) -> None:
    rest = own_gateway.rest
    kernel_id = rest.start_kernel()
    process = kernel_pid(own_gateway, kernel_id)
    with Channels.of(own_gateway, kernel_id) as client:
        child = int(client.execute(WITH_A_CHILD).text)
    assert set(group(process)) >= {process, child}
    kill(own_gateway, kernel_id)

    eventually(lambda: not group(process))
    eventually(lambda: rest.get(f"/api/kernels/{kernel_id}").status_code == 404)
    assert_error(rest.get(f"/api/kernels/{kernel_id}"), 404, kernel_id, "its agent was killed")
    assert kernel_id not in rest.kernel_ids()
    history = answer_of(rest.get(f"/api/kernels/{kernel_id}/why"))
    assert history["kernel"]["execution_state"] == "dead"
    assert history["kernel"]["reason"] == "its agent was killed"
    assert history["ended"]

    assert rest.start_kernel(env={"KERNEL_ID": kernel_id}) == kernel_id
    with Channels.of(own_gateway, kernel_id) as client:
        assert client.execute("print('child' in dir())").text == "False\n"
    rest.shut_down(kernel_id)
    assert not (own_gateway.state_dir / "kernels" / kernel_id).exists()


def test_the_clients_of_a_killed_agent_are_cut_off_and_then_told_404(own_gateway: Gateway) -> None:
    kernel_id = own_gateway.rest.start_kernel()
    with Channels.of(own_gateway, kernel_id) as client:
        kill_agent(own_gateway, kernel_id)
        with pytest.raises((websocket.WebSocketException, OSError)):
            client.recv()
    eventually(lambda: own_gateway.rest.get(f"/api/kernels/{kernel_id}").status_code == 404)
    with pytest.raises(websocket.WebSocketBadStatusException) as refusal:
        Channels.of(own_gateway, kernel_id)
    assert refusal.value.status_code == 404


def test_an_agent_that_hangs_does_not_hide_other_kernels(own_gateway: Gateway) -> None:
    rest = own_gateway.rest
    hanging, healthy = rest.start_kernel(), rest.start_kernel()
    pid = agent_pid(own_gateway, hanging)
    os.kill(pid, signal.SIGSTOP)
    try:
        assert rest.kernel_ids() >= {hanging, healthy}
        with Channels.of(own_gateway, healthy) as client:
            assert client.execute("print(1)").text == "1\n"
    finally:
        os.kill(pid, signal.SIGCONT)
    rest.shut_down(hanging)
    rest.shut_down(healthy)
