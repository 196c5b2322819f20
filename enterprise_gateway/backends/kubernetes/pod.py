"""Builds a kernel's Pod and Secret.

A pod is made of layers (`merge`): what the gateway would write by itself, what the operator's template and patch say,
and what must be so or was asked for by the client within the policy. Secrets are in the Secret alone; the pod refers
to it by keys. Knows nothing of the API server, and reads no file. Pure.
"""

from __future__ import annotations

import importlib.resources
import math
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from enterprise_gateway.backends.base import Launch
from enterprise_gateway.backends.kubernetes.launcher import PUBLIC_KEY_VARIABLES
from enterprise_gateway.backends.kubernetes.merge import merge
from enterprise_gateway.backends.kubernetes.names import label_value
from enterprise_gateway.backends.kubernetes.objects import AGENT_CONTAINER, KERNEL_CONTAINER, Metadata
from enterprise_gateway.backends.kubernetes.own_volumes import agent_mounts, kernel_mounts, own_volumes
from enterprise_gateway.backends.kubernetes.parameters import PodParameters
from enterprise_gateway.backends.kubernetes.spark_application import SparkApplication
from enterprise_gateway.backends.kubernetes.spark_submit import Submission
from enterprise_gateway.backends.report_key import ReportKey
from enterprise_gateway.core import pods
from enterprise_gateway.core.agents import AgentConfig, AgentRules, KernelProcessConfig, LauncherConfig
from enterprise_gateway.core.launch import render_argv
from enterprise_gateway.core.records import LOOPBACK, ConnectionInfo, KernelRecord
from enterprise_gateway.core.tls import make_identity
from enterprise_gateway.errors import StartFailed

APP_LABEL: Final = "app"
APP: Final = "enterprise-gateway"
COMPONENT_LABEL: Final = "component"
COMPONENT: Final = "kernel"
KERNEL_ID_LABEL: Final = "kernel_id"
USERNAME_LABEL: Final = "kernel-username"
KEY_ID_LABEL: Final = "enterprise-gateway/key-id"
"""Names the master key that the kernel's secrets come from."""
RECORD_ANNOTATION: Final = "enterprise-gateway/record"
"""`KernelRecord` as JSON."""

MAX_SECRET_BYTES: Final = 1024 * 1024
"""What the API server takes as the values of one Secret."""
AGENT_UID: Final = 65532
"""Of no account in usual images, and not the kernel's default."""
SHARED_GID: Final = 100
"""The `users` group of Jupyter's images, to which a volume's files belong and the folder that both containers write."""

_SUPERVISOR_PATH = f"{pods.SECRET_FOLDER}/{pods.SUPERVISOR_FILE}"
_MEBIBYTE = 1024 * 1024
_AGENT_BASE_MEMORY = 128 * _MEBIBYTE
_FULL_RINGS = 4
_END_SECONDS = 5
"""What an agent may take for its last words after its kernel has been told to end."""

# What a Secret's key can spell, behind `env.`. Names with '-' and '.' reach the kernel where the image's sh lets them.
_ENV_NAME = re.compile(r"[A-Za-z_.-][A-Za-z0-9_.-]{0,248}")


class PodPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a kernel's Pod and Secret are made of."""

    record: KernelRecord
    launch: Launch
    """`env` is complete: nothing of the gateway's own PATH or HOME. `cwd` is a folder here and does not count."""
    parameters: PodParameters
    namespace: str
    pod_name: str
    agent_image: str
    supervisor: str
    """`read_supervisor()`."""
    home: str = ""
    """`host:port` of this replica, where the agent reports that it listens."""
    template: dict[str, Any] = {}
    """The operator's Pod as `template.read_template` gives it; container 0 is the kernel's."""
    patch: dict[str, Any] = {}
    """The kernel spec's `pod_patch`, laid over the template; its containers are called `kernel` and `agent`."""
    reports: bool = False
    """Whether `launch.argv` is a launcher's, which reports where its kernel listens; it needs a `report_key` then."""
    report_key: ReportKey | None = None
    submission: Submission | None = None
    """Given, Spark creates the pod, of which this is the template; `launch.argv` is what Spark adds its words to."""
    application: SparkApplication | None = None
    """Given, the Spark operator has Spark do so."""


