"""What a start means for a pod, with the operator's files and the client's wishes; no wish becomes structure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from backend_parts import settings
from plan_parts import HOSTILE, plan
from pod_parts import KERNEL, KEYS, make_launch, make_record

from enterprise_gateway.backends.kubernetes.objects import Metadata
from enterprise_gateway.backends.kubernetes.plan import Planner
from enterprise_gateway.backends.kubernetes.pod import make_pod, make_secret
from enterprise_gateway.backends.kubernetes.policy import PodPolicy, parse_policy
from enterprise_gateway.errors import Forbidden, GatewayError, StartFailed

STOCK = ("python", "{resource_dir}/scripts/launch_kubernetes.py", "--RemoteProcessProxy.kernel-id", "{kernel_id}")
TEMPLATE = """\
kind: Pod
spec:
  containers:
  - name: any
    image: $docker_image
    env:
    - {name: OWNER, value: $kernel_username}
  volumes:
  - {name: home, emptyDir: {}}
"""


def pod_from(**about: Any) -> dict[str, Any]:
    return make_pod(plan(**about))


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A kernel spec's folder, with stock EG's launch script and a template beside it."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "launch_kubernetes.py").write_text("raise SystemExit('nobody runs this')")
    (tmp_path / "scripts" / "kernel-pod.yaml").write_text(TEMPLATE)
    return tmp_path


def volumes(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return pod["spec"]["volumes"]


def test_a_specs_own_command_and_image_are_the_kernels() -> None:
    made = plan(config={"image_name": "example/kernel:2"})
    assert made.launch.argv == ("python", "-f", "{connection_file}")
    assert (made.namespace, made.parameters.image, made.template) == ("notebooks", "example/kernel:2", {})
    assert made.pod_name == f"alice-{KERNEL}"
    assert made.home == "127.0.0.1:1"


def test_the_template_beside_the_launch_script_counts(spec: Path) -> None:
    made = plan(STOCK, folder=spec)
    assert made.launch.argv[:3] == ("python3", "-m", "ipykernel_launcher")
    pod = make_pod(made)
    kernel = pod["spec"]["containers"][0]
    assert kernel["image"] == "localhost/kernel:1"
    assert {"name": "OWNER", "value": "alice"} in kernel["env"]
    assert "home" in [each["name"] for each in volumes(pod)]


def test_todays_template_counts_before_that_of_2018(spec: Path) -> None:
    (spec / "scripts" / "kernel-pod.yaml.j2").write_text(TEMPLATE.replace("home", "today").replace("$", ""))
    assert "today" in [each["name"] for each in volumes(pod_from(argv=STOCK, folder=spec))]


def test_a_changed_template_counts_from_the_next_start_on(spec: Path) -> None:
    pod_from(argv=STOCK, folder=spec)
    (spec / "scripts" / "kernel-pod.yaml").write_text(TEMPLATE.replace("home", "later"))
    assert "later" in [each["name"] for each in volumes(pod_from(argv=STOCK, folder=spec))]


def test_a_launch_script_without_a_template_makes_the_plain_pod(tmp_path: Path) -> None:
    made = plan(STOCK, folder=tmp_path)
    assert made.template == {}
    assert make_pod(made)["spec"]["containers"][0]["image"] == "localhost/kernel:1"


LAZY = (*STOCK, "--spark-context-initialization-mode", "lazy")


def test_an_own_command_reports_nothing(spec: Path) -> None:
    for argv in (STOCK, ("python", "-f", "{connection_file}")):
        made = plan(argv, folder=spec)
        assert not made.reports
        assert "RESPONSE_ADDRESS" not in made.launch.env


def test_a_launcher_is_told_what_it_reads_whatever_others_say(spec: Path) -> None:
    made = plan(
        LAZY,
        folder=spec,
        spec_env={"PORT_RANGE": "1..2", "LAB": "7"},
        client={"KERNEL_SPARK_CONTEXT_INIT_MODE": "none"},
    )
    assert made.reports
    assert made.launch.argv == ("/usr/local/bin/bootstrap-kernel.sh",)
    told = {
        name: made.launch.env[name] for name in ("RESPONSE_ADDRESS", "PORT_RANGE", "KERNEL_SPARK_CONTEXT_INIT_MODE")
    }
    assert told == {
        "RESPONSE_ADDRESS": "127.0.0.1:8877",
        "PORT_RANGE": "0..0",
        "KERNEL_SPARK_CONTEXT_INIT_MODE": "lazy",
    }
    assert (made.launch.env["KERNEL_LANGUAGE"], made.launch.env["KERNEL_ID"]) == ("python", KERNEL)
    assert made.launch.env["LAB"] == "7"
    assert "PATH" not in made.launch.env


def test_what_one_launcher_is_told_is_told_to_no_other_kernel(spec: Path) -> None:
    assert (
        plan((*LAZY, "--kernel-class-name", "lab.Kernel"), folder=spec).launch.env["KERNEL_CLASS_NAME"] == "lab.Kernel"
    )
    assert "KERNEL_CLASS_NAME" not in plan(LAZY, folder=spec).launch.env


def test_the_launcher_is_where_the_template_has_it_and_the_template_may_name_what_it_is_told(spec: Path) -> None:
    template = TEMPLATE.replace("name: any", "name: any\n    command: [/lab/bootstrap-kernel.sh]").replace(
        "$kernel_username", "$kernel_spark_context_init_mode"
    )
    (spec / "scripts" / "kernel-pod.yaml").write_text(template)
    made = plan(LAZY, folder=spec)
    assert made.launch.argv == ("/lab/bootstrap-kernel.sh",)
    kernel = make_pod(made)["spec"]["containers"][0]
    assert kernel["command"][2:] == ["--wait", "/lab/bootstrap-kernel.sh"]
    assert {"name": "OWNER", "value": "lazy"} in kernel["env"]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"kind: [", b"- a\n- b\n", b"kind: Secret\n"])
def test_a_broken_template_ends_the_start_and_is_named(spec: Path, content: bytes) -> None:
    (spec / "scripts" / "kernel-pod.yaml").write_bytes(content)
    with pytest.raises(StartFailed, match=r"kernel-pod\.yaml"):
        plan(STOCK, folder=spec)


def test_a_pod_patch_has_the_last_word_but_for_what_must_be(spec: Path) -> None:
    patch = {
        "metadata": {"labels": {"team": "a", "kernel_id": "another"}},
        "spec": {
            "restartPolicy": "Always",
            "nodeSelector": {"disk": "fast"},
            "containers": [{"name": "kernel", "imagePullPolicy": "Always"}],
        },
    }
    pod = pod_from(argv=STOCK, folder=spec, config={"pod_patch": patch})
    assert pod["metadata"]["labels"]["team"] == "a"
    assert pod["metadata"]["labels"]["kernel_id"] == KERNEL
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["nodeSelector"] == {"disk": "fast"}
    assert pod["spec"]["containers"][0]["imagePullPolicy"] == "Always"


@pytest.mark.parametrize("patch", ["spec: {}", [1], 7])
def test_a_patch_that_is_no_object_ends_the_start(patch: object) -> None:
    with pytest.raises(StartFailed, match="pod_patch in kernel spec 'python_kubernetes' must be an object"):
        plan(config={"pod_patch": patch})


@pytest.mark.parametrize("patch", [{"spec": 7}, {"spec": {"volumes": 7}}, {"spec": {"containers": ["x"]}}])
def test_a_patch_of_another_shape_ends_the_start(patch: dict[str, Any]) -> None:
    with pytest.raises(StartFailed, match="pod_patch"):
        pod_from(config={"pod_patch": patch})


@pytest.mark.parametrize("where", ["template", "patch"])
def test_a_client_mounts_what_the_operator_put_into_the_pod_if_the_policy_lets_it(spec: Path, where: str) -> None:
    mounts = {"KERNEL_VOLUME_MOUNTS": "[{name: home, mountPath: /home/alice}]"}
    config = {"pod_patch": {"spec": {"volumes": [{"name": "home", "emptyDir": {}}]}}} if where == "patch" else {}
    argv = STOCK if where == "template" else ("python", "-f", "{connection_file}")
    with pytest.raises(Forbidden, match="volume 'home' is the operator's"):
        plan(argv, folder=spec, config=config, client=mounts)
    pod = pod_from(argv=argv, folder=spec, config=config, client=mounts, policy=parse_policy("volumes: [template]"))
    mounted = {each["name"]: each["mountPath"] for each in pod["spec"]["containers"][0]["volumeMounts"]}
    assert mounted["home"] == "/home/alice"


@pytest.mark.parametrize("username", HOSTILE)
def test_a_user_name_in_the_specs_volumes_never_becomes_structure(username: str) -> None:
    """The operator mounts a folder for each user; the client says who it is."""
    spec_env = {
        "KERNEL_VOLUMES": "[{name: data, hostPath: {path: '/srv/users/${KERNEL_USERNAME}'}}]",
        "KERNEL_VOLUME_MOUNTS": "[{name: data, mountPath: /data}]",
    }
    try:
        pod = pod_from(spec_env=spec_env, username=username)
    except StartFailed:
        return
    (host,) = [each for each in volumes(pod) if "hostPath" in each]
    assert host == {"name": "data", "hostPath": {"path": f"/srv/users/{username}"}}
    assert username not in ("", ".", "..")
    assert "/" not in username


@pytest.mark.parametrize("username", [HOSTILE[0], "..", "a/b", ""])
def test_a_user_name_that_leaves_its_folder_ends_the_start(username: str) -> None:
    spec_env = {"KERNEL_VOLUMES": "[{name: data, hostPath: {path: '/srv/users/${KERNEL_USERNAME}'}}]"}
    with pytest.raises(StartFailed):
        plan(spec_env=spec_env, username=username)


@pytest.mark.parametrize("username", HOSTILE)
@pytest.mark.parametrize("kind", ["kernel-pod.yaml", "kernel-pod.yaml.j2"])
def test_a_user_name_in_a_template_is_text(spec: Path, username: str, kind: str) -> None:
    dollars = (
        TEMPLATE
        if kind.endswith("yaml")
        else TEMPLATE.replace("$docker_image", "'{{ kernel_image }}'").replace(
            "$kernel_username", "'{{ kernel_username }}'"
        )
    )
    (spec / "scripts" / kind).write_text(dollars)
    try:
        pod = pod_from(argv=STOCK, folder=spec, username=username)
    except GatewayError:
        return
    assert {"name": "OWNER", "value": username} in pod["spec"]["containers"][0]["env"]
    assert [each for each in volumes(pod) if "hostPath" in each] == []


def test_what_a_client_may_not_choose_ends_in_nothing() -> None:
    policy = parse_policy("image: deny")
    with pytest.raises(Forbidden, match="KERNEL_IMAGE"):
        plan(client={"KERNEL_IMAGE": "evil/miner:1"}, policy=policy)


def test_a_clients_kernel_id_and_name_are_the_gateways_to_decide() -> None:
    made = plan(client={"KERNEL_ID": "another", "KERNEL_USERNAME": "root"}, username="alice")
    assert made.pod_name == f"alice-{KERNEL}"
    secret = make_secret(made, Metadata(name=made.pod_name, uid="u"))
    assert secret["stringData"]["env.KERNEL_USERNAME"] == "alice"
    assert secret["metadata"]["name"] == f"kernel-{KERNEL}"


def test_a_specs_volumes_are_those_of_the_user_that_the_gateway_decided_on() -> None:
    spec_env = {"KERNEL_VOLUMES": "[{name: data, hostPath: {path: '/srv/users/${KERNEL_USERNAME}'}}]"}
    pod = pod_from(spec_env=spec_env, client={"KERNEL_USERNAME": "root"}, username="alice")
    assert {"name": "data", "hostPath": {"path": "/srv/users/alice"}} in volumes(pod)


def test_no_secret_is_in_the_pod() -> None:
    made = plan(client={"KERNEL_PASSWORD_OF_DB": "hunter2"})
    text = json.dumps(make_pod(made))
    secrets = KEYS.secrets(KEYS.newest_id, KERNEL)
    for secret in ("hunter2", *(each.reveal() for each in (secrets.token, secrets.hmac_key, secrets.tls_seed))):
        assert secret not in text


def test_a_custom_resource_of_an_ordinary_command_is_refused_with_what_to_write() -> None:
    launch = make_launch(custom_resource=True)
    with pytest.raises(StartFailed, match=r"custom resource, so argv must be .*local:///"):
        Planner(settings("notebooks"), PodPolicy()).plan(make_record(), launch)
