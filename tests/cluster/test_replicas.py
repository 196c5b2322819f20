"""Replicas of the shipped deployment are equal, and each of them may go at any moment."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator

import pytest
import requests
from support.channels import V1, Channels
from support.deployed import Deployed
from support.node import kill_container
from support.replica import Replica
from support.rest import answer_of, assert_error
from support.stream import Stream
from support.wait import eventually

pytestmark = pytest.mark.cluster

BACK_SECONDS = 20.0
"""The longest silence a client may hear; what is usual is printed."""
AWAY_LINES = 500
"""Lines a kernel prints while there is no gateway at all."""


@pytest.fixture(scope="module")
def kernel_ids(deployed: Deployed) -> Iterator[list[str]]:
    """Kernels that the tests of this module share."""
    kernel_ids = [deployed.rest.start_kernel("python_kubernetes") for _ in range(3)]
    yield kernel_ids
    for kernel_id in kernel_ids:
        deployed.rest.shut_down(kernel_id)


@pytest.fixture
def replicas(deployed: Deployed) -> list[Replica]:
    """Both replicas."""
    replicas = Replica.all(deployed)
    assert len(replicas) == 2
    return replicas


@pytest.fixture
def unpinned(deployed: Deployed) -> Iterator[Deployed]:
    """The deployment with a Service that sends every connection where it likes."""
    pin_clients(deployed, "None")
    yield deployed
    pin_clients(deployed, "ClientIP")


def pin_clients(deployed: Deployed, affinity: str) -> None:
    patch = json.dumps({"spec": {"sessionAffinity": affinity}})
    deployed.namespace.kubectl("patch", "service", "enterprise-gateway", f"--patch={patch}")


class TestEqual:
    """It does not matter which replica is asked."""

    def test_a_kernel_of_one_replica_is_used_and_ended_through_the_other(self, replicas: list[Replica]) -> None:
        one, other = replicas
        kernel_id = one.rest.start_kernel("python_kubernetes")
        assert kernel_id in other.rest.kernel_ids()
        with Channels.of(other, kernel_id) as there, Channels.of(one, kernel_id) as here:
            there.execute("kept = 6 * 7")
            assert here.execute("print(kept)").text == "42\n"
            running = here.send_code("print('on', flush=True)\nwhile True: pass")
            here.recv_until(lambda message: message["msg_type"] == "stream")
            assert other.rest.post(f"/api/kernels/{kernel_id}/interrupt").status_code == 204
            assert here.recv_execution(running).reply["ename"] == "KeyboardInterrupt"
            assert answer_of(one.rest.post(f"/api/kernels/{kernel_id}/restart"))["id"] == kernel_id
            assert there.execute("kept").reply["ename"] == "NameError"
        other.rest.shut_down(kernel_id)
        eventually(lambda: kernel_id not in one.rest.kernel_ids())
        assert_error(one.rest.get(f"/api/kernels/{kernel_id}"), 404, kernel_id)

    def test_a_session_is_made_seen_changed_and_ended_through_either(self, replicas: list[Replica]) -> None:
        one, other = replicas
        body = {"path": "a.ipynb", "name": "a", "type": "notebook", "kernel": {"name": "python_kubernetes"}}
        made = answer_of(one.rest.post("/api/sessions", json=body))
        kernel_id, path = made["kernel"]["id"], f"/api/sessions/{made['id']}"
        assert eventually(lambda: shown_session(other, made["id"]))["kernel"]["id"] == kernel_id
        answer_of(other.rest.patch(path, json={"path": "b.ipynb"}))
        eventually(lambda: (shown_session(one, made["id"]) or {})["path"] == "b.ipynb")
        # Opened again elsewhere, the document has the session it has.
        again = answer_of(other.rest.post("/api/sessions", json={**body, "path": "b.ipynb"}))
        assert (again["id"], again["kernel"]["id"]) == (made["id"], kernel_id)
        assert other.rest.delete(path).status_code == 204
        eventually(lambda: shown_session(one, made["id"]) is None)
        assert kernel_id not in one.rest.kernel_ids() | other.rest.kernel_ids()

    def test_one_session_of_a_client_moves_between_replicas_without_a_gap(
        self, replicas: list[Replica], kernel_ids: list[str]
    ) -> None:
        with Channels.of(replicas[0], kernel_ids[0], session_id="moving") as client:
            running = client.send_code("import time\nfor i in range(300): print(i, flush=True); time.sleep(0.01)")
            came = client.recv_until(lambda message: message["msg_type"] == "stream")
        lines = [m["content"]["text"] for m in came if m["msg_type"] == "stream"]
        with Channels.of(replicas[1], kernel_ids[0], session_id="moving") as client:
            execution = client.recv_execution(running)
        known = {m["header"]["msg_id"] for m in came}
        lines += [m["content"]["text"] for m in execution.of("stream") if m["header"]["msg_id"] not in known]
        assert "".join(lines).split() == [str(number) for number in range(300)]

    def test_no_affinity_is_needed(self, unpinned: Deployed) -> None:
        used = {replica.name: requests_to(unpinned, replica) for replica in Replica.all(unpinned)}
        for number in range(4):
            kernel_id = unpinned.rest.start_kernel("python_kubernetes")
            with Channels.of(unpinned, kernel_id) as channels:
                assert channels.execute(f"print({number})").text == f"{number}\n"
            for _ in range(5):
                assert kernel_id in unpinned.rest.kernel_ids()
                assert answer_of(unpinned.rest.get(f"/api/kernels/{kernel_id}"))["id"] == kernel_id
            unpinned.rest.shut_down(kernel_id)
            for _ in range(5):
                eventually(lambda gone=kernel_id: gone not in unpinned.rest.kernel_ids())
        for replica in Replica.all(unpinned):
            assert requests_to(unpinned, replica) > used[replica.name], "only one replica was asked"


def kill_the_process(deployed: Deployed, replica: str) -> None:
    kill_container(deployed.namespace.get("pod", replica), "enterprise-gateway")
    eventually(lambda: not is_ready(deployed, replica))
    deployed.until_rolled_out()


def kill_the_pod(deployed: Deployed, replica: str) -> None:
    deployed.kill_replica(replica)
    deployed.until_rolled_out()


def delete_the_pod(deployed: Deployed, replica: str) -> None:
    deployed.stop_replica(replica)
    deployed.until_rolled_out()


def restart_them_all(deployed: Deployed, _: str) -> None:
    deployed.restart()


def scale_to_one_to_three_and_back(deployed: Deployed, _: str) -> None:
    for number in (1, 3, 1, 2):
        # Fewer means the oldest ones here: those that clients use.
        for replica, cost in zip(oldest_first(deployed), itertools.count(-100), strict=False):
            annotation = f"controller.kubernetes.io/pod-deletion-cost={cost}"
            deployed.namespace.kubectl("annotate", "--overwrite", "pod", replica, annotation)
        deployed.scale(number)
        eventually(lambda wanted=number: len(deployed.replicas()) == wanted)


class TestFailover:
    """A cell goes on printing, and its clients miss nothing but a moment."""

    @pytest.mark.parametrize(
        "disturb",
        [kill_the_process, kill_the_pod, delete_the_pod, restart_them_all, scale_to_one_to_three_and_back],
        ids=lambda disturb: disturb.__name__,
    )
    def test_no_kernel_and_no_line_is_lost(
        self, deployed: Deployed, kernel_ids: list[str], disturb: Callable[[Deployed, str], None]
    ) -> None:
        streams = [
            Stream(deployed, kernel_id, **options)
            for kernel_id, options in zip(kernel_ids, itertools.cycle([{}, {"subprotocols": [V1]}]), strict=False)
        ]
        before = [pod_name(deployed, kernel_id) for kernel_id in kernel_ids]
        # Each replica gets its turn, wherever the Service sent the clients.
        for replica in deployed.replicas():
            disturb(deployed, replica)
            for stream in streams:
                stream.goes_on()
        gaps = [stream.gap for stream in streams]
        lines = [stream.end() for stream in streams]
        times = [len(stream.follower.connections) for stream in streams]
        print(f"{disturb.__name__}: silent for {max(gaps):.2f} s at most; {lines} lines in {times} connections")
        assert max(times) > 1, "no client was disturbed"
        assert max(gaps) < BACK_SECONDS
        assert [pod_name(deployed, kernel_id) for kernel_id in kernel_ids] == before
        assert set(kernel_ids) <= eventually(lambda: shown_kernels(deployed))

    def test_kernels_go_on_without_any_gateway_and_their_output_is_there_afterwards(
        self, deployed: Deployed, kernel_ids: list[str]
    ) -> None:
        kernel_id = kernel_ids[0]
        pod = pod_name(deployed, kernel_id)
        with Channels.of(deployed, kernel_id, session_id="away") as client:
            running = client.send_code(
                "import pathlib, time\n"
                f"for number in range({AWAY_LINES}): print(number, flush=True); time.sleep(0.02)\n"
                "pathlib.Path('/tmp/printed').touch()"
            )
            came = client.recv_until(lambda message: message["msg_type"] == "stream")
        deployed.scale(0)
        eventually(lambda: not deployed.namespace.names("pods", "gateway-selector=enterprise-gateway"))
        eventually(lambda: "printed" in deployed.namespace.execute(pod, "ls", "/tmp", container="kernel"))
        deployed.scale(2)
        client = eventually(lambda: connected(deployed, kernel_id, "away"))
        with client:
            execution = client.recv_execution(running)
        assert execution.reply["status"] == "ok"
        known = {m["header"]["msg_id"] for m in execution.messages}
        text = "".join(m["content"]["text"] for m in came if m["msg_type"] == "stream" and id_of(m) not in known)
        assert (text + execution.text).split() == [str(number) for number in range(AWAY_LINES)]
        assert set(kernel_ids) <= deployed.rest.kernel_ids()
        assert pod_name(deployed, kernel_id) == pod


def id_of(message: dict[str, dict[str, str]]) -> str:
    return message["header"]["msg_id"]


def shown_session(replica: Replica, session_id: str) -> dict[str, str] | None:
    """A session as one replica knows it; None if it does not."""
    answer = replica.rest.get(f"/api/sessions/{session_id}")
    return None if answer.status_code == 404 else dict(answer_of(answer))


def requests_to(deployed: Deployed, replica: Replica) -> float:
    """How many requests a replica has answered in its life."""
    lines = requests.get(f"{deployed.operations_url(replica.name)}/metrics", timeout=10).text.splitlines()
    counts = [line.rpartition(" ")[2] for line in lines if "requests_total{" in line]
    assert counts, lines
    return sum(map(float, counts))


def shown_kernels(deployed: Deployed) -> set[str]:
    """The ids of all kernels; none while the Service still knows a replica that has just gone."""
    try:
        return deployed.rest.kernel_ids()
    except requests.ConnectionError:
        return set()


def connected(deployed: Deployed, kernel_id: str, session_id: str) -> Channels | None:
    """A websocket; None while nobody answers."""
    try:
        return Channels.of(deployed, kernel_id, session_id=session_id)
    except OSError:
        return None


def oldest_first(deployed: Deployed) -> list[str]:
    born = {name: deployed.namespace.get("pod", name)["metadata"]["creationTimestamp"] for name in deployed.replicas()}
    return sorted(born, key=lambda name: born[name])


def is_ready(deployed: Deployed, replica: str) -> bool:
    (status,) = deployed.namespace.get("pod", replica)["status"]["containerStatuses"]
    return bool(status["ready"])


def pod_name(deployed: Deployed, kernel_id: str) -> str:
    return str(deployed.namespace.kernel_pod(kernel_id)["metadata"]["name"])