def secret_name(kernel_id: str) -> str:
    """The kernel's Secret: one name for one kernel id, so two replicas cannot both start it."""
    return f"kernel-{kernel_id}"


def read_supervisor() -> str:
    """The script that runs a kernel in its container: package data, read once at the gateway's start."""
    return (importlib.resources.files(__package__) / pods.SUPERVISOR_FILE).read_text("utf-8")


def make_pod(plan: PodPlan) -> dict[str, Any]:
    """The body of the POST.

    Of what both the template and the parameters speak of, image, user ids and service account stay as the template
    has them (a literal there is a decision of the operator's, a variable is the parameter), the rest is the
    parameters'. A token that was asked for is always that of the account that was asked for.

    Raises:
        StartFailed: template or patch are not of a pod's shape; an environment variable cannot be passed.
    """
    name = repr(plan.record.spec_name)
    layers = (
        ("The gateway's defaults", _defaults(plan)),
        (f"The pod template of kernel spec {name}", _with_named_kernel(plan.template)),
        (f"pod_patch in kernel spec {name}", plan.patch),
        (f"Template and pod_patch of kernel spec {name}", _decided(plan)),
    )
    pod: dict[str, Any] = {}
    for whose, layer in layers:
        try:
            pod = merge(pod, layer)
        except ValueError as error:
            raise StartFailed(f"{whose}: {error}") from None
    return _consistent(pod)


def make_secret(plan: PodPlan, owner: Metadata) -> dict[str, Any]:
    """The body of the POST, after the pod's: what only the kernel's containers may read.

    Args:
        plan: the same that the pod was made from.
        owner: of the pod as the API server answered; the Secret is deleted with it.

    Raises:
        StartFailed: an environment variable cannot be passed, or all together are too long.
    """
    data = {
        pods.CONNECTION_FILE: msgspec.json.encode(_connection(plan)).decode(),
        pods.SUPERVISOR_FILE: plan.supervisor,
        pods.AGENT_FILE: msgspec.json.encode(_agent_config(plan)).decode(),
        pods.TLS_FILE: make_identity(plan.launch.secrets.tls_seed).decode(),
    } | {_env_key(name): value for name, value in _checked_env(plan).items()}
    size = sum(len(value.encode()) for value in data.values())
    if size > MAX_SECRET_BYTES:
        raise StartFailed(
            f"The kernel's environment is too long for a pod: {size} bytes with what the gateway adds, "
            f"at most {MAX_SECRET_BYTES} can be passed"
        )
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": secret_name(plan.record.kernel_id),
            "namespace": plan.namespace,
            "labels": _labels(plan),
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": owner.name, "uid": owner.uid}],
        },
        "immutable": True,  # kubelet reads it once and does not watch it
        "type": "Opaque",
        "stringData": data,
    }


def _defaults(plan: PodPlan) -> dict[str, Any]:
    """What an operator may change. Passes Pod Security `restricted`."""
    parameters = plan.parameters
    return {
        "metadata": {"annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": math.ceil(plan.launch.rules.shutdown_wait) + _END_SECONDS,
            "serviceAccountName": parameters.service_account or None,
            "securityContext": {
                "runAsUser": parameters.uid,
                "runAsGroup": parameters.gid,
                "fsGroup": SHARED_GID,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": KERNEL_CONTAINER,
                    "image": parameters.image,
                    "imagePullPolicy": "IfNotPresent",
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                },
                {
                    "name": AGENT_CONTAINER,
                    "resources": _agent_resources(plan.launch.rules),
                    "securityContext": {
                        "runAsUser": AGENT_UID,
                        "runAsNonRoot": True,
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                },
            ],
        },
    }


