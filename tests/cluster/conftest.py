"""Fixtures for tests on a real cluster, that of KUBECONFIG: namespaces, the shipped deployment, gateways outside.

The cluster must have the images `localhost/enterprise-gateway:dev` and `localhost/kernel-py:dev`, made from this
source (`make docker-images-kubernetes`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.cluster import Namespace, kubeconfig, kubectl, node_address
from support.deployed import Deployed, deployment
from support.gateway import Gateway, StartGateway

ROOT = Path(__file__).parents[2]
GATEWAY_IMAGE = "localhost/enterprise-gateway:dev"
KERNEL_IMAGE = "localhost/kernel-py:dev"


@pytest.fixture(scope="session")
def cluster() -> str:
    """The kubeconfig of a cluster that answers; its absence is a failure, not a reason to skip."""
    path = kubeconfig()
    kubectl("get", "--raw", "/readyz")
    return path


@pytest.fixture
def namespace(cluster: str) -> Iterator[Namespace]:  # noqa: ARG001 - there must be one
    """A namespace of the test's own."""
    with Namespace() as namespace:
        yield namespace


@pytest.fixture(scope="session")
def deployed(cluster: str) -> Iterator[Deployed]:  # noqa: ARG001 - there must be one
    """The shipped deployment, shared: a test may kill replicas, and ends the kernels it starts."""
    with deployment() as deployed:
        yield deployed


@pytest.fixture
def start_outside(cluster: str, namespace: Namespace) -> Iterator[StartGateway]:
    """Starts gateways on this machine, whose kernels are pods in the test's namespace; settings as for `Gateway`."""
    own = {
        "KUBECONFIG": cluster,
        "EG_BACKENDS": "kubernetes",
        "EG_KUBERNETES_NAMESPACE": namespace.name,
        "EG_RESPONSE_IP": node_address(),
        "EG_RESPONSE_PORT": "0",
        "EG_AGENT_IMAGE": GATEWAY_IMAGE,
        "EG_KERNEL_IMAGE": KERNEL_IMAGE,
        "EG_DEFAULT_KERNEL_NAME": "python_kubernetes",
    }

    def start(*, kernelspecs: dict[str, Any] | None = None, **settings: str | None) -> Gateway:
        gateway = Gateway(kernelspecs={**shipped_specs(), **(kernelspecs or {})}, **{**own, **settings})
        return stack.enter_context(gateway).start()

    with ExitStack() as stack:
        yield start


@pytest.fixture
def outside(start_outside: StartGateway) -> Gateway:
    """A gateway on this machine, with kernels in the cluster."""
    return start_outside()


def shipped_specs() -> dict[str, Any]:
    """The kernel specs that come with the gateway, by name."""
    files = (ROOT / "etc" / "kernelspecs").glob("*/kernel.json")
    return {file.parent.name: json.loads(file.read_text()) for file in files}
