"""The values that `KERNEL_*` variables may have, each parsed alone. Pure.

Every function takes the variable's name, for errors, and the value; it raises InvalidRequest unless it says otherwise.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any, Final, Literal

import msgspec

from enterprise_gateway.backends.kubernetes.policy import MAX_ID
from enterprise_gateway.backends.kubernetes.quantities import Quantity, parse_quantity
from enterprise_gateway.backends.kubernetes.volumes import DNS_LABEL
from enterprise_gateway.errors import Forbidden, InvalidRequest

MAX_IMAGE_CHARS: Final = 512
_MAX_PATH_CHARS = 1024

_HOST = r"[A-Za-z0-9](?:[-A-Za-z0-9]*[A-Za-z0-9])?"
_PATH_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
# The grammar of github.com/distribution/reference, without IPv6 registries.
_IMAGE = re.compile(
    rf"(?:{_HOST}(?:\.{_HOST})*(?::[0-9]{{1,5}})?/)?"
    rf"{_PATH_COMPONENT}(?:/{_PATH_COMPONENT})*"
    r"(?::[A-Za-z0-9_][-A-Za-z0-9_.]{0,127})?"
    r"(?:@sha(?:256:[0-9a-f]{64}|512:[0-9a-f]{128}))?"
)
_DNS_SUBDOMAIN = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_MAX_SUBDOMAIN_CHARS = 253
_LABEL_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_ID = re.compile(r"0|[1-9][0-9]{0,9}")

_LEAST_CPUS, _MOST_CPUS = parse_quantity("1m"), parse_quantity("10000")
_LEAST_MEMORY, _MOST_MEMORY = parse_quantity("1Mi"), parse_quantity("1Pi")


class _Toleration(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    key: str = ""
    operator: Literal["Exists", "Equal"] = "Equal"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    toleration_seconds: int | None = None


def image(name: str, text: str) -> str:
    """A reference to a container image."""
    if len(text) > MAX_IMAGE_CHARS or not _IMAGE.fullmatch(text):
        raise InvalidRequest(
            f"{name} must be an image reference of at most {MAX_IMAGE_CHARS} characters, such as "
            f"registry.example.org/kernels/python:3.12, not {shown(text)}"
        )
    return text


def namespace(name: str, text: str) -> str:
    """The name of a namespace."""
    if not DNS_LABEL.fullmatch(text):
        raise InvalidRequest(
            f"{name} must be a namespace: 1 to 63 lower-case letters, digits and '-', not {shown(text)}"
        )
    return text


def object_name(name: str, text: str) -> str:
    """The name of most objects: a DNS subdomain."""
    if not _is_subdomain(text):
        raise InvalidRequest(
            f"{name} must be a name of at most {_MAX_SUBDOMAIN_CHARS} lower-case letters, digits, '-' and '.', "
            f"not {shown(text)}"
        )
    return text


def user_or_group(name: str, text: str) -> int:
    """A numeric user or group id, in canonical form.

    Raises:
        Forbidden: anything else, as with EG.
    """
    if not _ID.fullmatch(text) or int(text) > MAX_ID:
        raise Forbidden(f"{name} must be an integer from 0 to {MAX_ID}, without spaces and signs, not {shown(text)}")
    return int(text)


def working_dir(name: str, text: str) -> str:
    """An absolute path, made normal."""
    if not text.startswith("/") or not text.isprintable() or len(text) > _MAX_PATH_CHARS:
        raise InvalidRequest(f"{name} must be an absolute path such as /home/work, not {shown(text)}")
    return "/" + posixpath.normpath(text).lstrip("/")


def pod_name(_name: str, text: str) -> str:
    """Any text: `names.pod_name` makes a name of it."""
    return text


def cpus(name: str, text: str) -> Quantity:
    """An amount of processor time."""
    return _quantity_within(_LEAST_CPUS, _MOST_CPUS, "a number of CPUs such as 2, 0.5 or 500m", name, text)


def memory(name: str, text: str) -> Quantity:
    """Bytes. Nothing runs in less than the least: who writes `4` or `512m` means Gi and Mi."""
    return _quantity_within(_LEAST_MEMORY, _MOST_MEMORY, "an amount of memory such as 512Mi or 4Gi", name, text)


def count(name: str, text: str) -> Quantity:
    """How many of a device, which cannot be shared: a whole number."""
    if not re.fullmatch(r"0|[1-9][0-9]{0,3}", text):
        raise InvalidRequest(f"{name} must be a whole number from 0 to 9999, not {shown(text)}")
    return parse_quantity(text)


def node_selector(name: str, value: Any) -> dict[str, str]:
    """Labels that a node must have."""
    if not isinstance(value, dict):
        raise InvalidRequest(f"{name} must be a mapping of labels: {{disktype: ssd}}")
    for key, item in value.items():
        if not _is_label_key(key):
            raise InvalidRequest(
                f"{name}: {shown(key)} is not the key of a label, such as disktype or example.org/disk"
            )
        if not isinstance(item, str) or (item and not _LABEL_NAME.fullmatch(item)):
            raise InvalidRequest(f"{name}: {shown(item)} is not the value of a label; put quotes around numbers")
    return value


def tolerations(name: str, value: Any) -> tuple[dict[str, Any], ...]:
    """Taints of nodes that the pod tolerates, in the API's form."""
    try:
        parsed = msgspec.convert(value, tuple[_Toleration, ...])
    except msgspec.ValidationError as error:
        raise InvalidRequest(
            f"{name} must be a list of tolerations: [{{key: dedicated, operator: Exists, effect: NoSchedule}}]: {error}"
        ) from error
    for toleration in parsed:
        if not (_is_label_key(toleration.key) if toleration.key else toleration.operator == "Exists"):
            raise InvalidRequest(f"{name}: a toleration needs a key, such as dedicated or example.org/dedicated")
        if toleration.value and not _LABEL_NAME.fullmatch(toleration.value):
            raise InvalidRequest(f"{name}: {shown(toleration.value)} is not the value of a taint")
    return tuple(msgspec.to_builtins(toleration) for toleration in parsed)


def shown(value: Any) -> str:
    """A client's value in an error, cut short."""
    return f"{value!r:.100}"


def _quantity_within(low: Quantity, high: Quantity, right: str, name: str, text: str) -> Quantity:
    try:
        quantity = parse_quantity(text)
    except ValueError:
        quantity = None
    if quantity is None or not low <= quantity <= high:
        raise InvalidRequest(f"{name} must be {right}, from {low} to {high}, not {shown(text)}")
    return quantity


def _is_subdomain(text: str) -> bool:
    return len(text) <= _MAX_SUBDOMAIN_CHARS and _DNS_SUBDOMAIN.fullmatch(text) is not None


def _is_label_key(key: str) -> bool:
    prefix, slash, rest = key.rpartition("/")
    return _LABEL_NAME.fullmatch(rest) is not None and (not slash or _is_subdomain(prefix))
