"""A kernel's pod is safe by default, what its operator makes it, and always recognisable; its secrets are in no pod."""

from __future__ import annotations

import base64
import json
import re
import ssl
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st
from pod_parts import KERNEL, KEYS, make_launch, make_parameters, make_plan, make_record

from enterprise_gateway.backends.kubernetes.objects import Metadata
from enterprise_gateway.backends.kubernetes.pod import (
    MAX_SECRET_BYTES,
    RECORD_ANNOTATION,
    PodPlan,
    make_pod,
    make_secret,
    read_supervisor,
)
from enterprise_gateway.backends.kubernetes.template import read_template, template_variables
from enterprise_gateway.backends.report_key import make_report_key
from enterprise_gateway.core.agents import AgentRules
from enterprise_gateway.core.pods import PodAgentConfig
from enterprise_gateway.core.records import ConnectionInfo, KernelRecord
from enterprise_gateway.errors import StartFailed

OWNER = Metadata(name=f"alice-{KERNEL}", uid="8d1e9b44-0000-4000-8000-000000000000")
SECRET = f"kernel-{KERNEL}"
LABELS = {
    "app": "enterprise-gateway",
    "component": "kernel",
    "kernel_id": KERNEL,
    "kernel-username": "alice",
    "enterprise-gateway/key-id": KEYS.newest_id,
}


def container(pod: dict[str, Any], name: str = "kernel") -> dict[str, Any]:
    (found,) = [each for each in pod["spec"]["containers"] if each["name"] == name]
    return found


def from_template(text: str, **changes: Any) -> dict[str, Any]:
    parameters = make_parameters(**changes)
    variables = template_variables({}, parameters, pod_name="x", namespace="x", language="python")
    return make_pod(make_plan(parameters=changes, template=read_template("kernel-pod.yaml.j2", text, variables)))


def patched(spec: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return make_pod(make_plan(patch={"spec": spec}, **changes))


def test_the_default_pod() -> None:
    def secret_env(name: str) -> dict[str, Any]:
        return {"name": name, "valueFrom": {"secretKeyRef": {"name": SECRET, "key": f"env.{name}"}}}

    def secret_files(*names: str) -> dict[str, Any]:
        return {"secretName": SECRET, "defaultMode": 0o444, "items": [{"key": each, "path": each} for each in names]}

    restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert make_pod(make_plan()) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"alice-{KERNEL}",
            "namespace": "notebooks",
            "labels": LABELS,
            "annotations": {
                "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
                "enterprise-gateway/record": msgspec.json.encode(make_record()).decode(),
            },
        },
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 10,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "runAsGroup": 100,
                "fsGroup": 100,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "kernel",
                    "image": "localhost/kernel:1",
                    "imagePullPolicy": "IfNotPresent",
                    "command": [
                        *("/bin/sh", "/etc/enterprise-gateway/supervisor.sh"),
                        *("python", "-m", "ipykernel_launcher", "-f", "/run/enterprise-gateway/connection.json"),
                    ],
                    "env": [secret_env("KERNEL_ID"), secret_env("KERNEL_USERNAME")],
                    "resources": {},
                    "securityContext": restricted,
                    "volumeMounts": [
                        {"name": "enterprise-gateway-kernel", "mountPath": "/etc/enterprise-gateway", "readOnly": True},
                        {"name": "enterprise-gateway-shared", "mountPath": "/run/enterprise-gateway"},
                    ],
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                },
                {
                    "name": "agent",
                    "image": "localhost/gateway:1",
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python", "-m", "enterprise_gateway.agent"],
                    "env": [
                        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    ],
                    "ports": [{"name": "agent", "containerPort": 8443, "protocol": "TCP"}],
                    "resources": {"requests": {"cpu": "50m", "memory": "48Mi"}, "limits": {"memory": "640Mi"}},
                    "securityContext": restricted
                    | {"runAsUser": 65532, "runAsNonRoot": True, "readOnlyRootFilesystem": True},
                    "volumeMounts": [
                        {"name": "enterprise-gateway-agent", "mountPath": "/etc/enterprise-gateway", "readOnly": True},
                        {"name": "enterprise-gateway-shared", "mountPath": "/run/enterprise-gateway"},
                    ],
                    "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File",
                },
            ],
            "volumes": [
                {"name": "enterprise-gateway-kernel", "secret": secret_files("connection.json", "supervisor.sh")},
                {"name": "enterprise-gateway-agent", "secret": secret_files("agent.json", "tls.pem")},
                {"name": "enterprise-gateway-shared", "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}},
            ],
        },
    }


