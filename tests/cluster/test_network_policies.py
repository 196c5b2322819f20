"""The shipped NetworkPolicies, from each side: what must be kept away is dropped, what must work is open.

The network learns of a new pod a moment after the pod runs, so each table of outcomes is asked for until it is right.
Outcomes differ: what a policy keeps away is `dropped`, what merely is not there is `refused`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import pytest
from support.channels import Channels
from support.cluster import Namespace
from support.deployed import Deployed
from support.inside import Stranger, reached_from, reached_here
from support.wait import eventually

from enterprise_gateway.core.pods import AGENT_PORT, KERNEL_PORTS

pytestmark = pytest.mark.cluster

USERS = 9000
"""Where the code of a user listens, on every address of its pod."""
API, OPERATIONS, HELLO = 8888, 8889, 8877


class Kernel(NamedTuple):
    """A kernel's pod."""

    id: str
    pod: str
    address: str

    def targets(self, *ports: int) -> tuple[str, ...]:
        return tuple(f"{self.address}:{port}" for port in ports)

    @property
    def all(self) -> tuple[str, ...]:
        """Everything that somebody could want to reach."""
        return self.targets(AGENT_PORT, *KERNEL_PORTS, USERS)


def start(deployed: Deployed) -> Kernel:
    kernel_id = deployed.rest.start_kernel("python_kubernetes")
    address = eventually(lambda: deployed.namespace.kernel_pod(kernel_id)["status"].get("podIP"))
    return Kernel(kernel_id, deployed.namespace.kernel_pod(kernel_id)["metadata"]["name"], address)


@pytest.fixture(scope="module")
def kernel(deployed: Deployed) -> Iterator[Kernel]:
    """The kernel that is to be protected; its user's code listens on the network."""
    kernel = start(deployed)
    with Channels.of(deployed, kernel.id) as channels:
        listen = f"import socket; server = socket.create_server(('', {USERS}))"
        assert channels.execute(listen).reply["status"] == "ok"
    yield kernel
    deployed.rest.shut_down(kernel.id)


@pytest.fixture(scope="module")
def other_kernel(deployed: Deployed) -> Iterator[Kernel]:
    """The kernel of somebody else, who is curious."""
    kernel = start(deployed)
    yield kernel
    deployed.rest.shut_down(kernel.id)


@pytest.fixture(scope="module")
def replica(deployed: Deployed) -> str:
    """The address of one replica."""
    return str(deployed.namespace.get("pod", deployed.replicas()[0])["status"]["podIP"])


@pytest.fixture(scope="module")
def neighbour(deployed: Deployed) -> Iterator[Stranger]:
    """A pod in the gateway's namespace that is not the gateway's."""
    with Stranger(deployed.namespace) as stranger:
        yield stranger


@pytest.fixture(scope="module")
def foreigner(cluster: str) -> Iterator[Stranger]:  # noqa: ARG001 - there must be one
    """A pod in another namespace."""
    with Namespace() as namespace, Stranger(namespace) as stranger:
        yield stranger


@pytest.fixture(params=["neighbour", "foreigner"])
def stranger(request: pytest.FixtureRequest) -> Stranger:
    found: Stranger = request.getfixturevalue(request.param)
    return found


def test_what_is_kept_away_from_others_is_there(kernel: Kernel, replica: str) -> None:
    settles(
        reached_here,
        dict.fromkeys(kernel.targets(AGENT_PORT, USERS), "open")
        # The kernel's own sockets are on its pod's loopback, where no policy is needed.
        | dict.fromkeys(kernel.targets(*KERNEL_PORTS), "refused")
        | {f"{replica}:{port}": "open" for port in (API, OPERATIONS, HELLO)},
    )


def test_a_kernel_reaches_no_other_kernel(deployed: Deployed, kernel: Kernel, other_kernel: Kernel) -> None:
    settles(from_kernel(deployed, other_kernel), dict.fromkeys(kernel.all, "dropped"))


def test_a_kernel_reaches_the_gateway_but_not_its_operations(
    deployed: Deployed, other_kernel: Kernel, replica: str
) -> None:
    expected = {f"{replica}:{API}": "open", f"{replica}:{HELLO}": "open", f"{replica}:{OPERATIONS}": "dropped"}
    settles(from_kernel(deployed, other_kernel), expected)


def test_a_kernel_finds_services_by_name(deployed: Deployed, other_kernel: Kernel) -> None:
    names = ("enterprise-gateway", f"enterprise-gateway.{deployed.namespace.name}.svc.cluster.local")
    settles(from_kernel(deployed, other_kernel), {f"{name}:{API}": "open" for name in names})


def test_a_kernel_reaches_what_other_pods_offer(
    deployed: Deployed, other_kernel: Kernel, neighbour: Stranger, foreigner: Stranger
) -> None:
    """Nothing listens there, and the answer that says so comes through."""
    addresses = (neighbour.address, foreigner.address)
    settles(from_kernel(deployed, other_kernel), {f"{address}:{USERS}": "refused" for address in addresses})


def test_nobody_else_reaches_a_kernel(stranger: Stranger, kernel: Kernel) -> None:
    settles(stranger.reached, dict.fromkeys(kernel.all, "dropped"))


def test_anybody_is_served_and_nobody_else_sees_the_operations(stranger: Stranger, replica: str) -> None:
    # What is said at the agents' port without a proof counts for nothing: see test_agent_trust.
    expected = {f"{replica}:{API}": "open", f"{replica}:{HELLO}": "open", f"{replica}:{OPERATIONS}": "dropped"}
    settles(stranger.reached, expected)


def test_the_gateway_reaches_agents_and_nothing_else_of_kernels_or_strangers(
    deployed: Deployed, kernel: Kernel, foreigner: Stranger
) -> None:
    expected = dict.fromkeys(kernel.targets(AGENT_PORT), "open") | dict.fromkeys(
        kernel.targets(*KERNEL_PORTS, USERS), "dropped"
    )
    expected |= {f"{foreigner.address}:{USERS}": "dropped"}
    settles(lambda targets: reached_from(deployed.namespace, deployed.replicas()[0], targets), expected)


def test_a_kernel_calls_home_and_runs_code(deployed: Deployed, kernel: Kernel) -> None:
    assert re.search(r"Said hello to [0-9.]+:8877: 204$", deployed.namespace.logs(kernel.pod, "agent"), re.MULTILINE)
    with Channels.of(deployed, kernel.id) as channels:
        assert channels.execute("print(6 * 7)").text == "42\n"


def from_kernel(deployed: Deployed, kernel: Kernel) -> Callable[[Mapping[str, str]], dict[str, str]]:
    return lambda targets: reached_from(deployed.namespace, kernel.pod, targets, container="kernel")


def settles(reached: Callable[[Mapping[str, str]], dict[str, str]], expected: dict[str, str]) -> None:
    """Claims that exactly the expected outcomes are found, as soon as the network knows all pods."""
    found: dict[str, str] = {}

    def right() -> bool:
        found.update(reached(expected))
        return found == expected

    try:
        eventually(right)
    except AssertionError as error:
        wrong = {target: outcome for target, outcome in found.items() if outcome != expected[target]}
        raise AssertionError(f"{error}; not as expected: {wrong}") from None
