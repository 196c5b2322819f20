"""Operators' templates: `kernel-pod.yaml` with `$name`, as in 2018, and today's `kernel-pod.yaml.j2` and others.

A template is its operator's and trusted; the values put into it are a client's and are not. A value takes the place of
a text or of a part of it, and nothing else. Reads no file. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from enterprise_gateway.backends.kubernetes.jinja import render
from enterprise_gateway.backends.kubernetes.parameters import GPU, PodParameters
from enterprise_gateway.backends.kubernetes.template_yaml import LEFT_OUT, CannotFill, Fill, read_object
from enterprise_gateway.core.pods import CONNECTION_PATH

Variables: TypeAlias = Mapping[str, Any]
"""By lower-case name: texts; whole numbers (`kernel_uid`, `kernel_gid`); lists (`kernel_volumes` and its mounts)."""

_KERNEL = "kernel_"
_DOLLAR = re.compile(r"(?<!\$)\$(?:([a-z_][a-z0-9_]*)|\{([a-z_][a-z0-9_]*)\})")
_SIZES = {"cpus": "cpu", "memory": "memory", "gpus": GPU}
_TYPED = frozenset(
    {
        *(f"kernel_{size}{suffix}" for size in _SIZES for suffix in ("", "_limit")),
        *("kernel_volumes", "kernel_volume_mounts", "kernel_working_dir"),
    }
)
"""Names whose raw text in the environment is never used: they are there when `PodParameters` has them."""


def read_template(name: str, text: str, variables: Variables, kind: str = "Pod") -> dict[str, Any]:
    """The Pod that a template describes, or an object of another kind.

    In `$name` (or `${name}`) templates a text that is nothing but a `kernel_…` name without a value is left out with
    its key; other unknown names stay as they are, since they may be a shell's.

    Args:
        name: the template's file name: `.j2` at its end means Jinja2. Errors are about this name.
        text: what is in it.
        variables: `template_variables`.
        kind: of the object.

    Raises:
        StartFailed: it is broken, or not one such object; names the line.
    """
    if name.endswith(".j2"):
        rendering = render(name, text, variables)
        return read_object(f"{name} (as rendered)", rendering.text, rendering.fill, kind)
    return read_object(name, text, _dollar_fill(variables), kind)


def template_variables(
    env: Mapping[str, str], parameters: PodParameters, *, pod_name: str, namespace: str, language: str
) -> dict[str, Any]:
    """What templates may refer to: every `KERNEL_*` variable in lower case, and the names of 2018.

    Args:
        env: the kernel's environment.
        parameters: what the policy made of it.
        pod_name: of this kernel.
        namespace: of this kernel.
        language: the kernel spec's.
    """
    texts = {name.lower(): value for name, value in env.items() if name.startswith("KERNEL_")}
    decided: dict[str, Any] = {
        "kernel_pod_name": pod_name,
        "kernel_namespace": namespace,
        "kernel_image": parameters.image,
        "kernel_uid": parameters.uid,
        "kernel_gid": parameters.gid,
        "kernel_service_account_name": parameters.service_account,
    }
    for suffix, amounts in (("", parameters.requests), ("_limit", parameters.limits)):
        decided |= {f"kernel_{size}{suffix}": amounts[key] for size, key in _SIZES.items() if key in amounts}
    if parameters.volumes:
        decided["kernel_volumes"] = list(parameters.volumes)
    if parameters.volume_mounts:
        decided["kernel_volume_mounts"] = list(parameters.volume_mounts)
    if parameters.working_dir:
        decided["kernel_working_dir"] = parameters.working_dir
    of_2018 = {
        "namespace": namespace,
        "docker_image": parameters.image,
        "language": language,
        "connection_filename": CONNECTION_PATH,
        "response_address": "",  # nobody calls back: the agent is beside the kernel
        "no_spark_context": "True",
    }
    return of_2018 | {name: value for name, value in texts.items() if name not in _TYPED} | decided


def _dollar_fill(variables: Variables) -> Fill:
    def known(name: str) -> bool:
        return name in variables or name.startswith(_KERNEL)

    def part(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        value = variables.get(name, "") if known(name) else match[0]
        if isinstance(value, list):
            raise CannotFill(f"${name} is a list, which cannot be part of a text")
        return str(value)

    def fill(text: str, plain: bool) -> Any:
        whole = _DOLLAR.fullmatch(text)
        name = (whole[1] or whole[2]) if whole else ""
        if not name or not known(name):
            return _DOLLAR.sub(part, text)
        value = variables.get(name, "")
        if value == "":
            return LEFT_OUT
        return str(value) if isinstance(value, int) and not plain else value

    return fill
