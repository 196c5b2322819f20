"""A stock jupyter_server with `--gateway-url`, used through its REST and websocket as JupyterLab would."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from support.channels import Channels
from support.gateway import Gateway
from support.jupyter import JupyterServer
from support.rest import answer_of
from support.wait import eventually


@pytest.fixture(scope="module")
def own_gateway() -> Iterator[Gateway]:
    """A gateway that this module may kill."""
    with Gateway() as gateway:
        yield gateway.start()


@pytest.fixture(scope="module")
def server(own_gateway: Gateway) -> Iterator[JupyterServer]:
    with JupyterServer(own_gateway, KERNEL_USERNAME="bob") as server:
        yield server


@pytest.fixture(scope="module")
def session(server: JupyterServer) -> dict[str, Any]:
    """A session with a kernel, as opening a notebook makes one."""
    body = {"path": "a.ipynb", "name": "a", "type": "notebook", "kernel": {"name": "python3"}}
    answer = server.rest.post("/api/sessions", json=body)
    assert answer.status_code == 201, answer.text + server.log
    return dict(answer.json())


@pytest.fixture(scope="module")
def lab_kernel(session: dict[str, Any]) -> str:
    return str(session["kernel"]["id"])


def connect(server: JupyterServer, kernel_id: str, **options: Any) -> Channels:
    return Channels(server.ws_url, kernel_id, token=server.token, **options)


def test_it_lists_the_gateways_specs_and_logos(server: JupyterServer) -> None:
    listing = answer_of(server.rest.get("/api/kernelspecs"))
    assert listing["default"] == "python3"
    logo = listing["kernelspecs"]["python3"]["resources"]["logo-64x64"]
    assert server.rest.get(logo).content.startswith(b"\x89PNG")
    # With KERNEL_USERNAME it asks the gateway for `/api/kernelspecs?user=bob/python3`.
    assert answer_of(server.rest.get("/api/kernelspecs/python3"))["name"] == "python3"


def test_its_kernel_runs_on_the_gateway_under_its_user(
    own_gateway: Gateway, server: JupyterServer, lab_kernel: str
) -> None:
    assert lab_kernel in own_gateway.rest.kernel_ids()
    with connect(server, lab_kernel) as client:
        code = "import os; print(os.environ['KERNEL_USERNAME'], os.environ['KERNEL_GATEWAY'])"
        assert client.execute(code).text == "bob 1\n"


def test_code_runs_through_it(server: JupyterServer, lab_kernel: str) -> None:
    with connect(server, lab_kernel, session_id="lab") as client:
        execution = client.execute("for i in range(200): print(i, flush=True)")
    assert execution.text == "".join(f"{i}\n" for i in range(200))
    assert execution.reply["status"] == "ok"


def test_it_interrupts(server: JupyterServer, lab_kernel: str) -> None:
    with connect(server, lab_kernel) as client:
        running = client.send_code("print('on', flush=True)\nwhile True: pass")
        client.recv_until(lambda message: message["msg_type"] == "stream")
        assert server.rest.post(f"/api/kernels/{lab_kernel}/interrupt").status_code == 204
        assert client.recv_execution(running).reply["ename"] == "KeyboardInterrupt"


def test_it_restarts(server: JupyterServer, lab_kernel: str) -> None:
    with connect(server, lab_kernel) as client:
        client.execute("kept = 1")
        assert server.rest.post(f"/api/kernels/{lab_kernel}/restart").status_code == 200
        assert client.execute("kept").reply["ename"] == "NameError"


def test_it_parses_the_models_of_its_list(server: JupyterServer, lab_kernel: str) -> None:
    kernels = {model["id"]: model for model in answer_of(server.rest.get("/api/kernels"))}
    assert kernels[lab_kernel]["execution_state"] in {"idle", "busy", "starting"}
    assert kernels[lab_kernel]["last_activity"].endswith("Z")


def test_it_is_told_why_a_start_is_refused(server: JupyterServer) -> None:
    answer = server.rest.post("/api/kernels", json={"name": "fortran66"})
    assert answer.status_code == 404
    # Its own answer leaves the reason out; its log has it.
    eventually(lambda: re.search(r"Error from Gateway: \[.*fortran66.*\] Not Found", server.log))


def test_no_output_is_lost_when_the_gateway_is_killed_under_it(
    own_gateway: Gateway, server: JupyterServer, session: dict[str, Any], lab_kernel: str
) -> None:
    code = "import time\nfor i in range(300): print(i, flush=True); time.sleep(0.01)"
    with connect(server, lab_kernel, session_id="lab") as client:
        running = client.send_code(code)
        client.recv_until(lambda message: message["msg_type"] == "stream")
        own_gateway.kill()
        own_gateway.start()
        text = client.recv_execution(running).text
        lines = [int(line) for line in text.split()]
        assert lines == list(range(lines[0], 300))
        assert lines[0] <= 1
        assert client.execute("print('again')").text == "again\n"
    # Neither the kernel nor the session was dropped meanwhile.
    assert answer_of(server.rest.get(f"/api/sessions/{session['id']}"))["kernel"]["id"] == lab_kernel


def test_the_end_of_its_session_ends_the_kernel_on_the_gateway(
    own_gateway: Gateway, server: JupyterServer, session: dict[str, Any], lab_kernel: str
) -> None:
    assert server.rest.delete(f"/api/sessions/{session['id']}").status_code == 204
    eventually(lambda: lab_kernel not in own_gateway.rest.kernel_ids())
