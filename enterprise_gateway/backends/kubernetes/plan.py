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
    MadeBy,
    read_launch_command,
)
from enterprise_gateway.backends.kubernetes.names import pod_name
from enterprise_gateway.backends.kubernetes.parameters import ParameterDefaults, PodParameters, parse_parameters
from enterprise_gateway.backends.kubernetes.pod import PodPlan, read_supervisor
from enterprise_gateway.backends.kubernetes.policy import PodPolicy
from enterprise_gateway.backends.kubernetes.spark_application import (
    KIND,
    application_env,
    application_template,
    driver_pod,
    is_application,
    launch_variables,
    make_application,
    plain_application,
)
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
        resource = application_env(record.kernel_id) if command.made_by is MadeBy.SPARK_OPERATOR else {}
        launch = msgspec.structs.replace(launch, env=launch.env | (command.launcher or {}) | resource)
        source = _source(command)
        patch = _patch(record, launch)
        volumes = _volume_names(patch)
        if source is not None and VOLUME_MOUNTS in launch.wishes:
            without = msgspec.structs.replace(
                launch, wishes={name: value for name, value in launch.wishes.items() if name != VOLUME_MOUNTS}
            )
            parameters = self._parameters(record, without, volumes)
            volumes |= _volume_names(_pod(self._document(record, without, parameters, source)))
        parameters = self._parameters(record, launch, volumes)
        if parameters.namespace not in self._settings.namespaces:
            raise StartFailed(
                f"KERNEL_NAMESPACE of kernel spec {record.spec_name!r} is {parameters.namespace!r}, but this gateway "
                f"watches only {', '.join(sorted(self._settings.namespaces))} (EG_POD_POLICY)"
            )
        document = self._document(record, launch, parameters, source)
        return self._plan(record, launch, parameters, command, document, patch)

    def _plan(
        self,
        record: KernelRecord,
        launch: Launch,
        parameters: PodParameters,
        command: KernelCommand,
        document: dict[str, Any],
        patch: dict[str, Any],
    ) -> PodPlan:
        template, made_by = _pod(document), command.made_by
        applies = made_by is MadeBy.SPARK_OPERATOR
        if applies:
            parameters = _with_drivers_account(parameters, template)
        pod_name = self._pod_name(record, launch, parameters)
        decided = _decided(parameters, pod_name)
        by_gateway = made_by is MadeBy.GATEWAY
        env = {name: value for name, value in launch.env.items() if by_gateway or name not in SUBMITTERS_OWN}
        argv = command.as_in(template).argv if by_gateway else command.argv
        submits = made_by is MadeBy.SPARK_SUBMIT
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
            submission=self._submission(launch, parameters, pod_name, decided) if submits else None,
            application=make_application(document, launch, parameters) if applies else None,
        )

    def _submission(
        self, launch: Launch, parameters: PodParameters, pod_name: str, decided: dict[str, str]
    ) -> Submission:
        server = urlsplit(self._settings.api_server)
        host = server.hostname or ""
        address = {
            "KUBERNETES_SERVICE_HOST": f"[{host}]" if ":" in host else host,
            "KUBERNETES_SERVICE_PORT": str(server.port or 443),
        }
        return make_submission(
            launch,
            parameters,
            pod_name=pod_name,
            namespace=_names(launch),
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

    def _document(
        self, record: KernelRecord, launch: Launch, parameters: PodParameters, source: Path | None
    ) -> dict[str, Any]:
        """The operator's Pod, or the SparkApplication of which there will be one; empty if there is neither."""
        by_operator = is_application(launch.argv)
        if source is None:
            return plain_application(launch.argv, _names(launch), launch.language) if by_operator else {}
        variables = template_variables(
            launch.env,
            parameters,
            pod_name=self._pod_name(record, launch, parameters),
            namespace=parameters.namespace,
            language=launch.language,
        )
        if by_operator:
            variables |= launch_variables(launch.argv, launch.namespace)
        try:
            return read_template(source.name, source.read_text("utf-8"), variables, KIND if by_operator else "Pod")
        except (OSError, UnicodeDecodeError) as error:
            raise StartFailed(f"The template {source.name} cannot be read: {error}") from None

    def __repr__(self) -> str:
        return f"<Planner for namespace {self._settings.namespace}>"


def _command(launch: Launch) -> KernelCommand:
    """What runs in the kernel's container."""
    by_submit, by_operator = is_submission(launch.argv, launch.spec_env), is_application(launch.argv)
    if launch.custom_resource and not by_operator:
        raise StartFailed(
            "The kernel spec asks for a custom resource, so argv must be EG's launch_custom_resource.py, "
            "or a Spark application and its arguments: local:///…"
        )
    if not by_submit and not by_operator:
        return read_launch_command(launch.argv, launch.namespace, launch.language, launch.config)
    launcher: dict[str, str] | None = {} if is_launch_command(launch.argv) else None
    if by_submit:
        [script] = render_argv(launch.argv[:1], launch.namespace, launch.argv[0])
        folder = posixpath.join(posixpath.dirname(posixpath.dirname(script)), "scripts")
        templates = tuple(posixpath.join(folder, name) for name in TEMPLATE_NAMES)
        return KernelCommand((ENTRYPOINT,), templates, launcher, MadeBy.SPARK_SUBMIT)
    template = application_template(launch.argv, launch.namespace)
    return KernelCommand((ENTRYPOINT,), (template,) if template else (), launcher, MadeBy.SPARK_OPERATOR)


def _source(command: KernelCommand) -> Path | None:
    """The operator's template."""
    found = next((path for path in map(Path, command.templates) if path.is_file()), None)
    if found is None and command.templates and command.made_by is MadeBy.SPARK_OPERATOR:
        raise StartFailed(
            f"The kernel spec has no {command.templates[0]}: of custom resources, this gateway makes only "
            "SparkApplications, of that template"
        )
    return found


def _names(launch: Launch) -> dict[str, str]:
    """Values for names in braces."""
    return launch.namespace | REPORTING_ARGUMENTS | {"connection_file": CONNECTION_PATH}


def _pod(document: dict[str, Any]) -> dict[str, Any]:
    return driver_pod(document) if document.get("kind") == KIND else document


def _with_drivers_account(parameters: PodParameters, template: dict[str, Any]) -> PodParameters:
    """A driver can do nothing without a token, so an account that the operator wrote brings its own."""
    account = template["spec"].get("serviceAccountName")
    if not account or account == parameters.service_account:
        return parameters
    return msgspec.structs.replace(parameters, service_account=account, mount_token=True)


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
