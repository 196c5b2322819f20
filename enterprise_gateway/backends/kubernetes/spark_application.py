"""A kernel spec that has the Spark operator make the kernel's pod: the SparkApplication that it makes it of.

The pod that the gateway would have created is the template of the driver's pod in it, as with spark-submit
(`spark_submit`), which the operator runs. argv is either EG's `launch_custom_resource.py`, which is not run: the
template beside it is the resource; or it is the application itself and its arguments, and the resource is a plain one.

The operator's webhook adds what Spark has no setting for to pods that have no template. This one has, so what the
resource says of the driver's pod goes into that pod here. Pure. Source: the operator's API reference for
`sparkoperator.k8s.io/v1beta2`, and what its controller makes of it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from enterprise_gateway.backends.base import Launch
from enterprise_gateway.backends.kubernetes.launcher import (
    CLASS_NAME,
    INIT_MODE,
    REPORTING_ARGUMENTS,
    read_options,
)
from enterprise_gateway.backends.kubernetes.merge import merge
from enterprise_gateway.backends.kubernetes.objects import DRIVER_CONTAINER
from enterprise_gateway.backends.kubernetes.parameters import PodParameters
from enterprise_gateway.backends.kubernetes.paths import APPLICATIONS, OPERATOR_GROUP, OPERATOR_VERSION
from enterprise_gateway.backends.kubernetes.spark_submit import EXECUTOR_POD, driver_memory, extra_settings
from enterprise_gateway.core.launch import render_argv
from enterprise_gateway.errors import StartFailed

KIND: Final = "SparkApplication"
TEMPLATE_NAME: Final = f"{OPERATOR_GROUP}-{OPERATOR_VERSION}.yaml.j2"
"""As EG names it; it is in the script's folder."""

_SCRIPT = "launch_custom_resource.py"
_LOCAL = "local://"
_TYPES: Final = {"python": "Python", "r": "R", "scala": "Scala", "java": "Java"}
"""By the kernel spec's language."""
_LEAST_VERSION: Final = "3.0.0"
"""Of Spark: templates of pods came with it. The operator compares it, and runs the Spark that it has."""
_PUBLIC_KEY: Final = "{public_key}"
"""Where a key belongs that is not made yet."""
_ORPHAN_SECONDS: Final = 86400
"""After which the operator deletes what has ended and belongs to no pod: a start that nobody saw to its end."""
_CLASS: Final = "ipykernel.ipkernel.IPythonKernel"

_IN_CONTAINER: Final = ("env", "envFrom", "securityContext", "lifecycle")
_IN_POD: Final = (
    *("affinity", "tolerations", "nodeSelector", "schedulerName", "priorityClassName", "runtimeClassName"),
    *("hostNetwork", "hostAliases", "dnsConfig", "shareProcessNamespace", "terminationGracePeriodSeconds"),
    "initContainers",
)
_FOR_WEBHOOK: Final = frozenset(
    {*_IN_CONTAINER, *_IN_POD, "volumeMounts", "podSecurityContext", "sidecars", "configMaps", "gpu", "ports"}
)
"""What the operator's webhook adds to a pod of an executor that has no template."""
_NOT_TAKEN: Final = ("driver.configMaps", "driver.gpu", "driver.ports", "hadoopConfigMap", "monitoring")
_LOCAL_DIRECTORIES = "spark-local-dir-"
"""How volumes begin that Spark itself mounts."""
_CONF_VOLUME, _CONF_FOLDER = "spark-configmap-volume", "/etc/spark/conf"