def test_what_was_asked_for_is_in_the_pod() -> None:
    volume, mount = {"name": "home", "persistentVolumeClaim": {"claimName": "a"}}, {"name": "home", "mountPath": "/h"}
    toleration = {"key": "gpu", "operator": "Exists"}
    asked = {
        "requests": {"cpu": "2", "nvidia.com/gpu": "1"},
        "limits": {"memory": "4Gi"},
        "volumes": (volume,),
        "volume_mounts": (mount,),
        "working_dir": "/home/alice",
        "node_selector": {"disk": "ssd"},
        "tolerations": (toleration,),
        "priority_class": "low",
        "service_account": "lab",
        "uid": 1234,
        "gid": 5678,
    }
    pod = make_pod(make_plan(parameters=asked))
    spec, kernel = pod["spec"], container(pod)
    assert kernel["resources"] == {"requests": {"cpu": "2", "nvidia.com/gpu": "1"}, "limits": {"memory": "4Gi"}}
    assert kernel["workingDir"] == "/home/alice"
    assert mount in kernel["volumeMounts"]
    assert volume in spec["volumes"]
    assert spec["nodeSelector"] == {"disk": "ssd"}
    assert spec["tolerations"] == [toleration]
    assert spec["priorityClassName"] == "low"
    assert spec["serviceAccountName"] == "lab"
    assert (spec["securityContext"]["runAsUser"], spec["securityContext"]["runAsGroup"]) == (1234, 5678)
    assert container(pod, "agent")["imagePullPolicy"] == "IfNotPresent"
    assert mount not in container(pod, "agent")["volumeMounts"]


def test_a_service_accounts_token_is_mounted_for_the_kernel_alone() -> None:
    pod = make_pod(make_plan(parameters={"service_account": "lab", "mount_token": True}))
    assert pod["spec"]["automountServiceAccountToken"] is False
    token = {
        "name": "enterprise-gateway-token",
        "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
        "readOnly": True,
    }
    assert token in container(pod)["volumeMounts"]
    assert token not in container(pod, "agent")["volumeMounts"]
    (volume,) = [each for each in pod["spec"]["volumes"] if each["name"] == token["name"]]
    files = {"ca.crt", "namespace", "token"}
    assert files == set(re.findall(r'"path": "([^"]+)"', json.dumps(volume)))


def test_no_secret_is_in_the_pod() -> None:
    plan = make_plan(launch={"env": {"KERNEL_ID": KERNEL, "DB_PASSWORD": "correct horse"}})
    shown = json.dumps(make_pod(plan))
    secrets = plan.launch.secrets
    for secret in ("correct horse", *(each.reveal() for each in (secrets.token, secrets.hmac_key, secrets.tls_seed))):
        assert secret not in shown
        assert secret not in repr(plan).replace("correct horse", "")


def test_a_launchers_pod_has_both_halves_of_a_key_where_they_belong() -> None:
    plan = make_plan(
        launch={"argv": ("/usr/local/bin/bootstrap-kernel.sh",)}, reports=True, report_key=make_report_key()
    )
    assert plan.report_key is not None
    pod, secret = make_pod(plan), make_secret(plan, OWNER)["stringData"]
    kernel = container(pod)
    assert kernel["command"][1:] == ["/etc/enterprise-gateway/supervisor.sh", "--wait", *plan.launch.argv]
    assert {"PUBLIC_KEY", "EG_PUBLIC_KEY"} <= {each["name"] for each in kernel["env"]}
    assert secret["env.PUBLIC_KEY"] == secret["env.EG_PUBLIC_KEY"] == plan.report_key.public
    public = serialization.load_der_public_key(base64.b64decode(plan.report_key.public))

    config = msgspec.json.decode(secret["agent.json"], type=PodAgentConfig).agent
    assert config.launcher is not None
    private = serialization.load_pem_private_key(config.launcher.private_key.encode(), None)
    assert private.public_key() == public
    assert config.launcher.port == 8877
    places = [key for key, value in secret.items() if "PRIVATE KEY" in value]
    assert places == ["agent.json", "tls.pem"]
    assert "PRIVATE KEY" not in json.dumps(pod) + repr(plan)


