"""From a start to a plan for its pod: what the spec's argv means, which template counts, what the client may choose.

Reads the operator's template files, each time anew: they may be mounted and change. Decides nothing about the cluster.
"""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from enterprise_gateway.backends.base import Launch
from enterprise_gateway.backends.kubernetes.launcher import (
    REPORTING_ARGUMENTS,
    TEMPLATE_NAMES,
    KernelCommand,
    read_launch_command,
)
from enterprise_gateway.backends.kubernetes.names import pod_name
from enterprise_gateway.backends.kubernetes.parameters import ParameterDefaults, PodParameters, parse_parameters
from enterprise_gateway.backends.kubernetes.pod import PodPlan, read_supervisor
from enterprise_gateway.backends.kubernetes.policy import PodPolicy
from enterprise_gateway.backends.kubernetes.spark_submit import (
    ENTRYPOINT,
    SUBMITTERS_OWN,
    Submission,
    is_submission,
    make_submission,
)
from enterprise_gateway.backends.kubernetes.template import read_template, template_variables
from enterprise_gateway.core.launch import is_launch_command, render_argv
from enterprise_gateway.core.pods import CONNECTION_PATH
from enterprise_gateway.core.records import KernelRecord
from enterprise_gateway.errors import StartFailed

VOLUME_MOUNTS = "KERNEL_VOLUME_MOUNTS"


class PodSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator configured about all kernels' pods."""

    namespace: str
    """Where pods are unless somebody chooses."""
    namespaces: frozenset[str]
    """All that are watched."""
    agent_image: str
    kernel_image: str
    """Of kernels whose spec names none; may be empty."""
    service_account: str
    mirror_working_dirs: bool
    home: str
    """`host:port` at which a new pod reaches this replica."""
    api_server: str = "https://kubernetes.default.svc:443"
    """URL at which this replica reaches the API server, for programs that it runs."""
    program_env: dict[str, str] = {}
    """The least that such a program needs to know of this machine."""


class Planner:
    """Plans pods."""

    def __init__(self, settings: PodSettings, policy: PodPolicy) -> None:
        self._settings = settings
        self._policy = policy
        self._supervisor = read_supervisor()

    def plan(self, record: KernelRecord, launch: Launch) -> PodPlan:
        """What the pod and the Secret of a start are made of.

        Raises:
            InvalidRequest, Forbidden: a wish of the client's is malformed, or not for clients to choose.
            StartFailed: the kernel spec or its template is wrong.
        """
        command = _command(launch)
        submits = is_submission(launch.argv, launch.spec_env)
        launch = msgspec.structs.replace(launch, env=launch.env | (command.launcher or {}))
        source = _first_file(command.templates)
        patch = _patch(record, launch)
        volumes = _volume_names(patch)
        if source is not None and VOLUME_MOUNTS in launch.wishes:
            without = msgspec.structs.replace(
                launch, wishes={name: value for name, value in launch.wishes.items() if name != VOLUME_MOUNTS}
            )
            parameters = self._parameters(record, without, volumes)
            volumes |= _volume_names(self._template(record, without, parameters, source))
        parameters = self._parameters(record, launch, volumes)
        if parameters.namespace not in self._settings.namespaces:
            raise StartFailed(
                f"KERNEL_NAMESPACE of kernel spec {record.spec_name!r} is {parameters.namespace!r}, but this gateway "
                f"watches only {', '.join(sorted(self._settings.namespaces))} (EG_POD_POLICY)"
            )
        template = self._template(record, launch, parameters, source) if source else {}
        pod_name = self._pod_name(record, launch, parameters)
        decided = _decided(parameters, pod_name)
        submission = self._submission(launch, parameters, pod_name, decided) if submits else None
        env = {name: value for name, value in launch.env.items() if not submits or name not in SUBMITTERS_OWN}
        argv = command.argv if submits else command.as_in(template).argv
        return PodPlan(
            record=record,
            launch=msgspec.structs.replace(launch, argv=argv, env=env | decided),
            parameters=parameters,
            namespace=parameters.namespace,
            pod_name=pod_name,
            agent_image=self._settings.agent_image,
            supervisor=self._supervisor,
            home=self._settings.home,
            template=template,
            patch=patch,
            reports=command.launcher is not None,
            submission=submission,
        )

    def _submission(
        self, launch: Launch, parameters: PodParameters, pod_name: str, decided: dict[str, str]
    ) -> Submission:
        server = urlsplit(self._settings.api_server)
        address = {
            "KUBERNETES_SERVICE_HOST": f"[{server.hostname}]"
            if ":" in (server.hostname or "")
            else server.hostname or "",
            "KUBERNETES_SERVICE_PORT": str(server.port or 443),
        }
        return make_submission(
            launch,
            parameters,
            pod_name=pod_name,
            namespace=launch.namespace | REPORTING_ARGUMENTS | {"connection_file": CONNECTION_PATH},
            decided=decided | address,
            env=self._settings.program_env,
        )

    def _parameters(self, record: KernelRecord, launch: Launch, template_volumes: frozenset[str]) -> PodParameters:
        settings = self._settings
        defaults = ParameterDefaults(
            namespace=settings.namespace,
            service_account=settings.service_account,
            gateway_image=settings.kernel_image,
            spec_config=launch.config,
            spec_env=launch.spec_env,
            mirror_working_dirs=settings.mirror_working_dirs,
            template_volumes=template_volumes,
        )
        decided = {"KERNEL_USERNAME": record.username, "KERNEL_ID": record.kernel_id}
        return parse_parameters(launch.wishes | decided, self._policy, defaults)

    def _pod_name(self, record: KernelRecord, launch: Launch, parameters: PodParameters) -> str:
        return pod_name(record.username, record.kernel_id, parameters.pod_name, launch.env)

    def _template(
        self, record: KernelRecord, launch: Launch, parameters: PodParameters, source: Path
    ) -> dict[str, Any]:
        variables = template_variables(
            launch.env,
            parameters,
            pod_name=self._pod_name(record, launch, parameters),
            namespace=parameters.namespace,
            language=launch.language,
        )
        try:
            return read_template(source.name, source.read_text("utf-8"), variables)
        except (OSError, UnicodeDecodeError) as error:
            raise StartFailed(f"The pod template {source.name} cannot be read: {error}") from None

    def __repr__(self) -> str:
        return f"<Planner for namespace {self._settings.namespace}>"


