"""What clients and operators may say about a kernel's pod, as the cluster then has it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.cluster import Namespace, Object, kubectl
from support.outside import KERNEL_IMAGE, NOWHERE, Outside, pod_spec
from support.rest import assert_error
from support.wait import eventually

pytestmark = pytest.mark.cluster

POLICY = f"""
image: ["{KERNEL_IMAGE}", "localhost/allowed/*"]
cpus: {{max: 2}}
memory: {{max: 1Gi}}
gpus: {{max: 1}}
uid: {{min: 1000, max: 4000}}
volumes: [emptyDir]
node_selector: {{keys: [kubernetes.io/os]}}
tolerations: {{keys: [dedicated]}}
priority: [system-cluster-critical, eg-test-batch]
"""
WISHES = {
    "KERNEL_USERNAME": "alice",
    "KERNEL_IMAGE": KERNEL_IMAGE,
    "KERNEL_CPUS": "0.05",
    "KERNEL_CPUS_LIMIT": "2",
    "KERNEL_MEMORY": "64Mi",
    "KERNEL_MEMORY_LIMIT": "512Mi",
    "KERNEL_UID": "1234",
    "KERNEL_GID": "567",
    "KERNEL_VOLUMES": json.dumps([{"name": "work", "emptyDir": {}}, {"name": "shm", "emptyDir": {"medium": "Memory"}}]),
    "KERNEL_VOLUME_MOUNTS": "[{name: work, mountPath: /scratch}, {name: shm, mountPath: /dev/shm}]",
    "KERNEL_WORKING_DIR": "/scratch/",
    "KERNEL_NODE_SELECTOR": "{kubernetes.io/os: linux}",
    "KERNEL_TOLERATIONS": "[{key: dedicated, operator: Exists, effect: NoSchedule}]",
    "KERNEL_PRIORITY_CLASS_NAME": "eg-test-batch",
}
LOOK = """
import json, os, pathlib
pathlib.Path("written").write_text("x")
mounts = [line.split()[1:3] for line in open("/proc/mounts")]
print(json.dumps({"cwd": os.getcwd(), "uid": os.getuid(), "gid": os.getgid(), "shm": ["/dev/shm", "tmpfs"] in mounts,
                  "written": os.listdir("/scratch")}))
"""

TEMPLATE_2018 = """
apiVersion: v1
kind: Pod
metadata:
  name: $kernel_username-$kernel_id
  labels: {team: $kernel_team}
spec:
  containers:
    - name: anything
      image: $docker_image
      env: [{name: FROM_TEMPLATE, value: "$kernel_team of 2018"}]
      volumeMounts: [{name: scratch, mountPath: /scratch}]
  volumes: [{name: scratch, emptyDir: {}}]
"""
TEMPLATE_TODAY = """
apiVersion: v1
kind: Pod
metadata:
  name: {{ kernel_pod_name }}
  labels:
    {% if kernel_team is defined %}
    team: {{ kernel_team }}
    {% endif %}
spec:
  containers:
    - name: {{ kernel_pod_name }}
      image: {{ kernel_image }}
      env:
        - name: FROM_TEMPLATE
          value: {{ kernel_team }} of today
      volumeMounts:
        - name: scratch
          mountPath: /scratch
  volumes:
    - name: scratch
      emptyDir: {}
"""
PATCH = {
    "metadata": {"labels": {"team": "patched"}},
    "spec": {
        "hostname": "chosen-by-patch",
        "containers": [
            {
                "name": "kernel",
                "env": [{"name": "FROM_TEMPLATE", "value": "patched"}],
                "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
            }
        ],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
    },
}
STOCK = ("python", "{resource_dir}/scripts/launch_kubernetes.py", "--RemoteProcessProxy.kernel-id", "{kernel_id}")
SPECS: dict[str, Any] = {
    "parked": pod_spec(pod_patch=NOWHERE),
    "spec-image": pod_spec(pod_patch=NOWHERE, image_name="registry.example.org/from/the-spec:1"),
    "of-2018": pod_spec(*STOCK),
    "of-today": pod_spec(*STOCK),
    "patched": pod_spec(pod_patch=PATCH),
    "broken-template": pod_spec(*STOCK),
    "broken-patch": pod_spec(pod_patch={"spec": {"containers": "none"}}),
}
FILES = {
    "of-2018": ("kernel-pod.yaml", TEMPLATE_2018),
    "of-today": ("kernel-pod.yaml.j2", TEMPLATE_TODAY),
    "broken-template": ("kernel-pod.yaml", "apiVersion: v1\nkind: Pod\nspec: [oops\n"),
}


@pytest.fixture(scope="module")
def gateway(cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:  # noqa: ARG001 - there must be one
    """With a policy, templates, and mirrored working directories; unschedulable pods are kept, and answered at once."""
    policy = tmp_path_factory.mktemp("policy") / "policy.yaml"
    policy.write_text(POLICY)
    with Namespace() as namespace, gateway_with(namespace, policy) as gateway:
        eventually(lambda: "default" in namespace.names("serviceaccounts"), 60.0)
        yield gateway.start()


def gateway_with(namespace: Namespace, policy: Path) -> Outside:
    gateway = Outside(
        namespace,
        kernelspecs=SPECS,
        EG_POD_POLICY=str(policy),
        EG_MIRROR_WORKING_DIRS="True",
        EG_UNSCHEDULABLE_GRACE="600",
        EG_START_WAIT="0",
    )
    for spec, (name, text) in FILES.items():
        gateway.add_file(spec, f"scripts/{name}", text)
    return gateway


@pytest.fixture(scope="module")
def priority_class() -> Iterator[str]:
    """A priority like everybody's, under a name."""
    name = "eg-test-batch"
    kind = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": 0}
    kubectl("apply", "--filename", "-", stdin=json.dumps(kind))
    yield name
    kubectl("delete", "priorityclass", name)


