"""What clients may choose about their kernels' pods: the operator's rules, read from YAML, as pure decisions.

A rule binds what clients send, not what the operator writes into a kernel spec; only prohibited ids bind both.
Knows no variable's syntax and reads no file. docs/pod-policy.md is its reference.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from enterprise_gateway.backends.kubernetes.plain_yaml import load_plain
from enterprise_gateway.backends.kubernetes.quantities import Quantity, parse_quantity
from enterprise_gateway.backends.kubernetes.volumes import PROJECTED_SOURCES, SOURCES
from enterprise_gateway.errors import ConfigError

MAX_ID = 2**31 - 1
"""The highest user and group id that Kubernetes takes. (EG takes up to 2^32-1; the cluster refuses such a pod.)"""
TEMPLATE = "template"
"""Beside the kinds of volume: the volumes that the operator's pod template or kernel spec has already."""

_NOT_CHOSEN = "this gateway does not let clients choose it; leave it out"
# What image references, names of objects and label keys are made of, and `*`. No `[` or `?`: nobody needs them, and a
# pattern that means something else than it seems to lets the wrong ones in.
_PATTERN = re.compile(r"[A-Za-z0-9._/:@*-]+")


class Names(msgspec.Struct, frozen=True):
    """Any name, none, or those that match a pattern."""

    patterns: tuple[str, ...] | None
    """None: any. `*` stands for any characters; in front of the first `/` (an image's registry) for any but `/`."""

    def refusal(self, value: str) -> str:
        """Why clients may not choose this, to be put behind the parameter's name; empty: they may."""
        if self.patterns is None or any(_matches(value, pattern) for pattern in self.patterns):
            return ""
        return f"this gateway lets clients choose only {', '.join(self.patterns)}" if self.patterns else _NOT_CHOSEN


class Keys(msgspec.Struct, frozen=True):
    """What has several keys, such as a node selector: each key must be allowed."""

    names: Names

    def refusal(self, value: frozenset[str]) -> str:
        """See `Names.refusal`."""
        if self.names.patterns == ():
            return _NOT_CHOSEN
        return next((f"{key!r}: {refusal}" for key in sorted(value) if (refusal := self.names.refusal(key))), "")


class Ceiling(msgspec.Struct, frozen=True):
    """Any quantity up to a maximum, or none."""

    allowed: bool = True
    maximum: Quantity | None = None

    def refusal(self, value: Quantity) -> str:
        """See `Names.refusal`; nothing is what a client may always ask for."""
        if value.value == 0:
            return ""
        if not self.allowed:
            return _NOT_CHOSEN
        if self.maximum is not None and value > self.maximum:
            return f"this gateway lets clients choose at most {self.maximum}"
        return ""


class Ids(msgspec.Struct, frozen=True, kw_only=True):
    """A range of user or group ids."""

    allowed: bool = True
    minimum: int = 0
    maximum: int = MAX_ID
    prohibited: frozenset[int] = frozenset({0})
    """No kernel runs as these, whoever chose them."""

    def refusal(self, value: int) -> str:
        """See `Names.refusal`."""
        if not self.allowed:
            return _NOT_CHOSEN
        if not self.minimum <= value <= self.maximum:
            return f"this gateway lets clients choose from {self.minimum} to {self.maximum}"
        return ""


class Kinds(msgspec.Struct, frozen=True):
    """Kinds of volume sources."""

    allowed: frozenset[str]

    def refusal(self, value: frozenset[str]) -> str:
        """See `Names.refusal`."""
        refused = sorted(value - self.allowed)
        if not refused:
            return ""
        if not self.allowed:
            return _NOT_CHOSEN
        return f"this gateway does not let clients choose {', '.join(refused)}; only {', '.join(sorted(self.allowed))}"


class PodPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """A rule for each parameter. The defaults are those of an installation whose users share a namespace."""

    image: Names = Names(None)
    namespace: Names = Names(())
    service_account: Names = Names(())
    cpus: Ceiling = Ceiling()
    memory: Ceiling = Ceiling()
    gpus: Ceiling = Ceiling()
    uid: Ids = Ids()
    gid: Ids = Ids()
    volumes: Kinds = Kinds(frozenset({"persistentVolumeClaim", "emptyDir"}))
    node_selector: Keys = Keys(Names(()))
    tolerations: Keys = Keys(Names(()))
    priority: Names = Names(())


def parse_policy(
    text: str,
    *,
    prohibited_uids: frozenset[int] = frozenset({0}),
    prohibited_gids: frozenset[int] = frozenset({0}),
) -> PodPolicy:
    """Reads an operator's policy; an empty text is the default policy.

    Args:
        text: YAML.
        prohibited_uids: EG_PROHIBITED_UIDS; the policy can only add to them.
        prohibited_gids: EG_PROHIBITED_GIDS likewise.

    Raises:
        ConfigError: names the key that is wrong and what would be right.
    """
    try:
        document = load_plain(text)
    except ValueError as error:
        raise ConfigError(f"the pod policy is {error}") from error
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ConfigError(f"the pod policy must be a mapping with some of the keys {', '.join(_READERS)}")
    _refuse_unknown("", document, _READERS.keys())
    rules: dict[str, Any] = {key: _READERS[key](key, value) for key, value in document.items()}
    for key, prohibited in (("uid", prohibited_uids), ("gid", prohibited_gids)):
        rule = rules.get(key, Ids(prohibited=frozenset()))
        rules[key] = msgspec.structs.replace(rule, prohibited=rule.prohibited | prohibited)
    return PodPolicy(**rules)