def _command(launch: Launch) -> KernelCommand:
    """What runs in the kernel's container."""
    if not is_submission(launch.argv, launch.spec_env):
        return read_launch_command(launch.argv, launch.namespace, launch.language, launch.config)
    [script] = render_argv(launch.argv[:1], launch.namespace, launch.argv[0])
    folder = posixpath.join(posixpath.dirname(posixpath.dirname(script)), "scripts")
    templates = tuple(posixpath.join(folder, name) for name in TEMPLATE_NAMES)
    return KernelCommand((ENTRYPOINT,), templates, {} if is_launch_command(launch.argv) else None)


def _decided(parameters: PodParameters, pod_name: str) -> dict[str, str]:
    """What EG told a kernel about its pod."""
    account = parameters.service_account
    return {
        "KERNEL_IMAGE": parameters.image,
        "KERNEL_EXECUTOR_IMAGE": parameters.executor_image,
        "KERNEL_NAMESPACE": parameters.namespace,
        "KERNEL_POD_NAME": pod_name,
        "KERNEL_UID": str(parameters.uid),
        "KERNEL_GID": str(parameters.gid),
    } | ({"KERNEL_SERVICE_ACCOUNT_NAME": account} if account else {})


def _first_file(paths: tuple[str, ...]) -> Path | None:
    return next((path for path in map(Path, paths) if path.is_file()), None)


def _patch(record: KernelRecord, launch: Launch) -> dict[str, Any]:
    patch = launch.config.get("pod_patch") or {}
    if not isinstance(patch, dict):
        raise StartFailed(f"pod_patch in kernel spec {record.spec_name!r} must be an object, as a Pod is")
    return patch


def _volume_names(pod: dict[str, Any]) -> frozenset[str]:
    spec = pod.get("spec")
    volumes = spec.get("volumes") if isinstance(spec, dict) else None
    named = [each.get("name") for each in volumes if isinstance(each, dict)] if isinstance(volumes, list) else []
    return frozenset(name for name in named if isinstance(name, str))
