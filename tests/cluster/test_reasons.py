"""Why a kernel does not start, or not yet: in Kubernetes' words, within seconds, wherever its user looks."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import requests
from support.channels import V1, Channels, Message
from support.cluster import KERNELS, kubectl
from support.command import run_remotely
from support.outside import NOWHERE, Outside, outside, pod_spec
from support.rest import answer_of, assert_error
from support.wait import eventually

pytestmark = pytest.mark.cluster

SECONDS = 60.0
"""What a reason may take: everything here is certain within five, and the cluster may be busy."""
NO_IMAGE = "localhost:1/kernels/nothing:gone"
PRIVILEGED = {"spec": {"containers": [{"name": "kernel", "securityContext": {"privileged": True}}]}}
WRONG_IMAGE = {"spec": {"containers": [{"name": "kernel", "image": "Not An Image"}]}}
GREEDY = "print('eating', flush=True); x = b'x' * (1 << 30)"

RULES = (
    {"kind": "ResourceQuota", "metadata": {"name": "no-gpus"}, "spec": {"hard": {"requests.nvidia.com/gpu": "0"}}},
    {
        "kind": "LimitRange",
        "metadata": {"name": "not-too-little"},
        "spec": {
            "limits": [{"type": "Container", "min": {"memory": "4Mi"}, "defaultRequest": {"memory": "16Mi"}}],
        },
    },
)

FAILING = {
    "no-image": (pod_spec(image_name=NO_IMAGE), [NO_IMAGE, "connection refused"]),
    "wrong-image": (pod_spec(pod_patch=WRONG_IMAGE), ["Not An Image", "invalid reference format"]),
    "no-node": (pod_spec(pod_patch=NOWHERE), ["no node can take its pod", "didn't match", "node affinity/selector"]),
    "exits": (pod_spec("/bin/sh", "-c", "echo no module named nothing >&2; exit 3"), ["exit code 3"]),
    "missing": (pod_spec("/nonexistent/kernel"), ["exit code 127", "command not found"]),
    "greedy": (pod_spec("python3", "-c", GREEDY, env={"KERNEL_MEMORY_LIMIT": "64Mi"}), ["OOMKilled", "64 MiB"]),
    "mute": (pod_spec("/bin/sh", "-c", "exec sleep 600"), ["did not answer within 3 s"]),
}
"""Kernel specs whose pods are made, and what is said of them."""
REFUSED = {
    "quota": (pod_spec(env={"KERNEL_GPUS": "1"}), ["exceeded quota: no-gpus", "requests.nvidia.com/gpu"]),
    "range": (pod_spec(env={"KERNEL_MEMORY": "2Mi"}), ["minimum memory usage per Container is 4Mi"]),
    "privileged": (pod_spec(pod_patch=PRIVILEGED), ['violates PodSecurity "restricted', "privileged"]),
}
"""Kernel specs whose pods the API server does not take."""


@dataclass(frozen=True)
class Try:
    """A start, and what it was answered."""

    kernel_id: str
    answer: requests.Response


@pytest.fixture(scope="module")
def gateway() -> Iterator[Outside]:
    specs = {name: spec for name, (spec, _) in (FAILING | REFUSED).items()}
    with outside(kernelspecs=specs, EG_START_WAIT=str(SECONDS), EG_UNSCHEDULABLE_GRACE="2") as gateway:
        gateway.namespace.apply(*({"apiVersion": "v1", **rule} for rule in RULES))
        eventually(lambda: gateway.namespace.get("resourcequota", "no-gpus").get("status", {}).get("hard"))
        yield gateway


@pytest.fixture(scope="module")
def tries(gateway: Outside) -> dict[str, Try]:
    """A start of each kernel spec, all at once."""

    def start(name: str) -> Try:
        kernel_id = str(uuid.uuid4())
        env = {"KERNEL_ID": kernel_id}
        if name == "mute":
            env["KERNEL_LAUNCH_TIMEOUT"] = "3"
        return Try(kernel_id, gateway.rest.post("/api/kernels", json={"name": name, "env": env}))

    names = [*FAILING, *REFUSED]
    with ThreadPoolExecutor(len(names)) as pool:
        return dict(zip(names, pool.map(start, names), strict=True))


@pytest.mark.parametrize("name", FAILING)
class TestFailing:
    """Kernels whose pods cannot become kernels."""

    def test_the_client_that_asked_is_told(self, tries: dict[str, Try], name: str) -> None:
        assert_error(tries[name].answer, 500, *FAILING[name][1])

    def test_the_reason_can_be_read_afterwards(self, gateway: Outside, tries: dict[str, Try], name: str) -> None:
        kernel_id = tries[name].kernel_id
        history = answer_of(gateway.rest.get(f"/api/kernels/{kernel_id}/why"))
        assert history["kernel"]["execution_state"] == "dead"
        assert all(word in history["kernel"]["reason"] for word in FAILING[name][1])
        assert history["ended"] is not None
        assert kernel_id not in gateway.rest.kernel_ids()
        assert_error(gateway.rest.get(f"/api/kernels/{kernel_id}"), 404, *FAILING[name][1])

    def test_the_command_line_tells_it_too(self, gateway: Outside, tries: dict[str, Try], name: str) -> None:
        done = run_remotely(gateway, "why", tries[name].kernel_id)
        assert done.returncode == 0, done.stderr
        assert all(word in done.stdout for word in FAILING[name][1])


@pytest.mark.parametrize("name", REFUSED)
def test_a_pod_that_is_refused_is_answered_with_the_refusal_and_leaves_nothing(
    gateway: Outside, tries: dict[str, Try], name: str
) -> None:
    refused = tries[name]
    assert_error(refused.answer, 500, "Kubernetes refused the kernel's pod", *REFUSED[name][1])
    assert gateway.rest.get(f"/api/kernels/{refused.kernel_id}/why").status_code == 404
    assert [found for found in gateway.namespace.kernel_objects() if refused.kernel_id in found] == []


@pytest.mark.parametrize(("name", "line"), [("exits", "no module named nothing"), ("greedy", "eating")])
def test_what_a_kernel_said_last_is_told_with_its_end(
    gateway: Outside, tries: dict[str, Try], name: str, line: str
) -> None:
    assert_error(tries[name].answer, 500, line)
    assert line in answer_of(gateway.rest.get(f"/api/kernels/{tries[name].kernel_id}/why"))["log_tail"]
    assert line in run_remotely(gateway, "logs", tries[name].kernel_id).stdout


def test_the_steps_of_a_start_that_failed_are_kept(gateway: Outside, tries: dict[str, Try]) -> None:
    steps = answer_of(gateway.rest.get(f"/api/kernels/{tries['no-image'].kernel_id}/why"))["progress"]
    reasons = [step["reason"] for step in steps]
    assert reasons[0] == "Scheduled"
    assert {"Pulling", "Failed"} <= set(reasons)


def test_a_pod_that_cannot_start_does_not_go_on_trying(gateway: Outside, tries: dict[str, Try]) -> None:
    ids = {tries[name].kernel_id for name in FAILING if name != "no-node"}

    def over() -> bool:
        pods = gateway.namespace.list("pods", KERNELS)
        phases = {pod["metadata"]["labels"]["kernel_id"]: pod["status"]["phase"] for pod in pods}
        return all(phases[kernel_id] in ("Failed", "Succeeded") for kernel_id in ids)

    eventually(over, SECONDS)


def test_a_kernel_that_failed_can_be_tried_again_under_its_id(gateway: Outside, tries: dict[str, Try]) -> None:
    failed = tries["exits"]
    before = gateway.pod(failed.kernel_id)["metadata"]["uid"]
    again = gateway.rest.post("/api/kernels", json={"name": "exits", "env": {"KERNEL_ID": failed.kernel_id}})
    assert_error(again, 500, *FAILING["exits"][1])
    assert gateway.pod(failed.kernel_id)["metadata"]["uid"] != before


class TestWaiting:
    """Kernels that start later than anybody waits."""

    @pytest.fixture(scope="class")
    @classmethod
    def label(cls) -> Iterator[str]:
        """A label that no node has yet."""
        label = f"eg-test-{uuid.uuid4().hex[:8]}"
        yield label
        kubectl("label", "nodes", "--all", f"{label}-")

    def test_whoever_waits_is_told_what_for_and_loses_nothing(self, label: str) -> None:
        spec = pod_spec(pod_patch={"spec": {"nodeSelector": {label: "yes"}}})
        with outside(kernelspecs={"later": spec}, EG_START_WAIT="0", EG_UNSCHEDULABLE_GRACE="300") as gateway:
            kernel_ids = [gateway.rest.start_kernel("later") for _ in range(2)]
            for kernel_id in kernel_ids:
                claim_it_waits_for_a_node(gateway, kernel_id)
            with (
                Channels.of(gateway, kernel_ids[0], session_id="mine") as legacy,
                Channels.of(gateway, kernel_ids[1], session_id="mine", subprotocols=[V1]) as v1,
            ):
                assert (legacy.socket.subprotocol, v1.socket.subprotocol) == (None, V1)
                requests = [channels.send_code("print('early')") for channels in (legacy, v1)]
                for channels in (legacy, v1):
                    channels.recv_until(lambda m: says("FailedScheduling", m))
                kubectl("label", "nodes", "--all", f"{label}=yes")
                for channels, request in zip((legacy, v1), requests, strict=True):
                    channels.recv_until(lambda m: says("Scheduled", m))
                    assert channels.recv_execution(request).text == "early\n"
                    assert channels.execute("print('late')").text == "late\n"
            for kernel_id in kernel_ids:
                steps = answer_of(gateway.rest.get(f"/api/kernels/{kernel_id}/why"))["progress"]
                reasons = list(dict.fromkeys(step["reason"] for step in steps))
                assert reasons == ["FailedScheduling", "Scheduled", "Pulled", "Created", "Started"]
            eventually(lambda: not any("progress" in model for model in answer_of(gateway.rest.get("/api/kernels"))))
            for kernel_id in kernel_ids:
                gateway.rest.shut_down(kernel_id)
            gateway.namespace.until_no_kernel_is_left()

    def test_a_websocket_waits_for_an_agent_whose_container_runs_and_does_not_listen_yet(self) -> None:
        slow = {"spec": {"containers": [{"name": "agent", "resources": {"limits": {"cpu": "50m"}}}]}}
        with outside(kernelspecs={"slow": pod_spec(pod_patch=slow)}, EG_START_WAIT="0") as gateway:
            kernel_id = gateway.rest.start_kernel("slow")
            eventually(lambda: gateway.pod(kernel_id)["status"]["phase"] == "Running", SECONDS)
            with Channels.of(gateway, kernel_id) as channels:
                assert channels.execute("6 * 7").reply["status"] == "ok"
            gateway.rest.shut_down(kernel_id)


def claim_it_waits_for_a_node(gateway: Outside, kernel_id: str) -> None:
    """Both the model and `why` say what the kernel waits for."""
    rest = gateway.rest
    eventually(lambda: answer_of(rest.get(f"/api/kernels/{kernel_id}")).get("progress"))
    model = answer_of(rest.get(f"/api/kernels/{kernel_id}"))
    assert model["execution_state"] == "starting"
    history = answer_of(rest.get(f"/api/kernels/{kernel_id}/why"))
    for progress in (model["progress"], history["progress"]):
        assert progress[0]["reason"] == "FailedScheduling"
        assert "node affinity/selector" in progress[0]["message"]


def says(step: str, message: Message) -> bool:
    """Whether a message tells a step of a start as the gateway's."""
    return bool(message["msg_type"] == "stream" and f"[gateway] {step}" in message["content"]["text"])