_PLAIN: Final[dict[str, Any]] = {
    "sparkConf": {
        "spark.authenticate": "true",
        "spark.dynamicAllocation.enabled": "true",
        "spark.dynamicAllocation.shuffleTracking.enabled": "true",
        "spark.dynamicAllocation.shuffleTracking.timeout": "300s",
        "spark.dynamicAllocation.executorIdleTimeout": "60s",
        "spark.dynamicAllocation.minExecutors": "0",
        "spark.dynamicAllocation.maxExecutors": "4",
        "spark.executor.maxNumFailures": "1000000",
        "spark.ui.showConsoleProgress": "false",
    },
    "imagePullPolicy": "IfNotPresent",
    "driver": {},
    "executor": {"instances": 2},
}
"""A notebook's: two executors to begin with, none when it is idle."""

_FIELDS: Final = {
    "spark.driver.extraJavaOptions": ("driver", "javaOptions"),
    "spark.executor.extraJavaOptions": ("executor", "javaOptions"),
    "spark.executor.cores": ("executor", "cores"),
    "spark.executor.instances": ("executor", "instances"),
    "spark.executor.memory": ("executor", "memory"),
    "spark.executor.memoryOverhead": ("executor", "memoryOverhead"),
    "spark.kubernetes.executor.request.cores": ("executor", "coreRequest"),
    "spark.kubernetes.executor.limit.cores": ("executor", "coreLimit"),
    "spark.dynamicAllocation.initialExecutors": ("dynamicAllocation", "initialExecutors"),
    "spark.dynamicAllocation.minExecutors": ("dynamicAllocation", "minExecutors"),
    "spark.dynamicAllocation.maxExecutors": ("dynamicAllocation", "maxExecutors"),
}
"""Where a resource may have said what a setting says; its word would count."""


class SparkApplication(msgspec.Struct, frozen=True, kw_only=True):
    """A resource, but for the driver's pod and its key."""

    body: dict[str, Any]

    def resource(self, pod: Mapping[str, Any], public_key: str) -> dict[str, Any]:
        """The body of the POST.

        Args:
            pod: the kernel's, as the gateway would have created it.
            public_key: of the launcher that the driver runs; empty if it runs none.

        Raises:
            StartFailed: what the kernel spec's template says is not of a SparkApplication's shape.
        """
        metadata, spec = pod["metadata"], pod["spec"]
        kernel, *others = spec["containers"]
        own = {name: metadata["labels"][name] for name in ("app", "kernel_id")}
        decided = {
            # The operator gives these to drivers and executors alike.
            "metadata": {"namespace": metadata["namespace"], "labels": own, "annotations": metadata["annotations"]},
            "spec": {
                "driver": {
                    "podName": metadata["name"],
                    "image": kernel["image"],
                    "serviceAccount": spec.get("serviceAccountName"),
                    "labels": metadata["labels"],
                    "template": {
                        "metadata": metadata,
                        "spec": {**spec, "containers": [{**kernel, "name": DRIVER_CONTAINER}, *others]},
                    },
                },
                "executor": {"labels": own | {"component": "worker"}},
            },
        }
        return _merged(_with_key(self.body, public_key), decided)


def is_application(argv: Sequence[str]) -> bool:
    """Whether a kernel spec has the Spark operator make the pod."""
    return argv[0].startswith(_LOCAL) or any(posixpath.basename(word) == _SCRIPT for word in argv)


def application_template(argv: Sequence[str], namespace: Mapping[str, str]) -> str:
    """The path of the resource's template; empty if argv is the application itself."""
    script = next((word for word in render_argv(argv, namespace, argv[0]) if posixpath.basename(word) == _SCRIPT), "")
    return posixpath.join(posixpath.dirname(script), TEMPLATE_NAME) if script else ""


def application_env(kernel_id: str) -> dict[str, str]:
    """What EG told a kernel about its resource."""
    return {
        "KERNEL_RESOURCE_NAME": f"kernel-{kernel_id}",
        "KERNEL_CRD_GROUP": OPERATOR_GROUP,
        "KERNEL_CRD_VERSION": OPERATOR_VERSION,
        "KERNEL_CRD_PLURAL": APPLICATIONS,
    }


