"""Launch commands that the gateway runs: the real launcher of gateway_provisioners, and scripts that start it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from support.channels import Channels
from support.gateway import Gateway, StartGateway
from support.launchers import install_launchers
from support.rest import answer_of
from support.specs import spec
from support.wait import eventually

OPTIONS = (
    *("--kernel-id", "{kernel_id}", "--port-range", "{port_range}"),
    *("--response-address", "{response_address}", "--public-key", "{public_key}"),
)
ELSEWHERE = """\
import subprocess, sys
subprocess.Popen([sys.executable, *sys.argv[1:]], start_new_session=True, stdin=subprocess.DEVNULL,
                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print("started it elsewhere")
"""
"""What a script does that starts a kernel on another machine: it ends, and the kernel is nobody's child."""
GONE_SECONDS = 120.0
"""ipykernel waits half a minute for the launcher's other process, if nobody is there to end it."""
SLOW = "import time\ntry:\n    for _ in range(3000): time.sleep(0.02)\nexcept KeyboardInterrupt: print('stopped')"


RUDE = """\
import socket, subprocess, sys
host, port = sys.argv[sys.argv.index("--response-address") + 1].split(":")
peers = [socket.create_connection((host, int(port))) for _ in range(20)]
for each in peers[-5:]:
    each.sendall(b"nonsense")
    each.shutdown(socket.SHUT_WR)
sys.exit(subprocess.call([sys.executable, *sys.argv[1:]]))
"""
"""What a hostile peer does at the port where launchers report, and then the launcher."""


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = install_launchers(tmp_path_factory.mktemp("launchers")).parent
    script = str(folder / "kernel-launchers" / "python" / "scripts" / "launch_ipykernel.py")
    launcher = (sys.executable, script, *OPTIONS, "--cluster-type", "none")
    return {
        "launcher": spec(*launcher),
        "elsewhere": spec(sys.executable, "-c", ELSEWHERE, *launcher[1:]),
        "rude": spec(sys.executable, "-c", RUDE, *launcher[1:]),
        "fails": spec(sys.executable, "-c", "import sys; print('no such host'); sys.exit(3)", *OPTIONS),
        "silent": spec(sys.executable, "-c", "print('submitted')", *OPTIONS),
        "missing": spec("/nowhere/launch.sh", *OPTIONS),
    }


@pytest.fixture(scope="module")
def gateway(specs: dict[str, Any]) -> Iterator[Gateway]:
    with Gateway(kernelspecs=specs, EG_START_WAIT="60") as gateway:
        yield gateway.start()


@pytest.fixture(params=["launcher", "elsewhere"])
def kernel_id(request: pytest.FixtureRequest, gateway: Gateway) -> Iterator[str]:
    """A kernel that its launcher started: as the agent's child, and as nobody's."""
    kernel_id = gateway.rest.start_kernel(request.param)
    yield kernel_id
    gateway.rest.delete(f"/api/kernels/{kernel_id}")


def run(gateway: Gateway, kernel_id: str, code: str) -> str:
    with Channels.of(gateway, kernel_id) as channels:
        execution = channels.execute(code)
    assert execution.reply["status"] == "ok", execution.reply
    return execution.text.strip()


def refusal(gateway: Gateway, name: str, **env: str) -> str:
    answer = gateway.rest.post("/api/kernels", json={"name": name, "env": env})
    assert answer.status_code == 500, answer.text
    return str(answer.json()["message"])


def test_cells_run(gateway: Gateway, kernel_id: str) -> None:
    assert run(gateway, kernel_id, "print(6 * 7)") == "42"


def test_an_interrupt_keeps_state_and_a_restart_clears_it(gateway: Gateway, kernel_id: str) -> None:
    run(gateway, kernel_id, "kept = 1")
    with Channels.of(gateway, kernel_id) as channels:
        request = channels.send_code(f"print('begun', flush=True)\n{SLOW}")
        channels.recv_until(lambda message: "begun" in message["content"].get("text", ""))
        assert gateway.rest.post(f"/api/kernels/{kernel_id}/interrupt").status_code == 204
        assert channels.recv_execution(request).reply["status"] in ("ok", "error")
    assert run(gateway, kernel_id, "print(kept)") == "1"
    answer_of(gateway.rest.post(f"/api/kernels/{kernel_id}/restart"))
    assert run(gateway, kernel_id, "print('kept' in dir())") == "False"


def test_a_deleted_kernels_process_is_gone(gateway: Gateway, kernel_id: str) -> None:
    process = psutil.Process(int(run(gateway, kernel_id, "import os; print(os.getpid())")))
    gateway.rest.shut_down(kernel_id)
    eventually(lambda: not process.is_running(), GONE_SECONDS)


def test_a_kernel_that_is_killed_is_started_again(gateway: Gateway, kernel_id: str) -> None:
    process = psutil.Process(int(run(gateway, kernel_id, "import os; print(os.getpid())")))
    with Channels.of(gateway, kernel_id) as channels:
        for each in (*process.children(recursive=True), process):
            each.send_signal(signal.SIGKILL)
        channels.recv_until(lambda message: message["content"].get("execution_state") == "restarting")
    assert int(run(gateway, kernel_id, "import os; print(os.getpid())")) != process.pid


def test_a_kernel_survives_its_gateway(start_gateway: StartGateway, specs: dict[str, Any]) -> None:
    gateway = start_gateway(kernelspecs=specs, EG_START_WAIT="60")
    kernel_id = gateway.rest.start_kernel("launcher")
    run(gateway, kernel_id, "kept = 1")
    gateway.kill()
    gateway.start()
    assert run(gateway, kernel_id, "print(kept)") == "1"


def test_a_command_that_fails_is_told_with_its_exit_code_and_output(gateway: Gateway) -> None:
    said = refusal(gateway, "fails")
    assert "its launch command ended with exit code 3; its launcher did not report" in said
    assert "no such host" in said


def test_a_command_whose_launcher_never_reports_is_told_at_the_deadline(gateway: Gateway) -> None:
    said = refusal(gateway, "silent", KERNEL_LAUNCH_TIMEOUT="3")
    assert "its launch command has ended, and its launcher did not report within 3 s" in said
    assert "submitted" in said


def test_a_command_that_is_not_there_is_named(gateway: Gateway) -> None:
    assert "/nowhere/launch.sh" in refusal(gateway, "missing")


def test_who_talks_nonsense_to_the_port_of_reports_delays_no_launcher(gateway: Gateway) -> None:
    kernel_id = gateway.rest.start_kernel("rude")
    assert run(gateway, kernel_id, "print(6 * 7)") == "42"
    gateway.rest.shut_down(kernel_id)