def test_other_kernels_have_none() -> None:
    secret = make_secret(make_plan(), OWNER)["stringData"]
    assert msgspec.json.decode(secret["agent.json"], type=PodAgentConfig).agent.launcher is None
    assert "env.PUBLIC_KEY" not in secret


def test_the_record_is_in_the_annotation() -> None:
    annotation = make_pod(make_plan())["metadata"]["annotations"][RECORD_ANNOTATION]
    assert msgspec.json.decode(annotation, type=KernelRecord) == make_record()


def test_a_user_name_that_is_no_label_still_labels_the_pod() -> None:
    record = make_record(username="jörg@example.com")
    label = make_pod(make_plan(record=record))["metadata"]["labels"]["kernel-username"]
    assert re.fullmatch(r"j-rg-example\.com--[a-z2-7]{10}", label)


@pytest.mark.parametrize(
    ("argument", "sent"),
    [("$(HOME)", "$$(HOME)"), ("a$$b", "a$$$$b"), ("{connection_file}", "/run/enterprise-gateway/connection.json")],
)
def test_the_kernels_command_arrives_as_it_is_written(argument: str, sent: str) -> None:
    """Kubelet replaces `$(NAME)` by a variable and `$$` by `$`."""
    launch = {"argv": ("python", argument, "{kernel_id}", "{unknown}")}
    assert container(make_pod(make_plan(launch=launch)))["command"][2:] == ["python", sent, KERNEL, "{unknown}"]


@pytest.mark.parametrize(("shutdown_wait", "seconds"), [(5.0, 10), (0.2, 6), (30.0, 35)])
def test_a_pod_that_is_deleted_has_time_for_a_polite_shutdown(shutdown_wait: float, seconds: int) -> None:
    rules = AgentRules(start_timeout=60.0, shutdown_wait=shutdown_wait)
    assert make_pod(make_plan(launch={"rules": rules}))["spec"]["terminationGracePeriodSeconds"] == seconds


def test_the_agent_has_memory_for_the_replay_buffers_that_are_configured() -> None:
    mebibyte = 1024 * 1024
    rules = AgentRules(start_timeout=60.0, replay_bytes=256 * mebibyte, max_message=16 * mebibyte)
    agent = container(make_pod(make_plan(launch={"rules": rules})), "agent")
    assert agent["resources"]["limits"] == {"memory": f"{128 + 4 * 256 + 2 * 16}Mi"}


# The operator's template and patch.

TEMPLATE = """
kind: Pod
metadata:
  name: ours
  namespace: kube-system
  labels: {team: lab, app: something-else, kernel_id: x}
  annotations: {note: kept, cluster-autoscaler.kubernetes.io/safe-to-evict: "true"}
spec:
  restartPolicy: Always
  hostNetwork: true
  dnsPolicy: ClusterFirstWithHostNet
  serviceAccountName: pinned
  securityContext: {runAsUser: 4321, supplementalGroups: [7]}
  tolerations: [{key: notebooks, operator: Exists}]
  nodeSelector: {pool: notebooks}
  initContainers:
  - {name: fetch, image: fetch}
  containers:
  - name: "{{ kernel_pod_name }}"
    image: pinned:1
    command: ["/usr/local/bin/bootstrap-kernel.sh"]
    args: ["x"]
    env:
    - {name: KERNEL_ID, value: replaced}
    - {name: OURS, value: kept}
    volumeMounts:
    - {name: data, mountPath: /data, readOnly: true}
    resources: {limits: {memory: 1Gi, cpu: "1"}}
    securityContext: {capabilities: {add: [NET_BIND_SERVICE]}}
  - name: proxy
    image: proxy
  volumes:
  - name: data
    nfs: {server: files, path: /data}
"""