class TestAllowed:
    """Everything that may be asked for, in one kernel."""

    @pytest.fixture(scope="class")
    @classmethod
    def kernel_id(cls, gateway: Outside, priority_class: str) -> Iterator[str]:  # noqa: ARG003 - there must be one
        kernel_id = gateway.rest.start_kernel("python", env=WISHES)
        yield kernel_id
        gateway.rest.shut_down(kernel_id)

    def test_the_pod_is_as_the_client_wishes(self, gateway: Outside, kernel_id: str) -> None:
        spec = gateway.pod(kernel_id)["spec"]
        kernel = container(spec, "kernel")
        assert kernel["image"] == KERNEL_IMAGE
        assert kernel["resources"] == {
            "requests": {"cpu": "50m", "memory": "64Mi"},
            "limits": {"cpu": "2", "memory": "512Mi"},
        }
        assert spec["nodeSelector"] == {"kubernetes.io/os": "linux"}
        assert {"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"} in spec["tolerations"]
        assert spec["priorityClassName"] == "eg-test-batch"

    def test_the_kernel_finds_what_the_client_wished(self, gateway: Outside, kernel_id: str) -> None:
        found = json.loads(gateway.run(kernel_id, LOOK))
        assert found == {"cwd": "/scratch", "uid": 1234, "gid": 567, "shm": True, "written": ["written"]}

    def test_the_agent_has_none_of_it(self, gateway: Outside, kernel_id: str) -> None:
        agent = container(gateway.pod(kernel_id)["spec"], "agent")
        assert {mount["name"] for mount in agent["volumeMounts"]}.isdisjoint({"work", "shm"})
        assert agent["securityContext"]["runAsUser"] not in (0, 1234)