def launch_variables(argv: Sequence[str], namespace: Mapping[str, str]) -> dict[str, str]:
    """What the script told its template beside the kernel's variables, by EG's names and gateway_provisioners'.

    Raises:
        StartFailed: it is called with an option that is not known here.
    """
    rendered = render_argv(argv, namespace, argv[0])
    index = next((index for index, word in enumerate(rendered) if posixpath.basename(word) == _SCRIPT), None)
    if index is None:
        return {}
    options = read_options(_SCRIPT, rendered[index + 1 :])
    reporting = REPORTING_ARGUMENTS | {"public_key": _PUBLIC_KEY}
    spec_folder = posixpath.dirname(posixpath.dirname(rendered[index]))
    return (
        reporting
        | {f"eg_{name}": value for name, value in reporting.items()}
        | {
            "kernel_name": posixpath.basename(spec_folder),
            "kernel_class_name": options.get(CLASS_NAME) or _CLASS,
            "spark_context_initialization_mode": options.get(INIT_MODE) or "none",
            "transport_encryption": "",
        }
    )


def plain_application(argv: Sequence[str], namespace: Mapping[str, str], language: str) -> dict[str, Any]:
    """The resource of a kernel spec whose argv is the application and its arguments.

    Raises:
        StartFailed: Spark has no applications in that language.
    """
    kind = _TYPES.get(language.lower())
    if kind is None:
        raise StartFailed(
            f"A SparkApplication is in {', '.join(_TYPES.values())}; the kernel spec's language is {language}"
        )
    file, *arguments = render_argv(argv, {**namespace, "public_key": _PUBLIC_KEY}, argv[0])
    return {"kind": KIND, "spec": _PLAIN | {"type": kind, "mainApplicationFile": file, "arguments": arguments}}


