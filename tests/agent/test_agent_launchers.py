"""A pod whose kernel is started by the real launcher of gateway_provisioners, which has not got Spark to use."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from agent_parts import DEADLINE, texts
from agent_pod_parts import Pod, free_port
from support.launchers import install_launchers

from enterprise_gateway.agent.reports import MAX_CONNECTIONS
from enterprise_gateway.backends.kubernetes.launcher import PUBLIC_KEY_VARIABLES, read_launch_command
from enterprise_gateway.backends.report_key import make_report_key
from enterprise_gateway.core import pods
from enterprise_gateway.core.agents import LauncherConfig
from enterprise_gateway.core.lifecycle import KernelState

LASTING = "import time; print('running', flush=True)\nwhile True: time.sleep(0.01)"
"""In steps: the launcher sends two signals at once, of which a single long one of these may hear the wrong one."""
LAZY = ("python", "launch_kubernetes.py", "--RemoteProcessProxy.spark-context-initialization-mode", "lazy")


class LauncherPod(Pod):
    """With the variables that a gateway gives to it."""

    def __init__(self, root: Path, bootstrap: Path) -> None:
        super().__init__(root)
        self.bootstrap = bootstrap
        key = make_report_key()
        self.launcher = LauncherConfig(private_key=key.private.reveal(), host="127.0.0.1", port=free_port())
        self.variables = {
            **(read_launch_command(LAZY, {}, "python", {}).launcher or {}),
            **dict.fromkeys(PUBLIC_KEY_VARIABLES, key.public),
            "RESPONSE_ADDRESS": f"127.0.0.1:{self.launcher.port}",
            "KERNEL_LANGUAGE": "python",
            "KERNEL_ID": self.kernel_id,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def start_launcher(self, *command: str, **env: str) -> None:
        """Start the kernel's container; with EG's script unless `command` says otherwise."""
        self.start_kernel(*(command or (str(self.bootstrap),)), **{**self.variables, **env})

    def ports(self) -> set[int]:
        """Where the kernel and its launcher listen."""
        processes = psutil.Process(self.kernel.pid).children(recursive=True)
        sockets = [socket for process in processes for socket in process.net_connections("tcp")]
        return {socket.laddr.port for socket in sockets if socket.status == psutil.CONN_LISTEN}


@pytest.fixture(scope="session")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_launchers(tmp_path_factory.mktemp("image"))


@pytest.fixture
async def pod(tmp_path: Path, bootstrap: Path) -> AsyncIterator[LauncherPod]:
    made = LauncherPod(tmp_path, bootstrap)
    yield made
    await made.close()


@pytest.fixture
async def running(pod: LauncherPod) -> LauncherPod:
    pod.start_launcher()
    pod.start_agent()
    await pod.running()
    return pod


async def test_a_launchers_kernel_is_interrupted_restarted_and_ended(running):
    client = await running.client()
    before = await running.status()
    assert "42" in texts(await client.run("x = 42; print(x)"))

    for _ in range(2):  # the first one must not end the process that takes the second
        # Without this, an ipykernel that was interrupted may refuse what comes at once.
        await client.send("shell", "execute_request", {"code": LASTING, "stop_on_error": False})
        await client.until("stream")
        await running.gateway.interrupt(running.address)
        reply = (await client.until("execute_reply"))[-1]
        assert reply["content"]["ename"] == "KeyboardInterrupt"
    assert "42" in texts(await client.run("print(x)")), "an interrupt keeps the state"

    after = await running.gateway.restart(running.address, DEADLINE)
    assert (after.state, after.execution_state) == (KernelState.RUNNING, "idle")
    assert after.pid != before.pid
    assert not psutil.pid_exists(before.pid)
    assert "NameError" in str(await client.run("x"))

    await running.gateway.shutdown(running.address, "it was shut down", DEADLINE)
    # ipykernel may wait half a minute for the launcher's other process, which nobody reaps.
    assert await running.ended(running.kernel) in (0, 128 + signal.SIGTERM)
    assert await running.ended(running.agent) == 0
    assert running.report.reason == "it was shut down"


async def test_a_restart_is_a_new_launcher_with_new_ports(running):
    before = running.ports()
    await running.gateway.restart(running.address, DEADLINE)
    after = running.ports()
    assert len(after) == len(before)
    assert after != before


async def test_a_kernel_that_dies_is_started_again_by_its_launcher(running):
    client = await running.client()
    before = (await running.status()).pid
    await client.execute("import os; os.kill(os.getpid(), 9)")
    received = await client.until("status", execution_state="restarting")
    assert "The kernel died (its launcher ended with exit code 0) and is restarted (1 of 5)" in texts(received)
    assert "alive" in texts(await client.run("print('alive')"))
    status = await running.status()
    assert status.restarts == 1
    assert status.pid != before


async def test_a_launcher_waits_for_the_agent_whichever_container_is_first(pod):
    pod.start_launcher()
    await asyncio.sleep(0.5)
    assert not pod.path(pods.SHARED_FOLDER, "pid").exists()
    pod.start_agent()
    await pod.running()


async def test_what_clients_send_before_the_report_is_signed_with_the_key_in_it(pod):
    pod.start_agent()
    await pod.status()
    client = await pod.client()
    await client.execute("print('early')")
    pod.start_launcher()
    assert "early" in texts(await client.until("execute_reply"))


async def test_peers_that_are_silent_do_not_delay_a_launcher(pod):
    silent = f"""
