"""What becomes of a kernel in its pod: interrupted, restarted, killed, deleted, evicted, culled; and why."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.channels import Channels, Message
from support.cluster import kubectl
from support.outside import Outside, outside, pod_spec
from support.rest import answer_of, assert_error
from support.wait import eventually

pytestmark = pytest.mark.cluster

RESTART_SECONDS = 10.0
"""What a restart in place may take here; a new pod is no quicker than its image, and the target is one second."""
LIMIT = "150Mi"

SPECS: dict[str, Any] = {
    "by-message": {**pod_spec(), "interrupt_mode": "message"},
    "small": pod_spec(env={"KERNEL_MEMORY_LIMIT": LIMIT}),
}

CHILD = """
import subprocess, sys
code = "import time\\ntry: print('up', flush=True); time.sleep(600)\\nexcept KeyboardInterrupt: pass"
child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
print(child.stdout.readline(), flush=True)
child.wait()
"""
WHO = "import os, socket; print(socket.gethostname(), os.getpid())"
LAST_WORDS = """
import atexit, sys, time
def last_words():
    time.sleep(1)
    print("atexit ran", file=sys.__stderr__, flush=True)
atexit.register(last_words)
"""


@pytest.fixture(scope="module")
def gateway() -> Iterator[Outside]:
    with outside(kernelspecs=SPECS, EG_RESTART_LIMIT="1") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def kernel_id(gateway: Outside) -> Iterator[str]:
    """A kernel that the tests of this module share: each leaves it idle."""
    kernel_id = gateway.rest.start_kernel("python")
    yield kernel_id
    gateway.rest.shut_down(kernel_id)


class TestInterrupt:
    """KeyboardInterrupt, in the kernel and below it."""

    def test_a_loop_is_interrupted(self, gateway: Outside, kernel_id: str) -> None:
        claim_it_is_interrupted(gateway, kernel_id, "import time; print('running', flush=True); time.sleep(600)")

    def test_a_child_process_of_the_kernel_is_interrupted_with_it(self, gateway: Outside, kernel_id: str) -> None:
        claim_it_is_interrupted(gateway, kernel_id, CHILD)
        assert gateway.run(kernel_id, "print(child.wait(60))") == "0\n"

    def test_a_kernel_that_wants_a_message_gets_one(self, gateway: Outside) -> None:
        kernel_id = gateway.rest.start_kernel("by-message")
        claim_it_is_interrupted(gateway, kernel_id, "import time; print('running', flush=True); time.sleep(600)")
        gateway.rest.shut_down(kernel_id)


class TestRestart:
    """A new process in the same pod."""

    def test_a_restart_is_a_new_process_in_the_same_pod(self, gateway: Outside, kernel_id: str) -> None:
        uid = gateway.pod(kernel_id)["metadata"]["uid"]
        with Channels.of(gateway, kernel_id, session_id="stays") as channels:
            channels.execute("import subprocess; mine = 1; child = subprocess.Popen(['sleep', '600'])")
            before = channels.execute(WHO).text.split()
            began = time.monotonic()
            answer_of(gateway.rest.post(f"/api/kernels/{kernel_id}/restart"))
            after = channels.execute(WHO).text.split()
            assert time.monotonic() - began < RESTART_SECONDS
            assert after[0] == before[0]
            assert after[1] != before[1]
            assert channels.execute("mine").reply["ename"] == "NameError"
            commands = channels.execute(
                "import pathlib; print([p.read_bytes() for p in pathlib.Path('/proc').glob('[0-9]*/cmdline')])"
            )
            assert "sleep" not in commands.text
        pod = gateway.pod(kernel_id)
        assert pod["metadata"]["uid"] == uid
        assert all(status["restartCount"] == 0 for status in pod["status"]["containerStatuses"])

    def test_a_killed_kernel_comes_back_and_its_user_is_told_why(self, gateway: Outside, kernel_id: str) -> None:
        uid = gateway.pod(kernel_id)["metadata"]["uid"]
        with Channels.of(gateway, kernel_id, session_id="stays") as channels:
            request = channels.send_code("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
            execution = channels.recv_execution(request)
            assert execution.reply["status"] == "error"
            assert "SIGKILL" in execution.reply["evalue"]
            assert "[gateway] The kernel died (signal 9 (SIGKILL)) and is restarted (1 of 1)" in execution.text
            channels.recv_until(lambda message: is_status(message, "restarting"))
            assert channels.execute("print('again')").text == "again\n"
        assert gateway.pod(kernel_id)["metadata"]["uid"] == uid


class TestEnds:
    """Kernels that end, each in its own way; the reason is told to those who are there and those who come later."""

    def test_too_much_memory_is_told_with_the_limit(self, gateway: Outside) -> None:
        kernel_id = gateway.rest.start_kernel("small")
        with Channels.of(gateway, kernel_id, session_id="mine") as channels:
            for _ in range(2):
                assert channels.execute("x = bytearray(400 << 20)").reply["status"] == "error"
            channels.recv_until(lambda message: is_status(message, "dead"))
        claim_reason(gateway, kernel_id, "memory", "limit", "150")
        assert history(gateway, kernel_id)["exit_code"] == -9

    def test_an_exit_is_told_with_its_code_and_what_was_said_last(self, gateway: Outside) -> None:
        kernel_id = gateway.rest.start_kernel("python")
        with Channels.of(gateway, kernel_id, session_id="mine") as channels:
            for _ in range(2):
                channels.send_code("import os, sys; print('last line', file=sys.__stderr__, flush=True)")
                # A thread of ipykernel passes it on, to clients and to its container's output.
                channels.recv_until(lambda message: message["content"].get("text") == "last line\n")
                assert channels.execute("os._exit(42)").reply["status"] == "error"
            channels.recv_until(lambda message: is_status(message, "dead"))
        claim_reason(gateway, kernel_id, "exit code 42")
        assert history(gateway, kernel_id)["exit_code"] == 42
        eventually(lambda: "last line" in history(gateway, kernel_id)["log_tail"])

    def test_a_deleted_kernel_ends_politely_and_leaves_nothing(self, gateway: Outside) -> None:
        kernel_id = gateway.rest.start_kernel("python")
        gateway.run(kernel_id, LAST_WORDS)
        name = gateway.pod(kernel_id)["metadata"]["name"]
        with follow_log(gateway, name) as log:
            gateway.rest.shut_down(kernel_id)
            assert "atexit ran" in log.communicate(timeout=60)[0]
        eventually(lambda: not [found for found in gateway.namespace.kernel_objects() if kernel_id in found], 60.0)
        assert gateway.rest.get(f"/api/kernels/{kernel_id}/why").status_code == 404

    def test_a_pod_deleted_with_kubectl_is_a_kernel_that_ended_politely(self, gateway: Outside) -> None:
        kernel_id = gateway.rest.start_kernel("python")
        gateway.run(kernel_id, LAST_WORDS)
        name = gateway.pod(kernel_id)["metadata"]["name"]
        with Channels.of(gateway, kernel_id, session_id="mine") as channels, follow_log(gateway, name) as log:
            gateway.namespace.kubectl("delete", "pod", name, "--wait=false")
            channels.recv_until(lambda message: is_status(message, "dead"))
            assert "atexit ran" in log.communicate(timeout=60)[0]
        eventually(lambda: kernel_id not in gateway.rest.kernel_ids())
        eventually(lambda: not [found for found in gateway.namespace.kernel_objects() if kernel_id in found], 60.0)

    def test_an_evicted_kernel_says_so(self, gateway: Outside) -> None:
        kernel_id = gateway.rest.start_kernel("python")
        gateway.run(kernel_id, LAST_WORDS)  # while it runs, the reason can be read
        name = gateway.pod(kernel_id)["metadata"]["name"]
        with Channels.of(gateway, kernel_id, session_id="mine") as channels:
            evict(gateway, name)
            reason = eventually(lambda: gateway.rest.get(f"/api/kernels/{kernel_id}").json().get("message"))
            assert "evicted" in reason
            channels.recv_until(lambda message: is_status(message, "dead"))
        eventually(lambda: not [found for found in gateway.namespace.kernel_objects() if kernel_id in found], 60.0)


def test_an_idle_kernel_is_culled_by_its_agent_and_its_pod_is_reaped_after_the_retention() -> None:
    with outside(EG_CULL_IDLE_TIMEOUT="2", EG_REASON_RETENTION="6") as gateway:
        kernel_id = gateway.rest.start_kernel("python")
        claim_reason(gateway, kernel_id, "culled: it was idle for", "(the limit is 2 s)")
        assert len(gateway.namespace.kernel_objects()) == 2
        gateway.namespace.until_no_kernel_is_left()
        eventually(lambda: gateway.rest.get(f"/api/kernels/{kernel_id}/why").status_code == 404)


def test_an_idle_kernel_is_culled_while_no_gateway_runs_and_the_next_one_knows_why() -> None:
    with outside(EG_CULL_IDLE_TIMEOUT="2") as gateway:
        kernel_id = gateway.rest.start_kernel("python")
        gateway.kill()
        eventually(lambda: gateway.pod(kernel_id)["status"]["phase"] in ("Succeeded", "Failed"), 60.0)
        gateway.start()
        claim_reason(gateway, kernel_id, "culled: it was idle for")


def test_what_is_in_the_cluster_is_what_is_listed(gateway: Outside, kernel_id: str) -> None:
    """The last of this module: after all that has happened, one kernel lives."""
    ended = [pod["metadata"]["labels"]["kernel_id"] for pod in gateway.namespace.list("pods", "component=kernel")]
    for each in set(ended) - {kernel_id}:
        assert_error(gateway.rest.delete(f"/api/kernels/{each}"), 404)
    pod = f"pod/{gateway.pod(kernel_id)['metadata']['name']}"
    eventually(lambda: gateway.namespace.kernel_objects() == {pod, f"secret/kernel-{kernel_id}"}, 60.0)
    assert gateway.rest.kernel_ids() == {kernel_id}


def is_status(message: Message, state: str) -> bool:
    return bool(message["msg_type"] == "status" and message["content"]["execution_state"] == state)


def claim_it_is_interrupted(gateway: Outside, kernel_id: str, code: str) -> None:
    """A cell that says something and goes on for ever ends with a KeyboardInterrupt, and the next one runs."""
    with Channels.of(gateway, kernel_id) as channels:
        request = channels.send_code(code)
        channels.recv_until(lambda message: message["msg_type"] == "stream")
        answer = gateway.rest.post(f"/api/kernels/{kernel_id}/interrupt")
        assert answer.status_code == 204, answer.text
        assert channels.recv_execution(request).reply["ename"] == "KeyboardInterrupt"
        assert channels.execute("print('on')").text == "on\n"


def history(gateway: Outside, kernel_id: str) -> dict[str, Any]:
    """What `why` tells."""
    return dict(answer_of(gateway.rest.get(f"/api/kernels/{kernel_id}/why")))


def claim_reason(gateway: Outside, kernel_id: str, *words: str) -> None:
    """Once the kernel has ended, `why` and a 404 tell the reason."""
    eventually(lambda: kernel_id not in gateway.rest.kernel_ids(), 60.0)
    # For a moment the cluster knows that the container has ended, and not yet what its agent says of that.
    eventually(lambda: all(word in history(gateway, kernel_id)["kernel"]["reason"] for word in words))
    assert_error(gateway.rest.get(f"/api/kernels/{kernel_id}"), 404, *words)


def follow_log(gateway: Outside, pod: str) -> subprocess.Popen[str]:
    """Reads the kernel container's log to its end, from before the pod goes."""
    # Its agent says that a kernel is ready before the cluster knows that its container runs.
    eventually(lambda: gateway.namespace.get("pod", pod)["status"]["phase"] == "Running")
    command = ["kubectl", "--namespace", gateway.namespace.name, "logs", pod, "--container=kernel", "--follow"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def evict(gateway: Outside, pod: str) -> None:
    """What draining a node does to each pod."""
    space = gateway.namespace.name
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": space}}
    path = f"/api/v1/namespaces/{space}/pods/{pod}/eviction"
    kubectl("create", f"--raw={path}", "--filename=-", stdin=json.dumps(eviction))
