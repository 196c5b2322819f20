"""Reads an operator's template as YAML, with a hook for its texts.

The YAML is parsed first and exactly once; what the hook puts in place of a text is a value and never parsed, so no
value can become structure. Knows nothing of how values are written in a template. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

import yaml

from enterprise_gateway.errors import StartFailed

Fill: TypeAlias = Callable[[str, bool], Any]
"""Of a text, and whether it is written without quotes: what it means, or `LEFT_OUT`; raises `CannotFill`."""

LEFT_OUT: Final = object()
"""Instead of a value: the key or the item that has it is not there."""

MAX_DEPTH: Final = 100

_TAG = "tag:yaml.org,2002:"
_NUMBERS_AND_BOOLEANS = frozenset({"int", "float", "bool"})
_SCALARS: Final = yaml.constructor.SafeConstructor()
_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class CannotFill(Exception):
    """A text of a template has no meaning; the message says why."""


class _Broken(Exception):
    """Something in the document is not what it must be."""

    def __init__(self, part: yaml.Node | yaml.Event, problem: str) -> None:
        self.line = part.start_mark.line + 1 if part.start_mark else 1
        super().__init__(problem)


def read_object(name: str, text: str, fill: Fill, kind: str) -> dict[str, Any]:
    """The object in a template, with its texts filled in; keys without a value are left out.

    Args:
        name: what to call the template in errors.
        text: YAML; other documents than the object's must be empty.
        fill: asked about every text that is a value, never about keys.
        kind: of the object: a Pod or a SparkApplication.

    Raises:
        StartFailed: it is not valid, not one object of that kind, or `fill` refused a text; names the line.
    """
    try:
        objects = list(_objects(text, fill, kind))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise StartFailed(f"{name}{where}: not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise StartFailed(f"{name}: not valid YAML: {error}") from None
    except _Broken as error:
        raise StartFailed(f"{name}, line {error.line}: {error}") from None
    if len(objects) != 1:
        raise StartFailed(f"{name}: it must hold one {kind}; it holds {len(objects)}")
    return objects[0]


def _objects(text: str, fill: Fill, kind: str) -> Iterator[dict[str, Any]]:
    _check_depth(text)
    for node in yaml.compose_all(text, Loader=_LOADER):
        if node.tag != f"{_TAG}null":
            found = _Reader(fill).value(node)
            _check_shape(node, found, kind)
            yield found


def _check_depth(text: str) -> None:
    """The composer is recursive, in C: what is nested too deeply would end the whole process."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _Broken(event, f"nested more than {MAX_DEPTH} levels deep")


def _check_shape(node: yaml.Node, found: Any, kind: str) -> None:
    if not isinstance(found, dict) or "kind" not in found:
        raise _Broken(node, "each document must be a Kubernetes object with a 'kind'")
    if found["kind"] != kind:
        raise _Broken(
            node,
            f"a {found['kind']} cannot be made for each kernel; only the {kind} can. "
            f"Create it once, and name it in the {kind}",
        )
    if not isinstance(found.get("metadata", {}), dict):
        raise _Broken(node, "metadata must be a mapping")
    spec = found.get("spec")
    if kind == "Pod":
        _check_pod(node, spec)
    elif not isinstance(spec, dict) or not all(isinstance(spec.get(part, {}), dict) for part in ("driver", "executor")):
        raise _Broken(node, "spec must be a mapping, and spec.driver and spec.executor in it")


def _check_pod(node: yaml.Node, spec: Any) -> None:
    containers = spec.get("containers") if isinstance(spec, dict) else None
    if not isinstance(containers, list) or not containers or not all(isinstance(each, dict) for each in containers):
        raise _Broken(node, "spec.containers must be a list of containers; the first is the kernel's")


class _Reader:
    """Makes values of one document's nodes."""

    def __init__(self, fill: Fill) -> None:
        self._fill = fill
        self._open: set[int] = set()

    def value(self, node: yaml.Node) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if id(node) in self._open:
            raise _Broken(node, "an anchor refers to itself")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
                return dict(self._items(node))
            if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
                return [value for each in node.value if (value := self.value(each)) is not LEFT_OUT]
        finally:
            self._open.discard(id(node))
        raise _Broken(node, f"the tag {node.tag} is not taken")

    def _items(self, node: yaml.MappingNode) -> Iterator[tuple[str, Any]]:
        _SCALARS.flatten_mapping(node)  # merge keys: <<
        for key, below in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _Broken(key, "a key must be text")
            if self._filled(key, key.value) != key.value:
                raise _Broken(key, f"a variable cannot be a key: {key.value}")
            value = self.value(below)
            if value is not LEFT_OUT and value is not None:
                yield key.value, value

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if kind == "null":
            return None
        if kind in _NUMBERS_AND_BOOLEANS:
            return self._typed(kind, node)
        if kind in ("str", "timestamp"):
            return self._filled(node, node.value)
        raise _Broken(node, f"the tag {node.tag} is not taken")

    def _typed(self, kind: str, node: yaml.ScalarNode) -> Any:
        try:
            return getattr(_SCALARS, f"construct_yaml_{kind}")(node)
        except (ValueError, KeyError):
            raise _Broken(node, f"{node.value[:64]!r} is no {kind}") from None

    def _filled(self, node: yaml.ScalarNode, text: str) -> Any:
        try:
            return self._fill(text, not node.style)
        except CannotFill as error:
            raise _Broken(node, str(error)) from None