def _agent_resources(rules: AgentRules) -> dict[str, Any]:
    """Room for the agent's worst hour, so that only one that leaks is ever killed.

    That is itself, the rings of some front ends that are all away while the kernel prints, and one message of the
    largest size as it comes and as it goes on. No limit of cpu: a throttled agent is a slow kernel.
    """
    limit = _AGENT_BASE_MEMORY + _FULL_RINGS * rules.replay_bytes + 2 * rules.max_message
    return {
        "requests": {"cpu": "50m", "memory": "48Mi"},
        "limits": {"memory": f"{math.ceil(limit / _MEBIBYTE)}Mi"},
    }


def _with_named_kernel(template: Mapping[str, Any]) -> Mapping[str, Any]:
    """The template with container 0 called what the kernel's container is called here."""
    containers = template.get("spec", {}).get("containers")
    if not containers:
        return template
    first, *others = containers
    if any(each.get("name") == KERNEL_CONTAINER for each in others):
        raise StartFailed(
            f"A pod template's first container is the kernel's; no other may be called {KERNEL_CONTAINER!r}"
        )
    named = {**first, "name": KERNEL_CONTAINER}
    return {**template, "spec": {**template["spec"], "containers": [named, *others]}}


def _decided(plan: PodPlan) -> dict[str, Any]:
    """What holds whatever the operator wrote, and what the client asked for."""
    parameters = plan.parameters
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": plan.pod_name,
            "namespace": plan.namespace,
            "labels": _labels(plan),
            "annotations": {RECORD_ANNOTATION: msgspec.json.encode(plan.record).decode()},
        },
        "spec": {
            "restartPolicy": "Never",
            "containers": [_kernel_container(plan), _agent_container(plan)],
            "volumes": [
                *own_volumes(secret_name(plan.record.kernel_id), token=parameters.mount_token),
                *parameters.volumes,
            ],
        }
        | ({"nodeSelector": parameters.node_selector} if parameters.node_selector else {})
        | ({"tolerations": list(parameters.tolerations)} if parameters.tolerations else {})
        | ({"serviceAccountName": parameters.service_account} if parameters.mount_token else {})
        | ({"priorityClassName": parameters.priority_class} if parameters.priority_class else {}),
    }


def _labels(plan: PodPlan) -> dict[str, str]:
    return {
        APP_LABEL: APP,
        COMPONENT_LABEL: COMPONENT,
        KERNEL_ID_LABEL: plan.record.kernel_id,
        USERNAME_LABEL: label_value(plan.record.username),
        KEY_ID_LABEL: plan.record.key_id,
    }


def _kernel_container(plan: PodPlan) -> dict[str, Any]:
    parameters = plan.parameters
    sizes = {"requests": parameters.requests, "limits": parameters.limits}
    return {
        "name": KERNEL_CONTAINER,
        # kubelet replaces $(NAME) and halves $$ in commands; the kernel's must arrive as it is written.
        "command": [*_supervisor(plan), *(argument.replace("$", "$$") for argument in _argv(plan))],
        "args": None,
        "env": [_env_entry(plan, name) for name in _checked_env(plan)],
        "resources": {kind: amounts for kind, amounts in sizes.items() if amounts},
        "volumeMounts": [*kernel_mounts(token=parameters.mount_token), *parameters.volume_mounts],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    } | ({"workingDir": parameters.working_dir} if parameters.working_dir else {})


def _supervisor(plan: PodPlan) -> list[str]:
    # A launcher reports once, and the agent's container may be the later one.
    return ["/bin/sh", _SUPERVISOR_PATH, *(["--wait"] if plan.reports else [])]


