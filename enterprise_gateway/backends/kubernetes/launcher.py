"""What a kernel spec's argv means for a pod: the kernel's own command, or a launch command made for EG.

EG ran a script for each start, which made the pod from a template beside it. The stock one is recognised by its file
name, and what it would have done is done in this process: its template is used, and the kernel that its image would
have started is named as a command. Reads no file and runs nothing. Pure.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from enterprise_gateway.core.launch import render_argv
from enterprise_gateway.errors import StartFailed

STOCK_SCRIPT: Final = "launch_kubernetes.py"
TEMPLATE_NAMES: Final = ("kernel-pod.yaml.j2", "kernel-pod.yaml")
"""Templates as EG names them, today's and 2018's; they are in the script's folder."""

_LAUNCH_MARK = "{response_address}"
_PREFIX = "RemoteProcessProxy."
_INIT_MODE = "spark-context-initialization-mode"
_CLASS_NAME = "kernel-class-name"
_NO_SPARK = "no-spark-context"
_WITH_VALUE = frozenset({"kernel-id", "port-range", "response-address", "public-key", _INIT_MODE, _CLASS_NAME})
_FOR_SPARK_SUBMIT = frozenset({"pod-template", "spark-opts-out"})
_PYTHON = ("python3", "-m", "ipykernel_launcher", "-f", "{connection_file}")
_R = ("R", "--slave", "-e", "IRkernel::main()", "--args", "{connection_file}")
_INSTEAD = "Give argv the kernel's own command as it runs in the image, such as {} and leave the rest to the gateway"


class KernelCommand(NamedTuple):
    """How the kernel of a spec runs in a pod."""

    argv: tuple[str, ...]
    """The kernel's own command, with its `{names}`."""
    templates: tuple[str, ...] = ()
    """Paths where the operator's pod template may be; the first that exists counts, and none need."""


def read_launch_command(argv: Sequence[str], namespace: Mapping[str, str], language: str) -> KernelCommand:
    """Reads argv.

    Args:
        argv: of the kernel spec, as it stands.
        namespace: values for names in braces, such as `resource_dir`, that may be in the script's path.
        language: of the kernel spec.

    Raises:
        StartFailed: it is a launch command that cannot be done without; the message says what to write instead.
    """
    rendered = render_argv(argv, namespace, argv[0])
    for index, argument in enumerate(rendered):
        if posixpath.basename(argument) == STOCK_SCRIPT:
            options = _options(rendered[index + 1 :])
            folder = posixpath.dirname(argument)
            command = _own_command(language, options)
            return KernelCommand(command, tuple(posixpath.join(folder, name) for name in TEMPLATE_NAMES))
    if any(_LAUNCH_MARK in argument for argument in argv):
        raise StartFailed(
            f"argv of the kernel spec is a launch command ({argv[0]} … {_LAUNCH_MARK}), "
            f"which this gateway does not run for pods. {_instead(_PYTHON)}"
        )
    return KernelCommand(tuple(argv))


def _own_command(language: str, options: Mapping[str, str]) -> tuple[str, ...]:
    mode = options.get(_INIT_MODE) or "none"
    if mode != "none":
        raise StartFailed(
            f"argv of the kernel spec asks {STOCK_SCRIPT} for a Spark context ({_INIT_MODE} {mode}), which this "
            f"gateway does not make in pods. Set it to none, or: {_instead(_PYTHON)}"
        )
    class_name = options.get(_CLASS_NAME, "")
    match language.lower():
        case "python":
            return (*_PYTHON, f"--IPKernelApp.kernel_class={class_name}") if class_name else _PYTHON
        case "r":
            return _R
    raise StartFailed(
        f"argv of the kernel spec runs {STOCK_SCRIPT}, and the command of a kernel in language {language!r} is not "
        f"known here. {_instead(('COMMAND', '{connection_file}'))}"
    )


def _options(arguments: Sequence[str]) -> dict[str, str]:
    """The script's options by their name, without EG's older prefix; one that is there twice counts as the last."""
    options: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.removeprefix("--").removeprefix(_PREFIX).partition("=")
        if not argument.startswith("--"):
            continue  # 2018's connection file
        if name in _FOR_SPARK_SUBMIT:
            raise StartFailed(
                f"argv of the kernel spec has {STOCK_SCRIPT} write a template for spark-submit ({argument}), "
                f"which this gateway does not run for pods. {_instead(_PYTHON)}"
            )
        if name not in _WITH_VALUE and name != _NO_SPARK:
            raise StartFailed(f"argv of the kernel spec: {STOCK_SCRIPT} has no option {argument!r} that is known here")
        if not equals and name in _WITH_VALUE and rest and not rest[0].startswith("--"):
            value = rest.pop(0)
        options[name] = value
    return options


def _instead(command: Sequence[str]) -> str:
    shown = ", ".join(f'"{argument}"' for argument in command)
    return _INSTEAD.format(f"[{shown}],")
