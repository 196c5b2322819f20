"""Layers of a Kubernetes object laid over each other, by the rules of Kubernetes' strategic merge patch.

Mappings merge; lists of things with a name (containers, volumes, environment, mounts, …) merge by that name; any
other list or value replaces what was there; null deletes, and so does `$patch: delete` in an item of such a list.
Pure: nothing that comes in is changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

_MERGED_BY: Final = {
    "containers": "name",
    "initContainers": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
}
# Of two sources of one volume or variable Kubernetes takes neither, so the newer one replaces the older.
_REPLACED_BY: Final = {"volumes": "name", "env": "name", "imagePullSecrets": "name"}
_JOINED: Final = frozenset({"tolerations"})
_DIRECTIVE: Final = "$patch"


def merge(base: Mapping[str, Any], over: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """`base` with `over` laid over it.

    Raises:
        ValueError: says where something is not what it must be, by its path: `spec.containers[0]`.
    """
    result = dict(base)
    for key, value in over.items():
        where = f"{path}.{key}" if path else key
        below = result.get(key)
        if value is None:
            result.pop(key, None)
            continue
        if below is not None and _kind(below) != _kind(value):
            raise ValueError(f"{where} is {_kind(value)}, and {_kind(below)} elsewhere")
        match value:
            case Mapping():
                result[key] = merge(below or {}, value, where)
            case list() | tuple():
                result[key] = _merge_lists(key, below or [], value, where)
            case _:
                result[key] = value
    return result


def _kind(value: Any) -> str:
    match value:
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return "a list"
    return "a single value"


def _merge_lists(field: str, old: list[Any], over: Sequence[Any], path: str) -> list[Any]:
    if field in _JOINED:
        return old + [item for item in over if item not in old]
    identity = _MERGED_BY.get(field) or _REPLACED_BY.get(field)
    if identity is None:
        return list(over)
    merged = {_identity(item, identity, path, index): item for index, item in enumerate(old)}
    for index, item in enumerate(over):
        name = _identity(item, identity, path, index)
        if item.get(_DIRECTIVE) == "delete":
            merged.pop(name, None)
        else:
            below = merged.get(name, {}) if field in _MERGED_BY else {}
            merged[name] = merge(below, item, f"{path}[{index}]")
    return list(merged.values())


def _identity(item: Any, key: str, path: str, index: int) -> str | int:
    match item:
        case Mapping() if isinstance(value := item.get(key), str | int):
            return value
    raise ValueError(f"{path}[{index}] must be a mapping with a {key!r}")
