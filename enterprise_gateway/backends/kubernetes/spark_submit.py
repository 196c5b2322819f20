"""A kernel spec that has spark-submit make the kernel's pod: Spark's cluster mode, as EG used it.

The pod that the gateway would have created is given to Spark as the template of the driver's pod, so a driver has the
agent, the labels, the record and everything the policy decided, as any other kernel's pod. argv is either spark-submit
with its options, or the `run.sh` of EG's kernel specs, whose part is done here: its `SPARK_OPTS` and `LAUNCH_OPTS` are
split into words first, and values are put into words afterwards, so that no value becomes an option. No shell sees any.

spark-submit runs with the gateway's rights and files. So of what clients write, `KERNEL_EXTRA_SPARK_OPTS`, the options
that are taken concern the driver and its executors alone. Pure. Source for the options: `spark-submit --help`, and
"Running Spark on Kubernetes" of its documentation.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from enterprise_gateway.backends.base import Launch
from enterprise_gateway.backends.kubernetes.objects import KERNEL_CONTAINER
from enterprise_gateway.backends.kubernetes.parameters import PodParameters
from enterprise_gateway.backends.kubernetes.quantities import parse_quantity
from enterprise_gateway.core.launch import render_argv
from enterprise_gateway.errors import Forbidden, StartFailed

ENTRYPOINT: Final = "/opt/entrypoint.sh"
"""What images made for Spark on Kubernetes run in a driver's and in an executor's pod."""
DRIVER_FILE: Final = "driver.json"
EXECUTOR_FILE: Final = "executor.json"
EXTRA_OPTIONS: Final = "KERNEL_EXTRA_SPARK_OPTS"
SUBMITTERS_OWN: Final = frozenset({"SPARK_HOME", "SPARK_OPTS", "LAUNCH_OPTS", "SPARK_CONF_DIR", "JAVA_HOME"})
"""Variables of a kernel spec that are about spark-submit's side, and would be wrong in the driver."""
EXECUTOR_POD: Final[dict[str, Any]] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "spec": {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "executor",
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
    },
}
"""What executors have beside what Spark gives them; passes Pod Security `restricted`."""

_PROGRAM = "spark-submit"
_RUN_SCRIPT = "run.sh"
_LAUNCHERS = "local:///usr/local/bin/kernel-launchers"
_APPLICATIONS: Final = {
    "python": f"{_LAUNCHERS}/python/scripts/launch_ipykernel.py",
    "r": f"{_LAUNCHERS}/R/scripts/launch_IRkernel.R",
}
"""By the kernel spec's language: what EG's `run.sh` submits."""
_FLAGS = frozenset({"--verbose", "-v", "--supervise"})
_SHORT = {"-c": "--conf"}
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_LAUNCHER_NEEDS = {"kernel-id": "{kernel_id}", "public-key": "{public_key}"}

_CLIENTS_OPTIONS: Final = {
    "--driver-java-options": "spark.driver.extraJavaOptions",
    "--executor-cores": "spark.executor.cores",
    "--executor-memory": "spark.executor.memory",
    "--files": "spark.files",
    "--jars": "spark.jars",
    "--num-executors": "spark.executor.instances",
    "--py-files": "spark.submit.pyFiles",
}
"""Options that clients may give, by the setting that each stands for."""
_CLIENTS_KUBERNETES: Final = frozenset(
    {"spark.kubernetes.executor.request.cores", "spark.kubernetes.executor.limit.cores"}
)
_OPERATORS: Final = {
    "spark.driver.memory": "ask for KERNEL_MEMORY",
    "spark.driver.cores": "ask for KERNEL_CPUS",
    "spark.driver.resource.": "ask for KERNEL_GPUS",
} | dict.fromkeys(
    (
        *("spark.kubernetes.", "spark.kerberos.", "spark.submit.", "spark.yarn.", "spark.jars.ivy"),
        *("spark.jars.packages", "spark.jars.repositories", "spark.master", "spark.app.name"),
    ),
    "this is the kernel spec's",
)
"""Beginnings of settings that are not for clients, and what is."""
_FILES: Final = frozenset({"spark.files", "spark.jars", "spark.submit.pyFiles", "spark.archives"})
_MEBIBYTE = 1024 * 1024
_LEAST_BESIDE_JVM = 384
_BESIDE_JVM = 0.4
"""Of a driver's memory: what is not the JVM's heap, such as Python's. Spark's own figures for such drivers."""
_LOCATION = re.compile(r"(?!file:)[a-z][a-z0-9+.-]*:", re.IGNORECASE)


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """spark-submit's words, but for the names of files that are written when it runs."""

    program: str
    options: tuple[str, ...]
    application: tuple[str, ...]
    """What runs in the driver, and its arguments."""
    env: dict[str, str]
    """spark-submit's own environment."""

    def argv(self, folder: str, public_key: str) -> list[str]:
        """The command.

        Args:
            folder: where `DRIVER_FILE` and `EXECUTOR_FILE` are.
            public_key: of the launcher that the driver runs; empty if it runs none.
        """
        files = {
            "spark.kubernetes.driver.podTemplateFile": posixpath.join(folder, DRIVER_FILE),
            "spark.kubernetes.executor.podTemplateFile": posixpath.join(folder, EXECUTOR_FILE),
        }
        application = [word.replace("{public_key}", public_key) for word in self.application]
        return [self.program, *self.options, *_confs(files), *application]


