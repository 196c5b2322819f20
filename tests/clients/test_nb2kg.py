"""The seed's client: a classic Notebook with NB2KG 0.7, used through its REST and websocket as its page would.

NB2KG opens its websocket without `session_id`, posts without a JSON Content-Type, and sends the one credential it was
configured with on all requests, or `Authorization: token ` with nothing behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.channels import Channels
from support.gateway import Gateway
from support.nb2kg import NotebookServer
from support.rest import answer_of
from support.wait import eventually


@pytest.fixture(scope="module")
def own_gateway() -> Iterator[Gateway]:
    """A gateway that this module may kill."""
    with Gateway(EG_CLIENT_ENVS="COLOUR") as gateway:
        yield gateway.start()


@pytest.fixture(scope="module", params=["token", "basic", "path"])
def server(own_gateway: Gateway, request: pytest.FixtureRequest) -> Iterator[NotebookServer]:
    """A Notebook of bob's, for each way in which NB2KG can show a token."""
    gateway = own_gateway
    credential = {
        "token": {"KG_URL": gateway.url, "KG_AUTH_TOKEN": gateway.token},
        "basic": {"KG_URL": gateway.url, "KG_HTTP_USER": "bob", "KG_HTTP_PASS": gateway.token},
        "path": {"KG_URL": f"{gateway.url}/t/{gateway.token}"},
    }[request.param]
    own = {"KERNEL_USERNAME": "bob", "KG_ENV_WHITELIST": "COLOUR", "COLOUR": "blue", "TASTE": "sweet"}
    with NotebookServer(**credential, **own) as server:
        yield server


@pytest.fixture(scope="module")
def session(server: NotebookServer) -> dict[str, Any]:
    """A session with a kernel, as opening a notebook makes one."""
    body = {"path": "a.ipynb", "name": "a", "type": "notebook", "kernel": {"name": "python3"}}
    answer = server.rest.post("/api/sessions", json=body)
    assert answer.status_code == 201, answer.text + server.log
    return dict(answer.json())


@pytest.fixture(scope="module")
def kernel(session: dict[str, Any]) -> str:
    return str(session["kernel"]["id"])


def connect(server: NotebookServer, kernel_id: str) -> Channels:
    """As the page does; the id of its session goes no further than to the Notebook."""
    return Channels(server.ws_url, kernel_id, token=server.token, session_id="page")


def test_it_lists_the_gateways_specs_and_logos(server: NotebookServer) -> None:
    listing = answer_of(server.rest.get("/api/kernelspecs"))
    assert listing["default"] == "python3"
    logo = server.rest.get("/kernelspecs/python3/logo-64x64.png")
    assert logo.content.startswith(b"\x89PNG")
    assert answer_of(server.rest.get("/api/kernelspecs/python3"))["name"] == "python3"


def test_its_kernel_runs_on_the_gateway_with_its_variables(
    own_gateway: Gateway, server: NotebookServer, kernel: str
) -> None:
    assert kernel in own_gateway.rest.kernel_ids()
    assert kernel in {model["id"] for model in answer_of(server.rest.get("/api/kernels"))}
    code = "import os; print(*map(os.environ.get, ['KERNEL_USERNAME', 'COLOUR', 'TASTE']))"
    with connect(server, kernel) as page:
        assert page.execute(code).text == "bob blue None\n"


def test_code_runs_through_it(server: NotebookServer, kernel: str) -> None:
    with connect(server, kernel) as page:
        assert page.execute("print('hello world')").text == "hello world\n"
        execution = page.execute("for i in range(200): print(i, flush=True)")
    assert execution.text == "".join(f"{i}\n" for i in range(200))
    assert execution.reply["status"] == "ok"


def test_buffers_of_the_kernel_reach_its_page(server: NotebookServer, kernel: str) -> None:
    code = "from comm import create_comm; _ = create_comm('any', buffers=[bytes(range(256))])"
    with connect(server, kernel) as page:
        (opened,) = page.execute(code).of("comm_open")
    assert opened["buffers"] == [bytes(range(256))]


def test_it_interrupts_a_long_sleep_and_keeps_what_was_defined(server: NotebookServer, kernel: str) -> None:
    with connect(server, kernel) as page:
        page.execute("kept = 1")
        running = page.send_code("import time; print('on', flush=True); time.sleep(600)")
        page.recv_until(lambda message: message["msg_type"] == "stream")
        assert server.rest.post(f"/api/kernels/{kernel}/interrupt").status_code == 204
        assert page.recv_execution(running).reply["ename"] == "KeyboardInterrupt"
        assert page.execute("print(kept)").text == "1\n"


def test_a_restart_forgets_what_was_defined(server: NotebookServer, kernel: str) -> None:
    with connect(server, kernel) as page:
        page.execute("kept = 1")
        assert answer_of(server.rest.post(f"/api/kernels/{kernel}/restart"))["id"] == kernel
        assert page.execute("kept").reply["ename"] == "NameError"


def test_its_kernel_outlives_a_killed_gateway(
    own_gateway: Gateway, server: NotebookServer, session: dict[str, Any], kernel: str
) -> None:
    with connect(server, kernel) as page:
        page.execute("kept = 1")
    own_gateway.kill()
    own_gateway.start()
    with connect(server, kernel) as page:
        assert page.execute("print(kept)").text == "1\n"
    assert answer_of(server.rest.get(f"/api/sessions/{session['id']}"))["kernel"]["id"] == kernel


def test_the_end_of_its_session_ends_the_kernel_on_the_gateway(
    own_gateway: Gateway, server: NotebookServer, session: dict[str, Any], kernel: str
) -> None:
    assert server.rest.delete(f"/api/sessions/{session['id']}").status_code == 204
    eventually(lambda: kernel not in own_gateway.rest.kernel_ids())
