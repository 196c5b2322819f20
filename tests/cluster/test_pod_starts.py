"""A start makes one Pod and one Secret, whatever the user is called, whoever asks again and whichever gateway dies."""

from __future__ import annotations

import json
import random
import re
import subprocess
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import requests
from support.cluster import Namespace, Object
from support.gateway import Gateway
from support.outside import NOWHERE, Outside, outside, pod_spec, secret_of
from support.rest import assert_error
from support.wait import eventually

pytestmark = pytest.mark.cluster

USER = "Zoë Ünsal 用户 <b>&\"'"
WORD = "open-sesame-7261"
"""What a user's environment holds and nobody else may read."""
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
CLIENTS = 5
DEADLINE = 90.0
SEEDS = range(3)

SPECS = {"parked": pod_spec(pod_patch=NOWHERE)}


@pytest.fixture(scope="module")
def gateway() -> Iterator[Outside]:
    with outside(kernelspecs=SPECS, EG_LOG_LEVEL="DEBUG") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def parking() -> Iterator[Outside]:
    """A gateway that answers at once; for pods that never run."""
    with outside(kernelspecs=SPECS, EG_START_WAIT="0", EG_UNSCHEDULABLE_GRACE="600") as gateway:
        yield gateway


class TestOneKernel:
    """What a start makes."""

    @pytest.fixture(scope="class")
    @classmethod
    def kernel_id(cls, gateway: Outside) -> Iterator[str]:
        env = {"KERNEL_USERNAME": USER, "KERNEL_WORD": WORD}
        kernel_id = gateway.rest.start_kernel("python", env=env)
        yield kernel_id
        gateway.rest.shut_down(kernel_id)

    @pytest.fixture(scope="class")
    @classmethod
    def pod(cls, gateway: Outside, kernel_id: str) -> Object:
        return gateway.pod(kernel_id)

    def test_it_is_one_pod_and_one_secret_that_the_pod_owns(
        self, gateway: Outside, kernel_id: str, pod: Object
    ) -> None:
        name = f"kernel-{kernel_id}"
        assert gateway.namespace.kernel_objects() == {f"pod/{pod['metadata']['name']}", f"secret/{name}"}
        (owner,) = gateway.namespace.get("secret", name)["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"]) == ("Pod", pod["metadata"]["uid"])

    def test_its_names_labels_and_annotations_are_those_that_tools_select_by(self, kernel_id: str, pod: Object) -> None:
        metadata = pod["metadata"]
        assert DNS_LABEL.fullmatch(metadata["name"])
        assert kernel_id in metadata["name"]
        labels = {"app": "enterprise-gateway", "component": "kernel", "kernel_id": kernel_id}
        assert labels.items() <= metadata["labels"].items()
        assert metadata["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
        record = json.loads(metadata["annotations"]["enterprise-gateway/record"])
        assert (record["kernel_id"], record["spec_name"], record["username"]) == (kernel_id, "python", USER)

    def test_its_containers_run_side_by_side_once_and_unprivileged(self, pod: Object) -> None:
        spec = pod["spec"]
        assert {container["name"] for container in spec["containers"]} == {"kernel", "agent"}
        assert "initContainers" not in spec
        assert spec["restartPolicy"] == "Never"
        assert spec["securityContext"]["runAsNonRoot"] is True

    def test_it_has_no_token_of_the_cluster(self, gateway: Outside, kernel_id: str, pod: Object) -> None:
        assert pod["spec"]["automountServiceAccountToken"] is False
        code = "import os; print([path for path in ('/var/run/secrets', '/run/secrets') if os.path.exists(path)])"
        assert gateway.run(kernel_id, code).strip() == "[]"

    def test_the_kernel_has_its_environment_and_nothing_of_its_agents(self, gateway: Outside, kernel_id: str) -> None:
        code = "import os; print(os.environ['KERNEL_USERNAME'], os.environ['KERNEL_WORD'], sep='\\n')"
        assert gateway.run(kernel_id, code).splitlines() == [USER, WORD]
        code = "import os; print(sorted(n for n in os.listdir('/etc/enterprise-gateway') if not n.startswith('.')))"
        assert gateway.run(kernel_id, code).strip() == "['connection.json', 'supervisor.sh']"

    def test_nothing_secret_is_in_the_pod_its_events_or_the_gateways_log(
        self, gateway: Outside, kernel_id: str
    ) -> None:
        content = secret_of(gateway, kernel_id)
        agent = json.loads(content["agent.json"])["agent"]
        keys = {agent["token"], agent["connection"]["key"], json.loads(content["connection.json"])["key"]}
        tls = {line for line in content["tls.pem"].splitlines() if "-----" not in line}
        secrets = keys | tls | {WORD, gateway.token}
        assert all(len(secret) >= 16 for secret in secrets)
        pod = gateway.pod(kernel_id)
        told = json.dumps([pod, gateway.namespace.list("events")]) + gateway.log
        assert pod["metadata"]["name"] in told
        assert [secret for secret in secrets if secret in told] == []


class TestUserNames:
    """Any text is a user's name, and each user's pods can be told from the others'."""

    @pytest.fixture(scope="class")
    @classmethod
    def pods(cls, parking: Outside) -> dict[str, Object]:
        """The pods of users whose names are no names of pods, by user."""
        users = ["j.doe", "j-doe", "J Doe", "j--doe", "用户", "...", "-", "a" * 300, "a" * 299, "../../etc", "x\t{{y}}"]
        with ThreadPoolExecutor(4) as pool:
            ids = pool.map(lambda user: parking.rest.start_kernel("parked", env={"KERNEL_USERNAME": user}), users)
            pods = {user: parking.pod(kernel_id) for user, kernel_id in zip(users, ids, strict=True)}
        for kernel_id in parking.rest.kernel_ids():
            parking.rest.shut_down(kernel_id)
        return pods

    def test_every_name_makes_a_pod(self, pods: dict[str, Object]) -> None:
        for user, pod in pods.items():
            name = pod["metadata"]["name"]
            assert DNS_LABEL.fullmatch(name)
            assert name.endswith(pod["metadata"]["labels"]["kernel_id"])
            assert json.loads(pod["metadata"]["annotations"]["enterprise-gateway/record"])["username"] == user

    def test_names_that_look_alike_stay_apart(self, pods: dict[str, Object]) -> None:
        labels = {pod["metadata"]["labels"]["kernel-username"] for pod in pods.values()}
        names = {pod["metadata"]["name"].removesuffix(pod["metadata"]["labels"]["kernel_id"]) for pod in pods.values()}
        assert len(labels) == len(names) == len(pods)

    def test_a_plain_name_is_in_the_pods_name_as_it_is(self, pods: dict[str, Object]) -> None:
        assert pods["j-doe"]["metadata"]["name"].startswith("j-doe-")

    @pytest.mark.parametrize("user", ["$(id)", "`id`", "a\nb", "a\0b"])
    def test_what_a_shell_would_read_is_no_name(self, parking: Outside, user: str) -> None:
        answer = parking.rest.post("/api/kernels", json={"name": "parked", "env": {"KERNEL_USERNAME": user}})
        assert_error(answer, 400, "KERNEL_USERNAME")


class TestRetries:
    """Clients that ask again with the same KERNEL_ID."""

    def test_five_at_once_and_two_that_gave_up_get_one_kernel(self, gateway: Outside) -> None:
        kernel_id = str(uuid.uuid4())
        with ThreadPoolExecutor(CLIENTS + 2) as pool:
            given_up = [pool.submit(ask, gateway, kernel_id, patience) for patience in (0.02, 0.2)]
            answers = [pool.submit(ask, gateway, kernel_id) for _ in range(CLIENTS)]
        assert [each.result() for each in given_up] == [None, None]
        for each in answers:
            answer = each.result()
            assert answer is not None
            assert answer.status_code == 201, answer.text
            assert answer.json()["id"] == kernel_id
        claim_one_kernel_and_end_it(gateway, kernel_id)

    def test_two_replicas_that_are_asked_at_once_make_one_kernel(self, gateway: Outside) -> None:
        kernel_id = str(uuid.uuid4())
        with replica(gateway) as other, ThreadPoolExecutor(CLIENTS) as pool:
            asked = [pool.submit(persist, (gateway, other)[n % 2], kernel_id) for n in range(CLIENTS)]
            for each in asked:
                each.result(DEADLINE)
            eventually(lambda: other.rest.kernel_ids() == {kernel_id})
        claim_one_kernel_and_end_it(gateway, kernel_id)

    def test_a_client_that_gave_up_finds_its_kernel_when_it_asks_again(self, gateway: Outside) -> None:
        kernel_id = str(uuid.uuid4())
        assert ask(gateway, kernel_id, 0.3) is None
        uid = eventually(lambda: gateway.namespace.list("pods", f"kernel_id={kernel_id}"))[0]["metadata"]["uid"]
        persist(gateway, kernel_id)
        assert gateway.pod(kernel_id)["metadata"]["uid"] == uid
        claim_one_kernel_and_end_it(gateway, kernel_id)


class TestKilledGateway:
    """A gateway that dies in the middle of a start leaves one kernel or none, and the next try works."""

    def test_between_pod_and_secret_the_pod_is_given_up_and_the_next_try_works(self, gateway: Outside) -> None:
        kernel_id = str(uuid.uuid4())
        name = f"kernel-{kernel_id}"
        # A Secret of that name keeps the gateway busy between the pod and its Secret.
        gateway.namespace.kubectl("create", "secret", "generic", name)
        with replica(gateway) as mortal, ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask, mortal, kernel_id)
            pod = eventually(lambda: gateway.namespace.list("pods", f"kernel_id={kernel_id}"))[0]
            mortal.kill()
            gateway.namespace.kubectl("delete", "secret", name)
            assert asked.result(DEADLINE) is None
        persist(gateway, kernel_id)
        assert gateway.pod(kernel_id)["metadata"]["uid"] != pod["metadata"]["uid"]
        claim_one_kernel_and_end_it(gateway, kernel_id)

    def test_after_the_secret_the_kernel_starts_without_it(self, gateway: Outside) -> None:
        kernel_id = str(uuid.uuid4())
        with replica(gateway) as mortal, ThreadPoolExecutor(1) as pool:
            with created(gateway.namespace, "secrets") as secrets:
                asked = pool.submit(ask, mortal, kernel_id)
                until_line(secrets, f"secret/kernel-{kernel_id}")
            mortal.kill()
            asked.result(DEADLINE)
        uid = gateway.pod(kernel_id)["metadata"]["uid"]
        persist(gateway, kernel_id)
        assert gateway.pod(kernel_id)["metadata"]["uid"] == uid
        claim_one_kernel_and_end_it(gateway, kernel_id)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_at_any_moment_there_is_one_kernel_or_none(self, gateway: Outside, seed: int) -> None:
        delay = random.Random(seed).uniform(0.0, 0.15)
        kernel_id = str(uuid.uuid4())
        with replica(gateway) as mortal, ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask, mortal, kernel_id)
            time.sleep(delay)  # the moment is the case
            mortal.kill()
            asked.result(DEADLINE)
        persist(gateway, kernel_id)
        claim_one_kernel_and_end_it(gateway, kernel_id)


