"""The shipped deployment, used as its users do: through its Service, with kernels in pods."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import requests
from support.channels import Channels
from support.deployed import Deployed
from support.rest import answer_of
from support.wait import eventually

pytestmark = pytest.mark.cluster


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