def test_gpus_are_asked_for_as_a_limit(gateway: Outside) -> None:
    # No node has one, so it waits; the answer is its pod's.
    with parked(gateway, {"KERNEL_GPUS": "1"}) as pod:
        resources = container(pod["spec"], "kernel")["resources"]
        assert resources == {"requests": {"nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "1"}}


def test_the_specs_image_is_the_operators_and_not_a_matter_of_the_policy(gateway: Outside) -> None:
    with parked(gateway, {}, "spec-image") as pod:
        assert container(pod["spec"], "kernel")["image"] == "registry.example.org/from/the-spec:1"
    with parked(gateway, {"KERNEL_IMAGE": "localhost/allowed/any:2"}, "spec-image") as pod:
        assert container(pod["spec"], "kernel")["image"] == "localhost/allowed/any:2"


@pytest.mark.parametrize(
    ("variable", "value", "status"),
    [
        ("KERNEL_IMAGE", "evil.example/localhost/allowed/x", 403),
        ("KERNEL_IMAGE", "not an image", 400),
        ("KERNEL_IMAGE", "--privileged", 400),
        ("KERNEL_CPUS", "3", 403),
        ("KERNEL_CPUS", "1e99", 400),
        ("KERNEL_CPUS_LIMIT", "-1", 400),
        ("KERNEL_MEMORY", "2Gi", 403),
        ("KERNEL_MEMORY", "1Gi, hostNetwork: true", 400),
        ("KERNEL_MEMORY_LIMIT", "512m", 400),
        ("KERNEL_GPUS", "2", 403),
        ("KERNEL_GPUS", "0.5", 400),
        ("KERNEL_NAMESPACE", "kube-system", 403),
        ("KERNEL_NAMESPACE", "../kube-system", 400),
        ("KERNEL_SERVICE_ACCOUNT_NAME", "enterprise-gateway", 403),
        ("KERNEL_UID", "0", 403),
        ("KERNEL_UID", "-0", 403),
        ("KERNEL_UID", "99999", 403),
        ("KERNEL_GID", "0", 403),
        ("KERNEL_VOLUMES", "[{name: host, hostPath: {path: /home}}]", 403),
        ("KERNEL_VOLUMES", "[{name: s, secret: {secretName: enterprise-gateway}}]", 403),
        ("KERNEL_VOLUMES", "[{name: a, emptyDir: {}, hostPath: {path: /}}]", 400),
        ("KERNEL_VOLUMES", "{name: a", 400),
        ("KERNEL_VOLUME_MOUNTS", "[{name: enterprise-gateway-agent, mountPath: /x}]", 400),
        ("KERNEL_VOLUME_MOUNTS", "[{name: absent, mountPath: /etc/enterprise-gateway}]", 400),
        ("KERNEL_WORKING_DIR", "not/absolute", 400),
        ("KERNEL_NODE_SELECTOR", "{secret-nodes: yes}", 403),
        ("KERNEL_NODE_SELECTOR", "[kubernetes.io/os]", 400),
        ("KERNEL_TOLERATIONS", "[{operator: Exists}]", 403),
        ("KERNEL_TOLERATIONS", "[{key: dedicated, effect: Sometimes}]", 400),
        ("KERNEL_PRIORITY_CLASS_NAME", "system-node-critical", 403),
    ],
)
def test_a_hostile_or_denied_value_is_refused_by_its_name_and_makes_nothing(
    gateway: Outside, variable: str, value: str, status: int
) -> None:
    before = gateway.namespace.kernel_objects()
    answer = gateway.rest.post("/api/kernels", json={"name": "parked", "env": {variable: value}})
    assert_error(answer, status, variable)
    assert gateway.namespace.kernel_objects() <= before


def test_where_working_directories_are_not_mirrored_a_clients_is_ignored(gateway: Outside) -> None:
    with Outside(gateway.namespace, EG_MIRROR_WORKING_DIRS="False") as other:
        other.start()
        kernel_id = other.rest.start_kernel("python", env={"KERNEL_WORKING_DIR": "/home/alice/on/her/laptop"})
        assert "workingDir" not in container(other.pod(kernel_id)["spec"], "kernel")
        assert other.run(kernel_id, "import os; print(os.getcwd())").strip() == "/home/kernel"
        other.rest.shut_down(kernel_id)


@pytest.mark.parametrize(
    ("spec", "team", "variable"),
    [("of-2018", "blue", "blue of 2018"), ("of-today", "blue", "blue of today"), ("patched", "patched", "patched")],
)
def test_an_operators_template_or_patch_shapes_the_pod(gateway: Outside, spec: str, team: str, variable: str) -> None:
    kernel_id = gateway.rest.start_kernel(spec, env={"KERNEL_TEAM": "blue"})
    pod = gateway.pod(kernel_id)
    assert pod["metadata"]["labels"]["team"] == team
    assert pod["metadata"]["labels"]["kernel_id"] == kernel_id
    said = gateway.run(kernel_id, "import os; print(os.environ['FROM_TEMPLATE'], os.access('/scratch', os.W_OK))")
    assert said.strip() == f"{variable} True"
    assert pod["spec"].get("hostname") == ("chosen-by-patch" if spec == "patched" else None)
    gateway.rest.shut_down(kernel_id)


@pytest.mark.parametrize("spec", ["of-2018", "of-today"])
def test_a_value_in_a_template_stays_a_value(gateway: Outside, spec: str) -> None:
    hostile = "x, hostNetwork: true}, spec: {hostNetwork: true"
    answer = gateway.rest.post("/api/kernels", json={"name": spec, "env": {"KERNEL_TEAM": hostile}})
    # As a value it is no label, which the API server says; as structure it would be another pod.
    assert_error(answer, 500, "Kubernetes refused the kernel's pod", "Invalid value", hostile)


@pytest.mark.parametrize(
    ("spec", "words"),
    [("broken-template", ("kernel-pod.yaml, line", "not valid YAML")), ("broken-patch", ("pod_patch", "containers"))],
)
def test_an_operators_mistake_is_named_and_makes_nothing(gateway: Outside, spec: str, words: tuple[str, ...]) -> None:
    before = gateway.namespace.kernel_objects()
    assert_error(gateway.rest.post("/api/kernels", json={"name": spec}), 500, *words)
    assert gateway.namespace.kernel_objects() <= before


@contextmanager
def parked(gateway: Outside, env: dict[str, str], spec: str = "parked") -> Iterator[Object]:
    """The pod of a start that no node takes."""
    kernel_id = gateway.rest.start_kernel(spec, env=env)
    yield gateway.pod(kernel_id)
    gateway.rest.shut_down(kernel_id)


def container(spec: Object, name: str) -> Object:
    """One container of a pod."""
    (found,) = [each for each in spec["containers"] if each["name"] == name]
    return dict(found)