@contextmanager
def replica(gateway: Outside) -> Iterator[Outside]:
    """A second gateway for the same kernels."""
    with Outside(gateway.namespace, kernelspecs=SPECS) as other:
        yield other.start()


def ask(gateway: Gateway, kernel_id: str, patience: float = DEADLINE) -> requests.Response | None:
    """Asks for a kernel; None when there was no answer within `patience` seconds."""
    body = {"name": "python", "env": {"KERNEL_ID": kernel_id}}
    headers = {"Authorization": f"token {gateway.token}"}
    try:
        return requests.post(f"{gateway.url}/api/kernels", json=body, headers=headers, timeout=patience)
    except (requests.ConnectionError, requests.Timeout):
        return None


def persist(gateway: Gateway, kernel_id: str) -> None:
    """Asks for a kernel until it is there, as a client with retries does."""

    def there() -> bool:
        answer = ask(gateway, kernel_id)
        assert answer is not None
        # 500 says what became of an earlier try; the next one begins anew.
        assert answer.status_code in {201, 500, 503}, answer.text
        return answer.status_code == 201 and answer.json()["execution_state"] != "starting"

    eventually(there, DEADLINE)


def claim_one_kernel_and_end_it(gateway: Outside, kernel_id: str) -> None:
    """There is this kernel and nothing else, it works, and nothing is left of it when it has ended."""
    assert gateway.rest.kernel_ids() == {kernel_id}
    eventually(lambda: len(gateway.namespace.kernel_objects()) == 2, DEADLINE)
    assert f"secret/kernel-{kernel_id}" in gateway.namespace.kernel_objects()
    assert gateway.run(kernel_id, "print(6 * 7)") == "42\n"
    gateway.rest.shut_down(kernel_id)
    gateway.namespace.until_no_kernel_is_left()


@contextmanager
def created(namespace: Namespace, kind: str) -> Iterator[subprocess.Popen[str]]:
    """Prints `kind/name` of each object as it is made or changed."""
    command = ["kubectl", "--namespace", namespace.name, "get", kind, "--watch", "--output=name"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watch:
        until_line(watch, "secret/enterprise-gateway")  # the watch is there
        try:
            yield watch
        finally:
            watch.kill()


def until_line(watch: subprocess.Popen[str], wanted: str) -> None:
    assert watch.stdout is not None
    for line in watch.stdout:
        if line.strip() == wanted:
            return
    raise AssertionError(f"nothing was said of {wanted}")
