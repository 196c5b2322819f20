"""The shipped deployment, used as its users do: through its Service, with kernels in pods."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import requests
from support.channels import Channels, Message
from support.deployed import Deployed
from support.follower import Follower
from support.rest import answer_of
from support.wait import eventually

pytestmark = pytest.mark.cluster


COUNTING = """
import pathlib, time
number = 0
while not pathlib.Path("/tmp/stop").exists():
    print(number, flush=True)
    number += 1
    time.sleep(0.01)
print("end", flush=True)
"""


@pytest.fixture(scope="module")
def kernel_id(deployed: Deployed) -> Iterator[str]:
    """A kernel that the tests of this module share."""
    kernel_id = deployed.rest.start_kernel("python_kubernetes")
    yield kernel_id
    deployed.rest.shut_down(kernel_id)


def test_a_cell_runs_in_a_pod(deployed: Deployed, kernel_id: str) -> None:
    pod = deployed.namespace.kernel_pod(kernel_id)
    with Channels.of(deployed, kernel_id) as channels:
        assert channels.execute("import socket; print(socket.gethostname())").text.strip() == pod["metadata"]["name"]


def test_the_operations_port_tells_the_node_that_a_replica_is_ready(deployed: Deployed) -> None:
    for name in deployed.replicas():
        assert requests.get(f"{deployed.operations_url(name)}/readyz", timeout=10).ok


def test_every_replica_shows_the_same_kernels(deployed: Deployed, kernel_id: str) -> None:
    for name in deployed.replicas():
        url = f"{deployed.replica_url(name)}/api/kernels"
        models = answer_of(requests.get(url, headers={"Authorization": f"token {deployed.token}"}, timeout=10))
        assert kernel_id in {model["id"] for model in models}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("python_2018", ["2018", "kernel-pod.yaml"]),
        ("python_today", ["today", "kernel-pod.yaml.j2"]),
        ("python_provisioner", ["provisioner", None]),
    ],
)
def test_every_form_of_kernel_json_makes_a_kernel(deployed: Deployed, spec: str, expected: list[str | None]) -> None:
    kernel_id = deployed.rest.start_kernel(spec)
    with Channels.of(deployed, kernel_id) as channels:
        said = channels.execute(
            "import json, os; print(json.dumps([os.environ.get(name) for name in ('FROM_SPEC', 'FROM_TEMPLATE')]))"
        )
    deployed.rest.shut_down(kernel_id)
    assert json.loads(said.text) == expected


def test_a_kernel_that_was_ended_leaves_nothing(deployed: Deployed, kernel_id: str) -> None:
    ended = deployed.rest.start_kernel("python_kubernetes")
    assert f"secret/kernel-{ended}" in deployed.namespace.kernel_objects()
    deployed.rest.shut_down(ended)
    eventually(lambda: not any(ended in name for name in deployed.namespace.kernel_objects()))
    assert kernel_id in deployed.rest.kernel_ids()


def test_a_changed_config_map_is_a_changed_kernel_spec_without_a_restart(deployed: Deployed) -> None:
    before = deployed.replicas()
    specs = deployed.namespace.get("configmap", "kernelspecs")["data"]
    changed = specs["python_provisioner.json"].replace("as for gateway_provisioners", "as it is now")
    patch = json.dumps({"data": {"python_provisioner.json": changed}})
    deployed.namespace.kubectl("patch", "configmap", "kernelspecs", "--type=merge", f"--patch={patch}")

    def shown() -> bool:
        spec = answer_of(deployed.rest.get("/api/kernelspecs/python_provisioner"))["spec"]
        return bool(spec["display_name"] == "Python, as it is now")

    eventually(shown, deadline=150.0)
    assert deployed.replicas() == before


class TestNetwork:
    """What a kernel's pod can and cannot reach."""

    def test_a_kernel_does_not_reach_another_kernels_agent(self, deployed: Deployed, kernel_id: str) -> None:
        other = deployed.rest.start_kernel("python_kubernetes")
        # A gateway is told of a pod before the network is, and its rules hold from then on.
        address = eventually(lambda: deployed.namespace.kernel_pod(other)["status"].get("podIP"))
        eventually(lambda: not reaches(deployed, kernel_id, address, 8443))
        deployed.rest.shut_down(other)

    def test_a_kernel_reaches_the_gateway_but_not_its_operations(self, deployed: Deployed, kernel_id: str) -> None:
        replica = deployed.namespace.get("pod", deployed.replicas()[0])["status"]["podIP"]
        assert reaches(deployed, kernel_id, replica, 8888)
        assert reaches(deployed, kernel_id, replica, 8877)
        assert not reaches(deployed, kernel_id, replica, 8889)

    def test_a_kernel_finds_names_and_has_no_token_of_the_cluster(self, deployed: Deployed, kernel_id: str) -> None:
        with Channels.of(deployed, kernel_id) as channels:
            assert (
                channels.execute("import socket; socket.gethostbyname('kubernetes.default.svc')").reply["status"]
                == "ok"
            )
            said = channels.execute("import os; print(os.path.exists('/var/run/secrets/kubernetes.io'))")
        assert said.text.strip() == "False"


class TestReplicas:
    """Gateways come and go."""

    def test_a_running_cell_outlives_the_replacement_of_every_replica(self, deployed: Deployed, kernel_id: str) -> None:
        follower = Follower(deployed, kernel_id, is_end_of_cell, session_id="follower")
        channels = eventually(lambda: follower.channels)
        channels.send_code(COUNTING)
        before = set(deployed.replicas())
        deployed.restart()
        assert not before & set(deployed.replicas())
        eventually(lambda: len(follower.connections) > 1)
        deployed.namespace.execute(pod_name(deployed, kernel_id), "touch", "/tmp/stop", container="kernel")
        messages = follower.finish()
        lines = "".join(m["content"]["text"] for m in messages if m["msg_type"] == "stream").split()
        assert lines == [*map(str, range(len(lines) - 1)), "end"]

    def test_the_service_answers_while_a_replica_is_killed(self, deployed: Deployed, kernel_id: str) -> None:
        killed = deployed.replicas()[0]
        deployed.kill_replica(killed)
        eventually(lambda: kernel_id in shown_kernels(deployed))
        deployed.until_rolled_out()
        assert killed not in deployed.replicas()
        with Channels.of(deployed, kernel_id) as channels:
            assert channels.execute("print(6 * 7)").text.strip() == "42"


def is_end_of_cell(message: Message) -> bool:
    """True of the idle that ends an execute request."""
    of_cell = message["parent_header"].get("msg_type") == "execute_request"
    return of_cell and message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"


def shown_kernels(deployed: Deployed) -> set[str]:
    """The ids of all kernels; none while the Service still knows a replica that has just been killed."""
    try:
        return deployed.rest.kernel_ids()
    except requests.ConnectionError:
        return set()


def pod_name(deployed: Deployed, kernel_id: str) -> str:
    return str(deployed.namespace.kernel_pod(kernel_id)["metadata"]["name"])


def reaches(deployed: Deployed, kernel_id: str, address: str, port: int) -> bool:
    """Whether a kernel can open a TCP connection."""
    with Channels.of(deployed, kernel_id) as channels:
        said = channels.execute(
            f"import socket\n"
            f"try:\n    socket.create_connection(({address!r}, {port}), timeout=3).close(); print('reached')\n"
            f"except OSError as error: print(error)"
        )
    return said.text.strip() == "reached"
