"""The API server is gone for a while: kernels that run are used as before, and nothing else is promised or done.

CLUSTER_COMMAND names the command that stops and starts parts of the cluster (see `support.node`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import pytest
import requests
from support.channels import Channels
from support.deployed import Deployed
from support.node import Control, kill_container, restarts, until_pods_run
from support.replica import Replica
from support.rest import answer_of, assert_error
from support.stream import Stream
from support.wait import eventually

pytestmark = pytest.mark.cluster

SPEC = "python_kubernetes"
IN_SYNC_SECONDS = 15.0
"""How soon after the API server's return everything must be possible again."""

Outage = Callable[[], contextlib.AbstractContextManager[None]]


@pytest.fixture(scope="module")
def outage() -> Outage:
    """A context without an API server."""
    control = Control.from_environment()
    if control is None:
        missing = "CLUSTER_COMMAND must name a command that can stop and start the API server"
        assert not os.environ.get("EG_REQUIRE_CLUSTER_COMMAND"), missing
        pytest.skip(missing)

    @contextlib.contextmanager
    def without_api_server() -> Iterator[None]:
        control.stop("apiserver")
        try:
            yield
        finally:
            control.up()
            until_pods_run()

    return without_api_server


@pytest.fixture
def kernel_ids(deployed: Deployed) -> Iterator[list[str]]:
    """Two kernels, of which every replica has heard that they run; the cluster tells the others a second later."""
    kernel_ids = [eventually(lambda: started_by(deployed), IN_SYNC_SECONDS) for _ in range(2)]
    for replica in Replica.all(deployed):
        eventually(lambda replica=replica: "starting" not in [state(replica, each) for each in kernel_ids])
    yield kernel_ids
    for kernel_id in kernel_ids:
        deployed.rest.delete(f"/api/kernels/{kernel_id}")


@pytest.fixture
def replicas(deployed: Deployed) -> list[Replica]:
    """Both replicas, by name and address while somebody can tell, with containers that have not been restarted.

    Kubelet restarts a container at once only when it has not done so in the last ten minutes.
    """
    if any(restarts(deployed.namespace.get("pod", name)) for name in deployed.replicas()):
        deployed.restart()
    replicas = Replica.all(deployed)
    assert len(replicas) == 2
    return replicas


def test_running_kernels_stay_usable_and_nothing_is_started_or_ended(
    deployed: Deployed, outage: Outage, replicas: list[Replica], kernel_ids: list[str]
) -> None:
    streaming, other = kernel_ids
    pods = deployed.namespace.kernel_objects()
    stream = Stream(deployed, streaming)
    with Channels.of(deployed, other, session_id="old") as old:
        with outage():
            assert old.execute("print('old')").text == "old\n"
            for replica in replicas:
                assert replica.rest.kernel_ids() >= set(kernel_ids)
                assert_a_new_websocket_works(replica, other)
                assert_interrupts(replica, other)
                assert answer_of(replica.rest.post(f"/api/kernels/{other}/restart"))["id"] == other
                assert_unavailable(replica.rest.post("/api/kernels", json={"name": SPEC}))
                assert_unavailable(replica.rest.delete(f"/api/kernels/{other}"))
                # Who asked for its end was told that nothing came of it.
                assert_a_new_websocket_works(replica, other)
                assert requests.get(f"http://{address(replica)}:8889/readyz", timeout=10).ok
        assert old.execute("print('still')").text == "still\n"
    stream.goes_on()
    for replica in replicas:
        started = eventually(lambda replica=replica: started_by(replica), IN_SYNC_SECONDS)
        for each in replicas:
            eventually(
                lambda each=each, started=started: each.rest.kernel_ids() >= {started, *kernel_ids}, IN_SYNC_SECONDS
            )
        replica.rest.shut_down(started)
    eventually(lambda: deployed.namespace.kernel_objects() == pods)
    stream.end()
    assert len(stream.follower.connections) == 1, "a client was disturbed"


def test_a_session_that_cannot_be_recorded_is_refused(
    outage: Outage, replicas: list[Replica], kernel_ids: list[str]
) -> None:
    with outage():
        for replica, kernel_id in zip(replicas, kernel_ids, strict=True):
            opened = {"path": "a.ipynb", "type": "notebook", "kernel": {"id": kernel_id}}
            assert_unavailable(replica.rest.post("/api/sessions", json=opened))


def test_a_replica_that_starts_meanwhile_says_so_and_recovers(
    deployed: Deployed, outage: Outage, replicas: list[Replica], kernel_ids: list[str]
) -> None:
    again, other = replicas
    pod = deployed.namespace.get("pod", again.name)
    with outage():
        kill_container(pod, "enterprise-gateway")
        eventually(lambda: status_of(f"http://{address(again)}:8889/readyz") == 503)
        assert_unavailable(again.rest.get("/api/kernels"))
        assert_unavailable(again.rest.get(f"/api/kernels/{kernel_ids[0]}"))
        assert other.rest.kernel_ids() >= set(kernel_ids)
    eventually(lambda: status_of(f"http://{address(again)}:8889/readyz") == 200, IN_SYNC_SECONDS)
    assert again.rest.kernel_ids() >= set(kernel_ids)
    for kernel_id in kernel_ids:
        assert_a_new_websocket_works(again, kernel_id)
    deployed.until_rolled_out()


def assert_a_new_websocket_works(replica: Replica, kernel_id: str) -> None:
    with Channels.of(replica, kernel_id) as channels:
        assert channels.execute(f"print({replica.name!r})").text == f"{replica.name}\n"


def assert_interrupts(replica: Replica, kernel_id: str) -> None:
    with Channels.of(replica, kernel_id) as channels:
        running = channels.send_code("print('on', flush=True)\nwhile True: pass")
        channels.recv_until(lambda message: message["msg_type"] == "stream")
        assert replica.rest.post(f"/api/kernels/{kernel_id}/interrupt").status_code == 204
        assert channels.recv_execution(running).reply["ename"] == "KeyboardInterrupt"


def assert_unavailable(answer: requests.Response) -> None:
    assert_error(answer, 503)
    assert int(answer.headers["Retry-After"]) > 0


def started_by(gateway: Deployed | Replica) -> str | None:
    """A kernel that was started; None while the gateway asks for patience."""
    answer = gateway.rest.post("/api/kernels", json={"name": SPEC})
    return None if answer.status_code == 503 else str(answer_of(answer)["id"])


def state(replica: Replica, kernel_id: str) -> str:
    return str(answer_of(replica.rest.get(f"/api/kernels/{kernel_id}"))["execution_state"])


def status_of(url: str) -> int | None:
    """The status of an answer; None when nobody answers."""
    try:
        return requests.get(url, timeout=10).status_code
    except requests.ConnectionError:
        return None


def address(replica: Replica) -> str:
    return replica.url.removeprefix("http://").partition(":")[0]