def _matches(value: str, pattern: str) -> bool:
    """Whether `*` in the registry could reach over a `/`, `*.example.org/*` would match `evil.test/a.example.org/b`."""
    first, slash, rest = value.partition("/")
    first_pattern, pattern_slash, rest_pattern = pattern.partition("/")
    return slash == pattern_slash and fnmatchcase(first, first_pattern) and fnmatchcase(rest, rest_pattern)


def _refuse_unknown(path: str, mapping: dict[str, Any], known: Any) -> None:
    if unknown := sorted(mapping.keys() - known):
        where = f"'{path}' of the pod policy" if path else "the pod policy"
        raise ConfigError(f"{where} has no key {unknown[0]!r}; it has {', '.join(known)}")


def _wrong(path: str, right: str, value: Any) -> ConfigError:
    return ConfigError(f"'{path}' of the pod policy must be {right}, not {value!r:.100}")


def _read_names(path: str, value: Any) -> Names:
    if value in ("allow", "deny"):
        return Names(None if value == "allow" else ())
    if not isinstance(value, list) or not all(isinstance(item, str) and _PATTERN.fullmatch(item) for item in value):
        raise _wrong(path, "allow, deny or a list of names, in which * stands for any characters", value)
    return Names(tuple(value))


def _read_keys(path: str, value: Any) -> Keys:
    if value in ("allow", "deny"):
        return Keys(Names(None if value == "allow" else ()))
    if not isinstance(value, dict):
        raise _wrong(path, "allow, deny or {keys: [disktype]}", value)
    _refuse_unknown(path, value, ("keys",))
    keys = value.get("keys")
    if not isinstance(keys, list):
        raise _wrong(f"{path}.keys", "a list of keys of labels or taints", keys)
    return Keys(_read_names(f"{path}.keys", keys))


def _read_ceiling(path: str, value: Any) -> Ceiling:
    if value in ("allow", "deny"):
        return Ceiling(allowed=value == "allow")
    if not isinstance(value, dict):
        raise _wrong(path, "allow, deny or {max: a quantity such as 8, 500m or 32Gi}", value)
    _refuse_unknown(path, value, ("max",))
    maximum = value.get("max")
    try:
        # A number is as good as its text; anything else reads as no quantity.
        return Ceiling(maximum=parse_quantity(str(maximum)))
    except ValueError:
        raise _wrong(f"{path}.max", "a quantity such as 8, 500m or 32Gi", maximum) from None


def _read_ids(path: str, value: Any) -> Ids:
    if value in ("allow", "deny"):
        return Ids(allowed=value == "allow", prohibited=frozenset())
    if not isinstance(value, dict):
        raise _wrong(path, "allow, deny or {min: 1000, max: 65535, prohibited: [0]}", value)
    _refuse_unknown(path, value, ("min", "max", "prohibited"))
    prohibited = value.get("prohibited", [])
    if not isinstance(prohibited, list):
        raise _wrong(f"{path}.prohibited", "a list of ids such as [0]", prohibited)
    minimum = _id(f"{path}.min", value.get("min", 0))
    maximum = _id(f"{path}.max", value.get("max", MAX_ID))
    if minimum > maximum:
        raise _wrong(f"{path}.max", f"{path}.min or more", maximum)
    ids = frozenset(_id(f"{path}.prohibited", item) for item in prohibited)
    return Ids(minimum=minimum, maximum=maximum, prohibited=ids)


def _id(path: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_ID:
        raise _wrong(path, f"an integer from 0 to {MAX_ID}", value)
    return value


def _read_kinds(path: str, value: Any) -> Kinds:
    known = SOURCES | PROJECTED_SOURCES | {TEMPLATE}
    if value == "deny":
        return Kinds(frozenset())
    # Not "allow": some kinds reach the node or other people's secrets, so each has to be named.
    if not isinstance(value, list):
        raise _wrong(path, "deny or a list of kinds such as [persistentVolumeClaim, emptyDir]", value)
    for item in value:
        if not isinstance(item, str) or item not in known:
            raise _wrong(path, f"a list of some of {', '.join(sorted(known))}", item)
    return Kinds(frozenset(value))


_READERS: dict[str, Callable[[str, Any], Names | Keys | Ceiling | Ids | Kinds]] = {
    "image": _read_names,
    "namespace": _read_names,
    "service_account": _read_names,
    "cpus": _read_ceiling,
    "memory": _read_ceiling,
    "gpus": _read_ceiling,
    "uid": _read_ids,
    "gid": _read_ids,
    "volumes": _read_kinds,
    "node_selector": _read_keys,
    "tolerations": _read_keys,
    "priority": _read_names,
}