def test_what_an_operators_template_says_is_kept() -> None:
    pod = from_template(TEMPLATE)
    spec, kernel = pod["spec"], container(pod)
    assert [each["name"] for each in spec["containers"]] == ["kernel", "agent", "proxy"]
    assert spec["initContainers"] == [{"name": "fetch", "image": "fetch"}]
    assert spec["hostNetwork"] is True
    assert spec["serviceAccountName"] == "pinned"
    assert kernel["image"] == "pinned:1"
    assert {"name": "OURS", "value": "kept"} in kernel["env"]
    assert {"name": "data", "mountPath": "/data", "readOnly": True} in kernel["volumeMounts"]
    assert {"name": "data", "nfs": {"server": "files", "path": "/data"}} in spec["volumes"]
    assert kernel["resources"] == {"limits": {"memory": "1Gi", "cpu": "1"}}
    assert pod["metadata"]["labels"] == {"team": "lab"} | LABELS
    assert pod["metadata"]["annotations"]["note"] == "kept"
    assert pod["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "true"


def test_what_makes_it_a_kernels_pod_wins_over_a_template() -> None:
    plain, pod = make_pod(make_plan()), from_template(TEMPLATE)
    kernel = container(pod)
    assert pod["spec"]["restartPolicy"] == "Never"
    assert (pod["metadata"]["name"], pod["metadata"]["namespace"]) == (f"alice-{KERNEL}", "notebooks")
    assert kernel["command"] == container(plain)["command"]
    assert "args" not in kernel
    assert [each for each in kernel["env"] if each["name"] == "KERNEL_ID"] == [container(plain)["env"][0]]
    assert container(pod, "agent") == container(plain, "agent")
    assert all(each in pod["spec"]["volumes"] for each in plain["spec"]["volumes"])
    assert all(each in kernel["volumeMounts"] for each in container(plain)["volumeMounts"])


def test_a_template_adds_to_the_restrictions_and_takes_none_away_unsaid() -> None:
    pod = from_template(TEMPLATE)
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["securityContext"] == make_pod(make_plan())["spec"]["securityContext"] | {
        "runAsUser": 4321,
        "supplementalGroups": [7],
    }
    assert container(pod)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
    }


def test_what_a_client_asked_for_wins_over_a_template() -> None:
    volume = {"name": "home", "emptyDir": {}}
    pod = from_template(
        TEMPLATE,
        limits={"memory": "2Gi"},
        node_selector={"pool": "gpu"},
        tolerations=({"key": "gpu", "operator": "Exists"},),
        volumes=(volume,),
        working_dir="/home",
    )
    assert container(pod)["resources"] == {"limits": {"memory": "2Gi", "cpu": "1"}}
    assert container(pod)["workingDir"] == "/home"
    assert pod["spec"]["nodeSelector"] == {"pool": "gpu"}
    assert [each["key"] for each in pod["spec"]["tolerations"]] == ["notebooks", "gpu"]
    assert volume in pod["spec"]["volumes"]


def test_a_client_never_gets_the_token_of_an_account_it_did_not_ask_for() -> None:
    pod = from_template(TEMPLATE, service_account="lab", mount_token=True)
    assert pod["spec"]["serviceAccountName"] == "lab"


def test_an_empty_key_in_a_template_takes_nothing_away() -> None:
    text = "kind: Pod\nspec:\n  securityContext:\n  containers:\n  - image: x\n    securityContext:\n    resources:\n"
    pod = from_template(text)
    assert pod["spec"]["securityContext"] == make_pod(make_plan())["spec"]["securityContext"]
    assert container(pod)["securityContext"] == container(make_pod(make_plan()))["securityContext"]


@pytest.mark.parametrize(
    "security",
    [
        {"privileged": True},
        {"capabilities": {"add": ["SYS_ADMIN"]}},
        {"capabilities": {"add": ["CAP_SYS_ADMIN"]}},
    ],
)
def test_a_privileged_kernel_is_not_contradicted(security: dict[str, Any]) -> None:
    """The API server refuses such a container together with `allowPrivilegeEscalation: false`."""
    pod = patched({"containers": [{"name": "kernel", "securityContext": security}]})
    assert "allowPrivilegeEscalation" not in container(pod)["securityContext"]