import os, socket, sys
for _ in range({2 * MAX_CONNECTIONS}):
    os.set_inheritable(socket.create_connection(("127.0.0.1", int(sys.argv[1]))).detach(), True)
os.execv(sys.argv[2], sys.argv[2:])
""".replace("{", "{{").replace("}", "}}")
    pod.start_launcher(sys.executable, "-c", silent, str(pod.launcher.port), str(pod.bootstrap))
    pod.start_agent()
    await pod.running()


# Launchers that fail.


async def test_a_launcher_that_never_reports_is_said_not_to_have(pod):
    pod.start_launcher("sleep", "600")
    pod.start_agent(start_timeout=1.0)
    assert await pod.ended(pod.kernel) == 128 + signal.SIGKILL
    assert await pod.ended(pod.agent) == 0
    assert pod.report.reason == "the kernel did not start: its launcher did not report within 1 s"


async def test_a_kernel_that_fails_behind_its_report_did_not_answer(pod):
    """Its launcher's other process lives on."""
    pod.start_launcher(KERNEL_CLASS_NAME="no.such.Kernel")
    pod.start_agent(start_timeout=5.0)
    assert await pod.ended(pod.kernel) == 128 + signal.SIGKILL
    await pod.ended(pod.agent)
    assert pod.report.reason == "the kernel did not start: it did not answer within 5 s"


async def test_a_launcher_that_fails_is_told_with_its_code_and_its_container_fails(pod):
    pod.start_launcher("/bin/sh", "-c", "exit 7")
    pod.start_agent()
    assert await pod.ended(pod.kernel) == 7
    assert await pod.ended(pod.agent) == 0
    assert pod.report.reason == "the kernel did not start: exit code 7; its launcher did not report"
    assert pod.report.exit_code == 7


async def test_a_container_fails_though_egs_script_ends_as_if_nothing_had_happened(pod):
    """So that kubelet keeps its last output."""
    pod.start_launcher(PUBLIC_KEY="no key")
    pod.start_agent()
    assert await pod.ended(pod.kernel) == 1
    await pod.ended(pod.agent)
    assert pod.report.reason == "the kernel did not start: exit code 0; its launcher did not report"


async def test_a_launcher_whose_language_is_not_known_fails(pod):
    pod.start_launcher(KERNEL_LANGUAGE="cobol")
    pod.start_agent()
    assert await pod.ended(pod.kernel) == 1
    assert await pod.ended(pod.agent) == 0
    assert pod.report.reason == "the kernel did not start: exit code 1; its launcher did not report"


async def test_a_start_that_waits_for_a_report_can_be_given_up_or_begun_again(pod):
    pod.start_launcher("sleep", "600")
    pod.start_agent()
    first = await pod.status(wait=1.0)
    assert first.state is KernelState.STARTING
    second = await pod.gateway.restart(pod.address, 3.0)
    assert second.state is KernelState.RESTARTING
    await pod.gateway.shutdown(pod.address, "never mind", DEADLINE)
    assert await pod.ended(pod.agent) == 0
    assert pod.report.reason == "never mind"
