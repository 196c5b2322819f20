"""What the API server lets the gateway's account and the kernels' account do, in its own words.

Every account may ask who it is and what the API server offers. That is measured with an account nobody has given
anything, and taken off, so the golden file says what the manifest grants, whatever the version of Kubernetes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cluster import KubectlError, Namespace
from support.deployed import Deployed

pytestmark = pytest.mark.cluster

GOLDEN = Path(__file__).parent / "golden" / "can-i.txt"
COLUMNS = 4
"""Resources, Non-Resource URLs, Resource Names, Verbs."""


class Account:
    """A service account of the gateway's namespace."""

    def __init__(self, namespace: Namespace, name: str) -> None:
        self.user = f"system:serviceaccount:{namespace.name}:{name}"

    def rights(self, namespace: Namespace) -> set[str]:
        """What it may do in a namespace and cluster-wide: lines of `kubectl auth can-i --list`."""
        return rights(namespace, self.user)

    def kubectl(self, namespace: Namespace, *args: str) -> str:
        return namespace.kubectl(f"--as={self.user}", *args)


@pytest.fixture
def gateway(deployed: Deployed) -> Account:
    return Account(deployed.namespace, "enterprise-gateway")


@pytest.fixture
def kernels(deployed: Deployed) -> Account:
    return Account(deployed.namespace, "default")


@pytest.fixture
def anybody(deployed: Deployed) -> set[str]:
    """What every service account may do."""
    return Account(deployed.namespace, "nobody-gave-it-anything").rights(deployed.namespace)


@pytest.fixture(scope="module")
def kernel_secret(deployed: Deployed) -> Iterator[str]:
    """The name of a kernel's Secret."""
    kernel_id = deployed.rest.start_kernel("python_kubernetes")
    yield f"kernel-{kernel_id}"
    deployed.rest.shut_down(kernel_id)


def test_the_gateway_is_granted_what_the_golden_file_says(
    deployed: Deployed, gateway: Account, anybody: set[str]
) -> None:
    assert sorted(gateway.rights(deployed.namespace) - anybody) == GOLDEN.read_text().splitlines()


def test_the_gateway_may_do_nothing_in_another_namespace_or_cluster_wide(
    gateway: Account, anybody: set[str], namespace: Namespace
) -> None:
    assert gateway.rights(namespace) == anybody


def test_kernels_are_granted_nothing(
    deployed: Deployed, kernels: Account, anybody: set[str], namespace: Namespace
) -> None:
    assert kernels.rights(deployed.namespace) == kernels.rights(namespace) == anybody


def test_what_everybody_may_do_is_to_ask_about_oneself_and_the_server(anybody: set[str]) -> None:
    about_oneself = r"selfsubject(?:access|rules|)reviews\.\S+ \| - \| - \| create"
    about_the_server = r"- \| /\S* \| - \| get"
    assert [line for line in anybody if not re.fullmatch(f"{about_oneself}|{about_the_server}", line)] == []


def test_the_gateway_reads_its_own_secret_and_no_kernels(
    deployed: Deployed, gateway: Account, kernel_secret: str
) -> None:
    assert "enterprise-gateway" in gateway.kubectl(deployed.namespace, "get", "secret", "enterprise-gateway")
    assert kernel_secret in deployed.namespace.names("secrets")
    for what in ([kernel_secret], []):
        assert "Forbidden" in refusal(gateway, deployed.namespace, "get", "secret", *what)


def test_the_gateway_runs_nothing_inside_of_pods(deployed: Deployed, gateway: Account) -> None:
    pod = deployed.replicas()[0]
    assert pod in gateway.kubectl(deployed.namespace, "get", "pod", pod)
    for how in (["exec", pod, "--", "true"], ["debug", pod, "--image=localhost/kernel-py:dev"]):
        assert "orbidden" in refusal(gateway, deployed.namespace, *how)


def refusal(account: Account, namespace: Namespace, *args: str) -> str:
    """What kubectl says to something that must not be."""
    with pytest.raises(KubectlError) as refused:
        account.kubectl(namespace, *args)
    return str(refused.value)


def rights(namespace: Namespace, user: str) -> set[str]:
    """The lines of kubectl's list as `resources | URLs | names | verbs`, with `-` for nothing."""
    lines = namespace.kubectl("auth", "can-i", "--list", f"--as={user}").splitlines()
    starts = [match.start() for match in re.finditer(r"(?:^|(?<=   ))\S", lines[0])]
    assert len(starts) == COLUMNS, lines[0]
    ends = [*starts[1:], None]
    cells = ([line[start:end].strip(" []") or "-" for start, end in zip(starts, ends, strict=True)] for line in lines)
    return {" | ".join(row) for row in cells} - {"Resources | Non-Resource URLs | Resource Names | Verbs"}