@pytest.mark.parametrize(
    "spec",
    [
        {"securityContext": {"runAsUser": 0}},
        {"containers": [{"name": "kernel", "securityContext": {"runAsUser": 0}}]},
    ],
)
def test_a_kernel_that_is_root_by_its_operators_will_can_start(spec: dict[str, Any]) -> None:
    pod = patched(spec)
    assert "runAsNonRoot" not in pod["spec"]["securityContext"]
    assert container(pod, "agent")["securityContext"]["runAsNonRoot"] is True


def test_a_container_that_is_not_root_in_a_pod_that_is_stays_checked() -> None:
    container_security = {"containers": [{"name": "kernel", "securityContext": {"runAsUser": 7}}]}
    pod = patched({"securityContext": {"runAsUser": 0}} | container_security)
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True


def test_a_patch_is_laid_over_the_template_and_takes_out_what_is_null() -> None:
    template = read_template("kernel-pod.yaml", "kind: Pod\nspec: {dnsPolicy: None, containers: [{image: x}]}", {})
    patch = {
        "metadata": {"annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": None}},
        "spec": {
            "dnsPolicy": None,
            "runtimeClassName": "gvisor",
            "containers": [
                {"name": "kernel", "image": "y", "env": [{"name": "A", "value": "b"}]},
                {"name": "agent", "resources": {"limits": {"memory": None}}},
            ],
        },
    }
    pod = make_pod(make_plan(template=template, patch=patch))
    assert "dnsPolicy" not in pod["spec"]
    assert pod["spec"]["runtimeClassName"] == "gvisor"
    assert list(pod["metadata"]["annotations"]) == [RECORD_ANNOTATION]
    assert container(pod)["image"] == "y"
    assert container(pod)["env"][0] == {"name": "A", "value": "b"}
    assert container(pod, "agent")["resources"]["limits"] == {}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"patch": {"spec": {"containers": [{"image": "x"}]}}}, r"pod_patch in kernel spec 'python_k.*containers\[0\]"),
        ({"patch": {"spec": {"volumes": ["x"]}}}, r"pod_patch.*spec\.volumes\[0\]"),
        ({"patch": {"metadata": {"name": {}}}}, r"pod_patch of kernel spec 'python_kubernetes': metadata\.name"),
        ({"template": {"spec": {"containers": [{}, {"name": "kernel"}]}}}, "first container"),
        ({"template": {"spec": {"containers": [{"env": [{}]}]}}}, r"pod template.*containers\[0\]\.env\[0\]"),
    ],
)
def test_a_template_or_patch_of_another_shape_is_refused_by_its_place(change: dict[str, Any], told: str) -> None:
    with pytest.raises(StartFailed, match=told):
        make_pod(make_plan(**change))


SHAPES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["kernel", "agent", "x"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["name", "spec", "metadata", "containers", "env", "securityContext", "capabilities", "add", "volumes"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["spec", "metadata"]), SHAPES))
def test_no_patch_breaks_the_gateway_or_what_makes_it_a_kernels_pod(patch: dict[str, Any]) -> None:
    try:
        pod = make_pod(make_plan(patch=patch))
    except StartFailed:
        return
    assert pod["metadata"]["labels"] | LABELS == pod["metadata"]["labels"]
    assert pod["spec"]["restartPolicy"] == "Never"
    assert container(pod)["command"][:2] == ["/bin/sh", "/etc/enterprise-gateway/supervisor.sh"]


# The Secret.


def secret_of(plan: PodPlan) -> dict[str, str]:
    data: dict[str, str] = make_secret(plan, OWNER)["stringData"]
    return data


def test_the_secret_is_the_pods_and_named_after_the_kernel() -> None:
    secret = make_secret(make_plan(), OWNER)
    assert {name: value for name, value in secret.items() if name != "stringData"} == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": SECRET,
            "namespace": "notebooks",
            "labels": LABELS,
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": OWNER.name, "uid": OWNER.uid}],
        },
        "immutable": True,
        "type": "Opaque",
    }