def driver_pod(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a resource says of its driver's pod, as the template of a Pod; the kernel's container is the first.

    Raises:
        StartFailed: it says something that only the operator's webhook could do, or is not of a pod's shape.
    """
    spec = document["spec"]
    _refuse_webhooks_own(spec)
    driver = spec.get("driver", {})
    container = {name: driver[name] for name in _IN_CONTAINER if name in driver}
    pod = {name: driver[name] for name in _IN_POD if name in driver}
    mounts = [each for each in _named(driver, "volumeMounts") if not _is_local(each)]
    mounted = {each["name"] for each in mounts}
    volumes = [each for each in _named(spec, "volumes") if each["name"] in mounted]
    if config := spec.get("sparkConfigMap"):
        volumes.append({"name": _CONF_VOLUME, "configMap": {"name": config}})
        mounts.append({"name": _CONF_VOLUME, "mountPath": _CONF_FOLDER, "readOnly": True})
        container["env"] = [*_named(driver, "env"), {"name": "SPARK_CONF_DIR", "value": _CONF_FOLDER}]
    container |= {
        "name": DRIVER_CONTAINER,
        "image": driver.get("image") or spec.get("image"),
        "volumeMounts": mounts,
    }
    pod |= {
        "containers": [container, *_named(driver, "sidecars")],
        "volumes": volumes,
        "securityContext": driver.get("podSecurityContext", {}),
        "serviceAccountName": driver.get("serviceAccount") or None,
    }
    made = _merged(driver.get("template", {}), {"spec": pod})
    made["spec"]["containers"].sort(key=lambda each: each["name"] != DRIVER_CONTAINER)
    return made


def make_application(document: Mapping[str, Any], launch: Launch, parameters: PodParameters) -> SparkApplication:
    """The resource of a start.

    Args:
        document: the operator's, its template filled in, or a plain one.
        launch: of the start; its `wishes` are the client's.
        parameters: what the policy made of them.

    Raises:
        Forbidden: the client asks for an option that is not for clients.
        StartFailed: the kernel spec's options are no settings, or its template is not of the right shape.
    """
    spec = dict(document["spec"])
    settings = extra_settings(launch)
    executor = dict(spec.get("executor", {}))
    if not executor.keys() & (_FOR_WEBHOOK | {"template"}) and "sparkConfigMap" not in spec:
        executor["template"] = {"spec": EXECUTOR_POD["spec"]}
    spec |= {"driver": _without_pod(spec.get("driver", {})), "executor": executor}
    for section, field in (_FIELDS[name] for name in settings if name in _FIELDS):
        if field in spec.get(section, {}):
            spec[section] = {name: value for name, value in spec[section].items() if name != field}
    defaults = {
        "timeToLiveSeconds": _ORPHAN_SECONDS,
        "executor": {"image": parameters.executor_image},
        "sparkConf": {"spark.kubernetes.authenticate.executor.serviceAccountName": "default"},
    }
    decided = {
        "mode": "cluster",
        "restartPolicy": {"type": "Never"},
        "sparkVersion": _version(spec.get("sparkVersion", "")),
        "sparkConf": settings | {"spark.kubernetes.namespace": parameters.namespace},
        "driver": _sizes(parameters),
    }
    resource = {
        "apiVersion": f"{OPERATOR_GROUP}/{OPERATOR_VERSION}",
        "kind": KIND,
        "metadata": {"name": launch.env["KERNEL_RESOURCE_NAME"]},
        "spec": _merged(_merged(defaults, spec), decided),
    }
    return SparkApplication(body=_merged({**document, "spec": {}}, resource))


def _refuse_webhooks_own(spec: Mapping[str, Any]) -> None:
    for path in _NOT_TAKEN:
        section, _, field = path.rpartition(".")
        if field in (spec.get(section, {}) if section else spec):
            raise StartFailed(
                f"{TEMPLATE_NAME}: spec.{path} is done by the Spark operator's webhook, which leaves this driver's pod "
                "alone because it has a template: write it into spec.driver.template"
            )


def _without_pod(driver: Mapping[str, Any]) -> dict[str, Any]:
    """A driver without what `driver_pod` has made of it."""
    kept = {name: value for name, value in driver.items() if name not in _FOR_WEBHOOK | {"template"}}
    mounts = [each for each in _named(driver, "volumeMounts") if _is_local(each)]
    return kept | ({"volumeMounts": mounts} if mounts else {})


def _named(part: Mapping[str, Any], field: str) -> list[dict[str, Any]]:
    """A list of things with names."""
    found = part.get(field, [])
    if not isinstance(found, list) or not all(isinstance(each, dict) and "name" in each for each in found):
        raise StartFailed(f"{TEMPLATE_NAME}: {field} must be a list of mappings with a 'name'")
    return found


def _is_local(mount: Mapping[str, Any]) -> bool:
    return str(mount["name"]).startswith(_LOCAL_DIRECTORIES)


def _sizes(parameters: PodParameters) -> dict[str, Any]:
    """The driver's, where they were asked for; then nothing that the resource says of them counts."""
    cpus = {"coreRequest": parameters.requests.get("cpu"), "coreLimit": parameters.limits.get("cpu")}
    memory = driver_memory(parameters)
    return (cpus if any(cpus.values()) else {}) | (
        {"memory": memory[0], "memoryOverhead": memory[1]} if memory is not None else {}
    )


def _version(given: Any) -> str:
    major = re.match(r"\d+", str(given))
    return str(given) if major is not None and int(major[0]) >= int(_LEAST_VERSION[0]) else _LEAST_VERSION


def _with_key(value: Any, public_key: str) -> Any:
    match value:
        case dict():
            return {name: _with_key(below, public_key) for name, below in value.items()}
        case list():
            return [_with_key(below, public_key) for below in value]
        case str():
            return value.replace(_PUBLIC_KEY, public_key)
    return value


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return merge(base, over)
    except ValueError as error:
        raise StartFailed(f"{TEMPLATE_NAME}: {error}") from None
