"""jupyter_kernel_client, which agents and jupyter-mcp-server use: Bearer token and legacy framing.

Its v1 mode is left out: it formats each message it receives in a way that raises KeyError (1.0.2).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_kernel_client import JupyterKernelClient
from support.gateway import Gateway
from support.rest import answer_of


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Iterator[JupyterKernelClient]:
    """A client with a kernel of its own."""
    with JupyterKernelClient(server_url=gateway.url, token=gateway.token) as client:
        yield client


def test_it_runs_code_and_collects_outputs(client: JupyterKernelClient) -> None:
    reply = client.execute("print('out'); 6 * 7")
    assert reply["status"] == "ok"
    assert [output["output_type"] for output in reply["outputs"]] == ["stream", "execute_result"]
    assert reply["outputs"][0]["text"] == "out\n"
    assert reply["outputs"][1]["data"]["text/plain"] == "42"


def test_it_reads_the_kernel_and_its_last_activity(client: JupyterKernelClient) -> None:
    assert client.kernel_info["status"] == "ok"
    assert client.id in {kernel["id"] for kernel in client.list_kernels()}
    client._manager.refresh_model()
    assert client.execution_state in {"idle", "busy"}
    assert client.last_activity is not None


def test_it_sets_and_reads_variables(client: JupyterKernelClient) -> None:
    client.set_variable("number", 7)
    assert client.get_variable("number") == 7


def test_it_answers_input(client: JupyterKernelClient) -> None:
    questions: list[str] = []

    def answer(message: dict[str, Any]) -> None:
        questions.append(message["content"]["prompt"])
        client._manager.client.input("world")

    reply = client.execute("print('hello ' + input('who? '))", allow_stdin=True, stdin_hook=answer)
    assert questions == ["who? "]
    assert reply["outputs"][0]["text"] == "hello world\n"


def test_it_interrupts_running_code(client: JupyterKernelClient) -> None:
    outcome: dict[str, Any] = {}
    running = threading.Event()

    def watch(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream":
            running.set()

    def run() -> None:
        code = "print('on', flush=True)\nwhile True: pass"
        outcome.update(client.execute_interactive(code, output_hook=watch, timeout=60))

    thread = threading.Thread(target=run)
    thread.start()
    assert running.wait(30)
    client.interrupt()
    thread.join(60)
    assert outcome["content"]["ename"] == "KeyboardInterrupt"


def test_it_restarts_and_goes_on_over_the_same_websocket(client: JupyterKernelClient) -> None:
    client.execute("kept = 1")
    client.restart()
    reply = client.execute("kept")
    assert reply["outputs"][0]["ename"] == "NameError"


def test_its_end_ends_the_kernel_it_started(gateway: Gateway) -> None:
    with JupyterKernelClient(server_url=gateway.url, token=gateway.token) as client:
        kernel_id = client.id
        assert kernel_id in gateway.rest.kernel_ids()
    assert kernel_id not in gateway.rest.kernel_ids()


def test_it_joins_a_running_kernel_and_leaves_it_running(gateway: Gateway, kernel_id: str) -> None:
    with JupyterKernelClient(server_url=gateway.url, token=gateway.token, kernel_id=kernel_id) as client:
        assert client.execute("print(1)")["outputs"][0]["text"] == "1\n"
    assert answer_of(gateway.rest.get(f"/api/kernels/{kernel_id}"))["id"] == kernel_id