def is_submission(argv: Sequence[str], spec_env: Mapping[str, str]) -> bool:
    """Whether a kernel spec has Spark make the pod."""
    name = posixpath.basename(argv[0])
    return name == _PROGRAM or (name == _RUN_SCRIPT and "k8s://" in spec_env.get("SPARK_OPTS", ""))


def make_submission(
    launch: Launch,
    parameters: PodParameters,
    *,
    pod_name: str,
    namespace: Mapping[str, str],
    decided: Mapping[str, str],
    env: Mapping[str, str],
) -> Submission:
    """The spark-submit of a kernel spec.

    Args:
        launch: of the start; its `wishes` are the client's.
        parameters: what the policy made of them.
        pod_name: of the driver.
        namespace: values for names in braces, but for `public_key`.
        decided: values for `${NAME}` that count before those of the environment.
        env: the least that a program needs on this machine.

    Raises:
        Forbidden: the client asks for an option that is not for clients.
        StartFailed: the kernel spec's words are no spark-submit in cluster mode.
    """
    values = {**launch.env, **decided}
    words = _words(launch, values)
    program, options, application = _split(words)
    _check_mode(options)
    filled = [render_argv([word], namespace, word)[0] for word in application]
    settings = _settings(parameters, pod_name, values["KERNEL_ID"], decided)
    return Submission(
        program=program,
        options=(
            *_confs({"spark.kubernetes.authenticate.executor.serviceAccountName": "default"}),
            *options,
            *settings,
        ),
        application=tuple(filled),
        env=dict(env) | {name: launch.env[name] for name in launch.spec_env if not name.startswith("KERNEL_")},
    )


def extra_settings(launch: Launch) -> dict[str, str]:
    """`KERNEL_EXTRA_SPARK_OPTS` as Spark's settings, for those who have no command line.

    Raises:
        Forbidden: the client asks for an option that is not for clients.
        StartFailed: the kernel spec has options that are no settings.
    """
    settings: dict[str, str] = {}
    for name, given in _pairs(_extra_options(launch, launch.env.get(EXTRA_OPTIONS, ""))):
        setting, _, value = given.partition("=") if name == "--conf" else (_CLIENTS_OPTIONS.get(name, ""), "", given)
        if not setting:
            raise StartFailed(f"{EXTRA_OPTIONS} of the kernel spec: {name!r} has to be written as --conf here")
        settings[setting] = value
    return settings


def failure_in_words(output: str) -> str:
    """What spark-submit's output says of its end: the API server's words where it has them, else the last cause."""
    if told := re.findall(r"Message: (.+?)\.? Received status:", output):
        return str(told[-1])
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    causes = [line for line in lines if re.match(r"Caused by:|Exception in thread|Error:|.*[\w.]Exception:", line)]
    return next(reversed(causes or lines), "it said nothing")


def _words(launch: Launch, values: Mapping[str, str]) -> list[str]:
    """The command with its variables filled in: a value never becomes several words, but for the extra options."""
    filled: list[str] = []
    for word in _spec_words(launch):
        match = _VARIABLE.fullmatch(word)
        if match is not None and EXTRA_OPTIONS in match.groups():
            filled += _extra_options(launch, values.get(EXTRA_OPTIONS, ""))
        elif (text := _VARIABLE.sub(lambda found: values.get(found[1] or found[2], ""), word)) or word == "":
            filled.append(text)
    return filled


def _spec_words(launch: Launch) -> list[str]:
    home = launch.spec_env.get("SPARK_HOME", "")
    program = posixpath.join(home, "bin", _PROGRAM) if home else _PROGRAM
    first, *rest = launch.argv
    if posixpath.basename(first) == _PROGRAM:
        return [first if "/" in first else program, *rest]
    application = _APPLICATIONS.get(launch.language.lower())
    if application is None:
        raise StartFailed(
            f"What run.sh submits for {launch.language} is not known here: "
            "give argv of the kernel spec as it runs spark-submit, with all of its words"
        )
    options = _split_text("SPARK_OPTS", launch.spec_env.get("SPARK_OPTS", ""))
    arguments = _split_text("LAUNCH_OPTS", launch.spec_env.get("LAUNCH_OPTS", ""))
    return [program, *options, application, *arguments, *_launcher_options(rest)]


def _launcher_options(words: Sequence[str]) -> list[str]:
    """With what launchers need today and 2018's did without, and without 2018's connection file."""
    options = [word for word in words if word != "{connection_file}"]
    mark = next((word for word in options if word.endswith("response-address")), "")
    prefix = mark.removesuffix("response-address")
    for name, value in _LAUNCHER_NEEDS.items():
        if mark and f"{prefix}{name}" not in options:
            options += [f"{prefix}{name}", value]
    return options


