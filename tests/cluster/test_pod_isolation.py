"""What the containers of a kernel's pod, and the pods of the deployment, can see and are allowed to be."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cluster import KubectlError, Namespace
from support.credentials import secret_texts
from support.deployed import Deployed
from support.gateway import Gateway, StartGateway
from support.inside import readable
from support.rest import assert_error
from support.wait import eventually

pytestmark = pytest.mark.cluster

KERNEL_FILES = {"connection.json", "supervisor.sh"}
AGENT_FILES = {"agent.json", "tls.pem"}
FOLDER = "/etc/enterprise-gateway"
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"
AGENT_UID = "65532"

PRIVILEGED = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "privileged"},
    "spec": {"containers": [{"name": "a", "image": "a", "securityContext": {"privileged": True}}]},
}


class Pod:
    """A kernel's pod from the inside."""

    def __init__(self, namespace: Namespace, kernel_id: str) -> None:
        self.kernel_id = kernel_id
        self.namespace = namespace
        self.name = str(namespace.kernel_pod(kernel_id)["metadata"]["name"])

    def run(self, container: str, *command: str) -> str:
        return self.namespace.execute(self.name, *command, container=container).strip()

    def files(self, container: str) -> set[str]:
        """What of the kernel's Secret a container sees; the rest of such a folder is kubelet's, and hidden."""
        return set(self.run(container, "ls", FOLDER).split())

    def ids(self, container: str) -> str:
        """User and group of a container as `1000:100`."""
        return ":".join(self.run(container, "id", flag) for flag in ("-u", "-g"))

    def sees(self, container: str, path: str) -> bool:
        return self.run(container, "sh", "-c", 'test -e "$0" && echo yes || echo no', path) == "yes"


@pytest.fixture(scope="module")
def users_secret() -> str:
    return "what-only-the-kernel-needs-to-know"


@pytest.fixture(scope="module")
def pod(deployed: Deployed, users_secret: str) -> Iterator[Pod]:
    """A kernel's pod, started with something secret in its environment."""
    kernel_id = deployed.rest.start_kernel("python_kubernetes", env={"KERNEL_PASSWORD": users_secret})
    yield Pod(deployed.namespace, kernel_id)
    deployed.rest.shut_down(kernel_id)


@pytest.fixture
def texts(deployed: Deployed, pod: Pod, users_secret: str) -> dict[str, str]:
    """Everything secret, by what it is."""
    return {**secret_texts(deployed.namespace, pod.kernel_id), "user's": users_secret}


@pytest.fixture
def permissive(start_outside: StartGateway, tmp_path: Path) -> Gateway:
    """A gateway that lets clients choose the service account `worker`."""
    policy = tmp_path / "policy.yaml"
    policy.write_text("service_account: [worker]\n")
    return start_outside(EG_POD_POLICY=str(policy))


def test_pods_of_gateway_and_kernels_live_where_restricted_is_enforced(deployed: Deployed, pod: Pod) -> None:
    labels = deployed.namespace.get("namespace", deployed.namespace.name)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    with pytest.raises(KubectlError, match="violates PodSecurity"):
        deployed.namespace.apply(PRIVILEGED)
    for name in (pod.name, *deployed.replicas()):
        # A kernel is there before the cluster says so.
        eventually(lambda name=name: deployed.namespace.get("pod", name)["status"]["phase"] == "Running")


def test_the_kernels_container_sees_its_part_of_the_secret_alone(pod: Pod) -> None:
    assert pod.files("kernel") == KERNEL_FILES


def test_the_agents_container_sees_its_part_of_the_secret_alone(pod: Pod) -> None:
    assert pod.files("agent") == AGENT_FILES


def test_the_kernel_reads_its_message_key_and_environment_and_no_other_secret(pod: Pod, texts: dict[str, str]) -> None:
    found = readable(pod.namespace, pod.name, texts, "kernel")
    assert found == {"message key": ["connection.json"], "user's": ["environ"]}


def test_the_agent_reads_what_it_speaks_with_and_nothing_of_the_users(pod: Pod, texts: dict[str, str]) -> None:
    found = readable(pod.namespace, pod.name, texts, "agent")
    # The kernel's own copy of its connection file is in the folder that both share.
    assert found == {
        "agent token": ["agent.json"],
        "message key": ["agent.json", "connection.json"],
        "agent identity": ["tls.pem"],
    }


def test_a_gateways_files_and_environment_hold_no_secret(deployed: Deployed, texts: dict[str, str]) -> None:
    for name in deployed.replicas():
        # That something would be found is shown by what every replica has in its environment.
        found = readable(deployed.namespace, name, {**texts, "namespace": deployed.namespace.name})
        assert found.keys() == {"namespace"}


def test_neither_container_of_a_pod_has_a_token_of_the_cluster(deployed: Deployed, pod: Pod) -> None:
    assert deployed.namespace.execute(deployed.replicas()[0], "head", "-c", "3", TOKEN) == "eyJ"
    assert not pod.sees("kernel", TOKEN)
    assert not pod.sees("agent", TOKEN)


def test_kernel_and_agent_are_different_users_and_neither_is_root(pod: Pod) -> None:
    assert pod.ids("kernel") == "1000:100"
    assert pod.ids("agent") == f"{AGENT_UID}:100"


def test_the_kernel_sees_no_process_of_its_agent(pod: Pod) -> None:
    commands = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
    assert "enterprise_gateway.agent" in pod.run("agent", "sh", "-c", commands)
    seen = pod.run("kernel", "sh", "-c", commands)
    assert "supervisor.sh" in seen
    assert "enterprise_gateway.agent" not in seen


def test_a_client_may_not_take_the_gateways_account(deployed: Deployed) -> None:
    before = deployed.namespace.kernel_objects()
    env = {"KERNEL_SERVICE_ACCOUNT_NAME": "enterprise-gateway"}
    answer = deployed.rest.post("/api/kernels", json={"name": "python_kubernetes", "env": env})
    assert_error(answer, 403, "KERNEL_SERVICE_ACCOUNT_NAME")
    assert deployed.namespace.kernel_objects() == before


def test_an_account_that_the_policy_allows_is_the_kernels_and_not_the_agents(
    namespace: Namespace, permissive: Gateway
) -> None:
    namespace.kubectl("create", "serviceaccount", "worker")
    env = {"KERNEL_SERVICE_ACCOUNT_NAME": "worker", "KERNEL_UID": "2345"}
    kernel_id = permissive.rest.start_kernel("python_kubernetes", env=env)
    pod = Pod(namespace, kernel_id)
    assert subject(pod.run("kernel", "cat", TOKEN)) == f"system:serviceaccount:{namespace.name}:worker"
    assert not pod.sees("agent", TOKEN)
    assert pod.ids("kernel") == "2345:100"
    assert pod.ids("agent") == f"{AGENT_UID}:100"
    permissive.rest.shut_down(kernel_id)


def subject(token: str) -> str:
    """Whose a service account's token is."""
    payload = token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"])