def test_the_pod_finds_every_key_of_the_secret() -> None:
    plan = make_plan(launch={"env": {"A": "1", "b.c-d": "2", "_": ""}})
    shown = json.dumps(make_pod(plan))
    assert set(re.findall(r'"key": "([^"]+)"', shown)) == set(secret_of(plan))


def test_kernel_and_agent_agree_on_the_connection() -> None:
    plan = make_plan()
    data = secret_of(plan)
    connection = msgspec.json.decode(data["connection.json"], type=ConnectionInfo)
    config = msgspec.json.decode(data["agent.json"], type=PodAgentConfig)
    assert connection == config.agent.connection
    assert connection.ip == "127.0.0.1"
    assert len(set(connection.ports)) == 5
    assert connection.key == plan.launch.secrets.hmac_key.reveal()
    assert connection.kernel_name == "python_kubernetes"


def test_the_agent_is_told_its_kernels_rules_and_not_its_environment() -> None:
    rules = AgentRules(start_timeout=42.0)
    plan = make_plan(launch={"rules": rules, "interrupt_mode": "message", "env": {"PASSWORD": "correct horse"}})
    text = secret_of(plan)["agent.json"]
    config = msgspec.json.decode(text, type=PodAgentConfig)
    assert config.home == "10.0.0.7:8877"
    assert config.agent.rules == rules
    assert config.agent.kernel_id == KERNEL
    assert config.agent.token == plan.launch.secrets.token.reveal()
    assert config.agent.process.interrupt_mode == "message"
    assert config.agent.process.argv[0] == "python"
    assert "correct horse" not in text


def test_the_agents_identity_can_be_loaded(tmp_path: Path) -> None:
    file = tmp_path / "tls.pem"
    file.write_text(secret_of(make_plan())["tls.pem"])
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file)


def test_the_kernel_gets_the_supervisor_of_this_release() -> None:
    assert secret_of(make_plan())["supervisor.sh"] == read_supervisor()
    assert read_supervisor().startswith("#!/bin/sh\n")


@pytest.mark.parametrize("name", ["", "A B", "A=B", "1A", "É", "A\n", "x" * 250, "BASH_FUNC_f%%", "a/b"])
def test_a_variable_that_no_secret_can_hold_is_named(name: str) -> None:
    plan = make_plan(launch={"env": {name: "hidden value"}})
    for make in (make_pod, lambda plan: make_secret(plan, OWNER)):
        with pytest.raises(StartFailed, match="environment variable") as refused:
            make(plan)
        assert "hidden value" not in refused.value.message


@pytest.mark.parametrize("value", ["a\0b", "\ud800"])
def test_a_value_that_is_no_text_is_refused_by_its_name(value: str) -> None:
    with pytest.raises(StartFailed, match="'PATHS'"):
        make_pod(make_plan(launch={"env": {"PATHS": value}}))


def test_an_environment_too_long_for_a_secret_is_refused() -> None:
    plan = make_plan(launch={"env": {"A": "é" * (MAX_SECRET_BYTES // 2)}})
    with pytest.raises(StartFailed, match=f"at most {MAX_SECRET_BYTES}"):
        make_secret(plan, OWNER)
    fits = make_plan(launch={"env": {"A": "é" * (MAX_SECRET_BYTES // 2 - 8192)}})
    assert sum(len(value.encode()) for value in secret_of(fits).values()) <= MAX_SECRET_BYTES


@settings(deadline=None)
@given(st.dictionaries(st.from_regex(r"[A-Za-z_.-][A-Za-z0-9_.-]{0,20}", fullmatch=True), st.text()))
def test_every_variable_reaches_the_kernel_as_it_is(env: dict[str, str]) -> None:
    env = {name: value for name, value in env.items() if "\0" not in value}
    plan = make_plan(launch={"env": env})
    data = secret_of(plan)
    read = {each["name"]: data[each["valueFrom"]["secretKeyRef"]["key"]] for each in container(make_pod(plan))["env"]}
    assert read == env
    assert make_launch(env=env).env == env
