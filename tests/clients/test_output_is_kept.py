"""Output outlives connections and gateways: a session that comes back gets all of it, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.channels import V1, Channels
from support.gateway import Gateway, StartGateway
from support.rest import answer_of
from support.wait import eventually

LINES = 3000
"""More than a kernel's own send queue holds for a reader that went away."""

SERVICE_RESTART = 1012
"""The close code that tells a client to come back."""

SUBPROTOCOLS = [pytest.param((), id="legacy"), pytest.param((V1,), id="v1")]


class Signals:
    """Lets code in a kernel and the test wait for each other through files."""

    def __init__(self, folder: Path) -> None:
        self._go, self._done = folder / "go", folder / "done"

    @property
    def code(self) -> str:
        """Says that it runs, waits for `go`, prints `LINES` lines, says that it is done."""
        return f"""
import pathlib, sys, time
print("running", flush=True)
while not pathlib.Path({str(self._go)!r}).exists(): time.sleep(0.01)
for i in range({LINES}): sys.stdout.write(f"{{i}}\\n"); sys.stdout.flush()
pathlib.Path({str(self._done)!r}).touch()
"""

    def go(self) -> None:
        self._go.touch()

    def wait_until_done(self) -> None:
        eventually(self._done.exists)


EXPECTED = "running\n" + "".join(f"{i}\n" for i in range(LINES))


@pytest.fixture
def signals(tmp_path: Path) -> Signals:
    return Signals(tmp_path)


@pytest.fixture(scope="module")
def mortal() -> Iterator[Gateway]:
    """A gateway that the tests of this module kill and start again."""
    with Gateway() as gateway:
        yield gateway.start()


@pytest.fixture
def own_gateway(mortal: Gateway) -> Gateway:
    """The gateway of this module, alive whatever the test before left."""
    return mortal if mortal.running else mortal.start()


def rest_of(gateway: Gateway, kernel_id: str, request: str, **options: object) -> str:
    with Channels.of(gateway, kernel_id, **options) as client:
        return client.recv_execution(request).text


def leave(client: Channels, _: Gateway) -> None:
    client.close()


def vanish(client: Channels, _: Gateway) -> None:
    client.drop()


def kill_gateway(client: Channels, gateway: Gateway) -> None:
    gateway.kill()
    client.drop()


def end_gateway(client: Channels, gateway: Gateway) -> None:
    with ThreadPoolExecutor(1) as pool:
        exit_code = pool.submit(gateway.terminate)
        assert client.recv_close() == SERVICE_RESTART
        assert exit_code.result() == 0


@pytest.mark.parametrize("subprotocols", SUBPROTOCOLS)
@pytest.mark.parametrize("end", [leave, vanish, kill_gateway, end_gateway])
def test_output_waits_for_the_session_that_comes_back(
    own_gateway: Gateway,
    signals: Signals,
    subprotocols: Sequence[str],
    end: Callable[[Channels, Gateway], None],
) -> None:
    kernel_id = own_gateway.rest.start_kernel()
    options = {"session_id": "mine", "subprotocols": subprotocols}
    with Channels.of(own_gateway, kernel_id, **options) as client:
        request = client.send_code(signals.code)
        client.recv_until(lambda message: message["msg_type"] == "stream")
        end(client, own_gateway)
    signals.go()
    signals.wait_until_done()
    if end in {kill_gateway, end_gateway}:
        own_gateway.start()
    text = rest_of(own_gateway, kernel_id, request, **options)
    # The first line may have been acknowledged before the end, or comes again.
    assert text.removeprefix("running\n") == EXPECTED.removeprefix("running\n")
    own_gateway.rest.shut_down(kernel_id)


def test_kernels_sessions_and_their_variables_outlive_a_killed_gateway(own_gateway: Gateway) -> None:
    rest = own_gateway.rest
    body = {"path": "kept.ipynb", "type": "notebook", "kernel": {"name": "python3"}}
    session = answer_of(rest.post("/api/sessions", json=body))
    kernel_id = session["kernel"]["id"]
    with Channels.of(own_gateway, kernel_id) as client:
        client.execute("kept = 42")
    own_gateway.kill()
    own_gateway.start()
    assert kernel_id in rest.kernel_ids()
    assert answer_of(rest.get(f"/api/sessions/{session['id']}"))["kernel"]["id"] == kernel_id
    with Channels.of(own_gateway, kernel_id) as client:
        assert client.execute("print(kept)").text == "42\n"
    assert rest.post(f"/api/kernels/{kernel_id}/restart").status_code == 200
    assert rest.delete(f"/api/sessions/{session['id']}").status_code == 204


def test_ctrl_c_ends_local_kernels_with_the_gateway(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    gateway.rest.start_kernel()
    assert len(gateway.processes()) > 1
    assert gateway.interrupt() == 0
    eventually(lambda: not gateway.processes())