def _extra_options(launch: Launch, text: str) -> list[str]:
    words = _split_text(EXTRA_OPTIONS, text)
    if EXTRA_OPTIONS in launch.wishes:
        _check_clients(words)
    return words


def _split_text(name: str, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise StartFailed(f"{name} cannot be split into words: {error}") from None


def _split(words: Sequence[str]) -> tuple[str, list[str], list[str]]:
    """Program, options, and the application with its arguments."""
    program, *rest = words
    options: list[str] = []
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        options.append(word)
        if word not in _FLAGS and "=" not in word and rest:
            options.append(rest.pop(0))
    if not rest:
        raise StartFailed("The kernel spec's spark-submit names no application to run in the driver")
    return program, options, rest


def _check_mode(options: Sequence[str]) -> None:
    given = dict(_pairs(options))
    if given.get("--deploy-mode") != "cluster" or not given.get("--master", "").startswith("k8s://"):
        raise StartFailed(
            "A kernel spec's spark-submit must have --deploy-mode cluster and --master k8s://…; "
            "for client mode give argv the kernel's own command, which then runs in a pod that is the driver"
        )


def _pairs(options: Sequence[str]) -> list[tuple[str, str]]:
    """Each option with its value; the value of one that is alone is empty."""
    found: list[tuple[str, str]] = []
    rest = list(options)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        name = _SHORT.get(name, name)
        if not equals and name not in _FLAGS and rest:
            value = rest.pop(0)
        found.append((name, value))
    return found


def _check_clients(words: Sequence[str]) -> None:
    for name, given in _pairs(words):
        if not name.startswith("--"):
            raise Forbidden(f"{EXTRA_OPTIONS}: {name!r} is no option of spark-submit")
        if name == "--conf":
            setting, _, value = given.partition("=")
        elif name in _CLIENTS_OPTIONS:
            setting, value = _CLIENTS_OPTIONS[name], given
        else:
            raise Forbidden(
                f"{EXTRA_OPTIONS}: {name} is not for clients; they may give --conf and {', '.join(_CLIENTS_OPTIONS)}"
            )
        if not given:  # it would take the kernel spec's next word
            raise Forbidden(f"{EXTRA_OPTIONS}: {name} needs a value")
        if why := _refusal(setting, value):
            raise Forbidden(f"{EXTRA_OPTIONS}: {setting}: {why}")


def _refusal(setting: str, value: str) -> str:
    """Why a client may not have a setting; empty if it may."""
    if setting in _FILES:
        # spark-submit would read them where it runs: beside the gateway.
        local = [path for path in value.split(",") if not _LOCATION.match(path)]
        return f"{local[0]!r} must begin with where it is, such as local: or https:" if local else ""
    if setting in _CLIENTS_KUBERNETES:
        return ""
    if not setting.startswith("spark."):
        return "settings begin with 'spark.'"
    return next((why for prefix, why in _OPERATORS.items() if setting.startswith(prefix)), "")


def _settings(parameters: PodParameters, pod_name: str, kernel_id: str, decided: Mapping[str, str]) -> Iterable[str]:
    """What holds whatever the kernel spec says: the last word about a setting counts."""
    driver = "spark.kubernetes.driver"
    executor = "spark.kubernetes.executor"
    settings = {
        "spark.kubernetes.namespace": parameters.namespace,
        "spark.kubernetes.submission.waitAppCompletion": "false",
        f"{driver}.pod.name": pod_name,
        f"{driver}.podTemplateContainerName": KERNEL_CONTAINER,
        f"{driver}.container.image": parameters.image,
        f"{executor}.container.image": decided["KERNEL_EXECUTOR_IMAGE"],
        f"{executor}.label.app": "enterprise-gateway",
        f"{executor}.label.component": "worker",
        f"{executor}.label.kernel_id": kernel_id,
    }
    if parameters.service_account:
        settings["spark.kubernetes.authenticate.driver.serviceAccountName"] = parameters.service_account
    for kind, amounts in (("request", parameters.requests), ("limit", parameters.limits)):
        if "cpu" in amounts:
            settings[f"{driver}.{kind}.cores"] = amounts["cpu"]
    if memory := driver_memory(parameters):
        settings["spark.driver.memory"], settings["spark.driver.memoryOverhead"] = memory
    return _confs(settings)


def driver_memory(parameters: PodParameters) -> tuple[str, str] | None:
    """What was asked for, as the JVM's heap and what is beside it; None if nothing was.

    Spark asks for the sum of the two, and limits the driver to it.
    """
    wanted = parameters.limits.get("memory") or parameters.requests.get("memory")
    if not wanted:
        return None
    whole = int(parse_quantity(wanted).value) // _MEBIBYTE
    beside = max(_LEAST_BESIDE_JVM, int(whole * _BESIDE_JVM))
    return f"{whole - beside}m", f"{beside}m"


def _confs(settings: Mapping[str, str]) -> list[str]:
    return [word for name, value in settings.items() for word in ("--conf", f"{name}={value}")]