def _agent_container(plan: PodPlan) -> dict[str, Any]:
    address = {"fieldRef": {"fieldPath": "status.podIP"}}
    return {
        "name": AGENT_CONTAINER,
        "image": plan.agent_image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-m", "enterprise_gateway.agent"],
        "env": [
            {"name": pods.POD_IP_VARIABLE, "valueFrom": address},
            {"name": pods.POD_NAME_VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
        "ports": [{"name": "agent", "containerPort": pods.AGENT_PORT, "protocol": "TCP"}],
        "volumeMounts": agent_mounts(),
        "terminationMessagePath": pods.TERMINATION_LOG,
        "terminationMessagePolicy": "File",
    }


def _consistent(pod: dict[str, Any]) -> dict[str, Any]:
    """Defaults taken back where they contradict what the operator wrote: the API server or kubelet would refuse."""
    spec = pod["spec"]
    kernel, *others = spec["containers"]
    security = dict(kernel.get("securityContext", {}))
    added = str(security.get("capabilities", {}).get("add"))
    if security.get("privileged") or "SYS_ADMIN" in added:
        security.pop("allowPrivilegeEscalation", None)
    pod_security = dict(spec.get("securityContext", {}))
    if security.get("runAsUser", pod_security.get("runAsUser")) != 0:
        pod_security = {"runAsNonRoot": True} | pod_security
    containers = [kernel | {"securityContext": security}, *others]
    return pod | {"spec": spec | {"securityContext": pod_security, "containers": containers}}


def _env_key(name: str) -> str:
    return f"env.{name}"


def _env_entry(plan: PodPlan, name: str) -> dict[str, Any]:
    source = {"name": secret_name(plan.record.kernel_id), "key": _env_key(name)}
    return {"name": name, "valueFrom": {"secretKeyRef": source}}


def _checked_env(plan: PodPlan) -> dict[str, str]:
    """The kernel's environment.

    Raises:
        StartFailed: a name or a value cannot be passed; the message never quotes the value.
    """
    env = plan.launch.env | (dict.fromkeys(PUBLIC_KEY_VARIABLES, plan.report_key.public) if plan.report_key else {})
    for name, value in env.items():
        if not _ENV_NAME.fullmatch(name):
            raise StartFailed(
                f"The environment variable {name[:64]!r} cannot be passed to a pod: "
                "a name is letters, digits, '_', '-' and '.', no digit first, 249 at most"
            )
        if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value):
            raise StartFailed(f"The value of the environment variable {name!r} is not valid text")
    return env


def _argv(plan: PodPlan) -> list[str]:
    launch = plan.launch
    # `python` is the image's: the gateway's own interpreter is not there.
    return render_argv(launch.argv, launch.namespace | {"connection_file": pods.CONNECTION_PATH}, launch.argv[0])


def _connection(plan: PodPlan) -> ConnectionInfo:
    shell, iopub, stdin, control, heartbeat = pods.KERNEL_PORTS
    return ConnectionInfo(
        shell_port=shell,
        iopub_port=iopub,
        stdin_port=stdin,
        control_port=control,
        hb_port=heartbeat,
        key=plan.launch.secrets.hmac_key.reveal(),
        kernel_name=plan.record.spec_name,
    )


def _agent_config(plan: PodPlan) -> pods.PodAgentConfig:
    launch = plan.launch
    # Its environment is the other container's; only how to interrupt it is the agent's business.
    env = {name: launch.env[name] for name in ("EG_ALTERNATE_SIGINT",) if name in launch.env}
    process = KernelProcessConfig(argv=_argv(plan), env=env, cwd="", interrupt_mode=launch.interrupt_mode)
    return pods.PodAgentConfig(
        agent=AgentConfig(
            kernel_id=plan.record.kernel_id,
            token=launch.secrets.token.reveal(),
            connection=_connection(plan),
            process=process,
            # The cluster knows this pod, so no kernel in one is ever an orphan.
            rules=replace(launch.rules, cull=replace(launch.rules.cull, orphan_timeout=0.0)),
            launcher=_launcher(plan.report_key) if plan.report_key else None,
        ),
        home=plan.home,
        pod_name=plan.pod_name,
    )


def _launcher(key: ReportKey) -> LauncherConfig:
    return LauncherConfig(private_key=key.private.reveal(), host=LOOPBACK, port=pods.RESPONSE_PORT)
