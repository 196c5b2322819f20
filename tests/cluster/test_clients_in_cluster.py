"""Stock clients with the deployment's Service: a Jupyter Server in gateway mode, and jupyter_kernel_client."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import support.run_surviving_client
from support.channels import Channels
from support.deployed import Deployed
from support.jupyter import JupyterServer
from support.node import kill_container, restarts
from support.rest import answer_of
from support.wait import eventually

pytestmark = pytest.mark.cluster

SPEC = "python_kubernetes"


@pytest.fixture(scope="module")
def server(deployed: Deployed) -> Iterator[JupyterServer]:
    """A Jupyter Server whose user is bob."""
    with JupyterServer(deployed, KERNEL_USERNAME="bob") as server:
        yield server


@pytest.fixture(scope="module")
def session(server: JupyterServer) -> Iterator[dict[str, Any]]:
    """A session with a kernel, as opening a notebook makes one."""
    body = {"path": "a.ipynb", "name": "a", "type": "notebook", "kernel": {"name": SPEC}}
    answer = server.rest.post("/api/sessions", json=body)
    assert answer.status_code == 201, answer.text + server.log
    yield dict(answer.json())
    server.rest.delete(f"/api/sessions/{answer.json()['id']}")


@pytest.fixture(scope="module")
def lab_kernel(session: dict[str, Any]) -> str:
    return str(session["kernel"]["id"])


def connect(server: JupyterServer, kernel_id: str, **options: Any) -> Channels:
    return Channels(server.ws_url, kernel_id, token=server.token, **options)


def kill_replicas(deployed: Deployed) -> None:
    """Kills one replica after the other; there is always one that serves."""
    for name in deployed.replicas():
        pod = deployed.namespace.get("pod", name)
        kill_container(pod, "enterprise-gateway")
        before = restarts_of(pod)
        eventually(lambda name=name, old=before: restarts_of(deployed.namespace.get("pod", name)) > old, 60.0)
        deployed.until_rolled_out()


def restarts_of(pod: dict[str, Any]) -> int:
    (status,) = pod["status"]["containerStatuses"]
    return restarts(pod) if status["ready"] else -1


class TestJupyterServer:
    """JupyterLab's server, started with `--gateway-url`."""

    def test_its_kernel_is_a_pod_of_its_user(self, deployed: Deployed, server: JupyterServer, lab_kernel: str) -> None:
        assert deployed.namespace.kernel_pod(lab_kernel)["metadata"]["name"] == f"bob-{lab_kernel}"
        assert lab_kernel in {model["id"] for model in answer_of(server.rest.get("/api/kernels"))}
        with connect(server, lab_kernel) as client:
            assert client.execute("import os; print(os.environ['KERNEL_USERNAME'])").text == "bob\n"

    def test_it_runs_interrupts_and_restarts(self, server: JupyterServer, lab_kernel: str) -> None:
        with connect(server, lab_kernel) as client:
            execution = client.execute("for i in range(200): print(i, flush=True)")
            assert execution.text.split() == [str(number) for number in range(200)]
            running = client.send_code("kept = 1; print('on', flush=True)\nwhile True: pass")
            client.recv_until(lambda message: message["msg_type"] == "stream")
            assert server.rest.post(f"/api/kernels/{lab_kernel}/interrupt").status_code == 204
            assert client.recv_execution(running).reply["ename"] == "KeyboardInterrupt"
            assert server.rest.post(f"/api/kernels/{lab_kernel}/restart").status_code == 200
            assert client.execute("kept").reply["ename"] == "NameError"

    def test_a_cell_loses_nothing_when_every_replica_is_killed_under_it(
        self, deployed: Deployed, server: JupyterServer, session: dict[str, Any], lab_kernel: str
    ) -> None:
        pod = deployed.namespace.kernel_pod(lab_kernel)["metadata"]["name"]
        code = (
            "import pathlib, time\nnumber = 0\nwhile not pathlib.Path('/tmp/stop').exists():\n"
            "    print(number, flush=True); number += 1; time.sleep(0.02)"
        )
        with connect(server, lab_kernel, session_id="lab") as client:
            running = client.send_code(code)
            client.recv_until(lambda message: message["msg_type"] == "stream")
            kill_replicas(deployed)
            deployed.namespace.execute(pod, "touch", "/tmp/stop", container="kernel")
            text = client.recv_execution(running).text
            lines = [int(line) for line in text.split()]
            assert lines == list(range(lines[0], lines[0] + len(lines)))
            assert lines[0] <= 1, "the first is read above"
            assert client.execute("print(number)").text == f"{lines[-1] + 1}\n"
        assert answer_of(server.rest.get(f"/api/sessions/{session['id']}"))["kernel"]["id"] == lab_kernel

    def test_the_end_of_its_session_leaves_nothing(
        self, deployed: Deployed, server: JupyterServer, session: dict[str, Any], lab_kernel: str
    ) -> None:
        assert server.rest.delete(f"/api/sessions/{session['id']}").status_code == 204
        eventually(lambda: not any(lab_kernel in name for name in deployed.namespace.kernel_objects()))


def test_jupyter_kernel_client_follows_a_cell_while_every_replica_is_killed(deployed: Deployed) -> None:
    program = [sys.executable, support.run_surviving_client.__file__, deployed.url, deployed.token, SPEC]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        began = client.stdout.readline()
        assert began, client.communicate()[1]
        kernel_id = json.loads(began)["id"]
        kill_replicas(deployed)
        pod = deployed.namespace.kernel_pod(kernel_id)["metadata"]["name"]
        deployed.namespace.execute(pod, "touch", "/tmp/stop", container="kernel")
        said, errors = client.communicate(timeout=120)
    assert said, errors
    report = json.loads(said)
    assert report["reply"]["status"] == "ok"
    # What was on its way when a replica died may come a second time, and is then the same message.
    texts = list(dict(report["came"]).values())
    assert texts == [f"{number}\n" for number in range(len(texts))]
    assert report["again"]["outputs"][0]["data"]["text/plain"] == "42"
    deployed.rest.shut_down(kernel_id)
