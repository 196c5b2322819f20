"""What a kernel spec's argv means for a pod: the kernel's own command, or a launch command made for EG.

EG ran a script for each start, which made the pod from a template beside it. The stock one is recognised by its file
name, and what it would have done is done in this process: its template is used, and the kernel that its image would
have started is named as a command. Where that is not all that the image's launcher does, the command is the launcher,
and the variables that it reads are named. Reads no file and runs nothing. Pure.
"""

from __future__ import annotations

import enum
import posixpath
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from enterprise_gateway.core import pods
from enterprise_gateway.core.launch import is_launch_command, render_argv
from enterprise_gateway.core.records import LOOPBACK
from enterprise_gateway.errors import StartFailed

STOCK_SCRIPT: Final = "launch_kubernetes.py"
TEMPLATE_NAMES: Final = ("kernel-pod.yaml.j2", "kernel-pod.yaml")
"""Templates as EG names them, today's and 2018's; they are in the script's folder."""
BOOTSTRAP: Final = "/usr/local/bin/bootstrap-kernel.sh"
"""What an image made for EG runs; it starts the launcher of `KERNEL_LANGUAGE`."""

PUBLIC_KEY_VARIABLES: Final = ("PUBLIC_KEY", "EG_PUBLIC_KEY")
"""Where a launcher finds what it seals its report with; the second name is the one that older images read."""

_RESPONSE_ADDRESS = f"{LOOPBACK}:{pods.RESPONSE_PORT}"
_ANY_PORT = "0..0"  # nobody outside of the pod connects to them
_REPORTING: Final = {
    "RESPONSE_ADDRESS": _RESPONSE_ADDRESS,
    "EG_RESPONSE_ADDRESS": _RESPONSE_ADDRESS,
    "PORT_RANGE": _ANY_PORT,
    "EG_PORT_RANGE": _ANY_PORT,
}
REPORTING_ARGUMENTS: Final = {"response_address": _RESPONSE_ADDRESS, "port_range": _ANY_PORT}
"""Values for the names in braces that a launcher's arguments have."""
_PREFIX = "RemoteProcessProxy."
INIT_MODE: Final = "spark-context-initialization-mode"
CLASS_NAME: Final = "kernel-class-name"
_NO_SPARK = "no-spark-context"
_NOT_NEEDED = frozenset({"kernel-id", "port-range", "response-address", "public-key", "transport-encryption"})
_WITH_VALUE = _NOT_NEEDED | {INIT_MODE, CLASS_NAME}
_FOR_SPARK_SUBMIT = frozenset({"pod-template", "spark-opts-out"})
_PYTHON = ("python3", "-m", "ipykernel_launcher", "-f", "{connection_file}")
_R = ("R", "--slave", "-e", "IRkernel::main()", "--args", "{connection_file}")
_INSTEAD = "Give argv the kernel's own command as it runs in the image, such as {} and leave the rest to the gateway"


class MadeBy(enum.Enum):
    """Who creates the pod."""

    GATEWAY = enum.auto()
    SPARK_SUBMIT = enum.auto()
    SPARK_OPERATOR = enum.auto()


class KernelCommand(NamedTuple):
    """How the kernel of a spec runs in a pod."""

    argv: tuple[str, ...]
    """The kernel's own command, with its `{names}`, or a launcher's."""
    templates: tuple[str, ...] = ()
    """Paths where the operator's template may be; the first that exists counts, and a pod's need not."""
    launcher: dict[str, str] | None = None
    """Of a launcher's, which reports where its kernel listens: variables for it, but for the key. None of others."""
    made_by: MadeBy = MadeBy.GATEWAY

    def as_in(self, template: Mapping[str, Any]) -> KernelCommand:
        """With the path that the template gives for the launcher, if it does: some images have it elsewhere."""
        match template:
            case {"spec": {"containers": [{"command": [str(path), *_]}, *_]}}:
                if self.launcher is not None and _is_bootstrap(path):
                    return self._replace(argv=(path,))
        return self


def read_launch_command(
    argv: Sequence[str], namespace: Mapping[str, str], language: str, config: Mapping[str, Any]
) -> KernelCommand:
    """Reads argv.

    Args:
        argv: of the kernel spec, as it stands.
        namespace: values for names in braces, such as `resource_dir`, that may be in the script's path.
        language: of the kernel spec.
        config: of the kernel spec's stanza: with `launcher` the image's own launcher is used whether needed or not.

    Raises:
        StartFailed: it is a launch command that cannot be done without; the message says what to write instead.
    """
    wanted = config.get("launcher", False)
    if not isinstance(wanted, bool):
        raise StartFailed("config.launcher of the kernel spec must be true or false")
    rendered = render_argv(argv, namespace, argv[0])
    for index, argument in enumerate(rendered):
        if posixpath.basename(argument) == STOCK_SCRIPT:
            options = read_options(STOCK_SCRIPT, rendered[index + 1 :])
            folder = posixpath.dirname(argument)
            templates = tuple(posixpath.join(folder, name) for name in TEMPLATE_NAMES)
            command = None if wanted else _own_command(language, options)
            if command is not None:
                return KernelCommand(command, templates)
            spec_name = posixpath.basename(posixpath.dirname(folder))
            return KernelCommand((BOOTSTRAP,), templates, _REPORTING | _stock_variables(options, spec_name))
    if is_launch_command(argv):
        raise StartFailed(
            f"argv of the kernel spec is a launch command ({argv[0]} … {{response_address}}), "
            f"and what it starts could have no agent in its pod. {_instead(_PYTHON)}, "
            "or leave process_proxy out, which has the command run beside the gateway"
        )
    return KernelCommand(tuple(argv), launcher=_REPORTING if wanted or _is_bootstrap(argv[0]) else None)


def _stock_variables(options: Mapping[str, str], spec_name: str) -> dict[str, str]:
    """What the script would have told the launcher, beside what every kernel is told."""
    class_name = options.get(CLASS_NAME)
    return (
        {"KERNEL_SPARK_CONTEXT_INIT_MODE": _init_mode(options)}
        | ({"KERNEL_CLASS_NAME": class_name} if class_name else {})
        | ({"KERNEL_NAME": spec_name} if spec_name else {})
    )


def _init_mode(options: Mapping[str, str]) -> str:
    return options.get(INIT_MODE) or "none"


def _is_bootstrap(path: str) -> bool:
    return posixpath.basename(path) == posixpath.basename(BOOTSTRAP)


def _own_command(language: str, options: Mapping[str, str]) -> tuple[str, ...] | None:
    """What the image's launcher would run, without it; None when only the launcher can."""
    if _init_mode(options) != "none":
        return None
    class_name = options.get(CLASS_NAME, "")
    match language.lower():
        case "python":
            return (*_PYTHON, f"--IPKernelApp.kernel_class={class_name}") if class_name else _PYTHON
        case "r":
            return _R
    return None


def read_options(script: str, arguments: Sequence[str]) -> dict[str, str]:
    """The script's options by their name, without EG's older prefix; one that is there twice counts as the last.

    Raises:
        StartFailed: one is not known here.
    """
    options: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.removeprefix("--").removeprefix(_PREFIX).partition("=")
        if not argument.startswith("--"):
            continue  # 2018's connection file
        if name in _FOR_SPARK_SUBMIT:
            raise StartFailed(
                f"argv of the kernel spec has {script} write a template for spark-submit ({argument}), "
                f"which this gateway does not run for pods. {_instead(_PYTHON)}"
            )
        if name not in _WITH_VALUE and name != _NO_SPARK:
            raise StartFailed(f"argv of the kernel spec: {script} has no option {argument!r} that is known here")
        if not equals and name in _WITH_VALUE and rest and not rest[0].startswith("--"):
            value = rest.pop(0)
        options[name] = value
    return options


def _instead(command: Sequence[str]) -> str:
    shown = ", ".join(f'"{argument}"' for argument in command)
    return _INSTEAD.format(f"[{shown}],")
