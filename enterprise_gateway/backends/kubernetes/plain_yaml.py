"""YAML reduced to what JSON can say, for text that strangers and operators write. Pure.

No tags, no anchors and aliases (a few bytes of which can stand for gigabytes), no keys that are there twice, no dates,
no merge keys. Depth is bounded before anything recursive sees the text.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

MAX_DEPTH = 12


class _Loader(yaml.SafeLoader):
    """Numbers as JSON writes them, true, false, null; a date, `0x10`, `yes` or `<<` is the text it is."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML declares it like this

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Called once for each mapping before it is made: here to look for keys that are there twice."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(keys)) != len(keys):
            repeated = next(key for index, key in enumerate(keys) if key in keys[:index])
            raise ValueError(f"the key {repeated[:64]!r} is there twice")


for _kind, _pattern, _first in (
    ("null", r"null|Null|NULL|~|", ["n", "N", "~", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]{0,17})", list("-+0123456789")),
    ("float", r"[-+]?(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][-+]?[0-9]+)?", list("-+0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(rf"(?:{_pattern})\Z"), _first)


def load_plain(text: str) -> Any:
    """What one YAML (or JSON) document says: dictionaries with string keys, lists, strings, numbers, booleans, None.

    Raises:
        ValueError: a sentence that says what is wrong, to be put behind the name of what was read.
    """
    try:
        _check_events(text)
        return _checked(yaml.load(text, Loader=_Loader))  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        where = f" (character {error.problem_mark.index})" if error.problem_mark else ""
        raise ValueError(f"not valid YAML: {error.problem or error.context}{where}") from error
    except yaml.YAMLError as error:
        raise ValueError("not valid YAML: it holds characters that cannot be in it") from error


def _check_events(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise ValueError("'&' and '*' (anchors and aliases) are not taken; put quotes around text that has them")
        # A quoted scalar has no tag of its own either; "!" alone would only make it text.
        if getattr(event, "tag", None):
            raise ValueError("'!' (tags) are not taken; put quotes around text that has them")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")


def _checked(value: Any) -> Any:
    match value:
        case dict():
            if not all(isinstance(key, str) for key in value):
                raise ValueError("a key is not text; put quotes around it")
            return {_checked(key): _checked(item) for key, item in value.items()}
        case list():
            return [_checked(item) for item in value]
        case str() if any("\ud800" <= character <= "\udfff" or character == "\0" for character in value):
            raise ValueError("a text holds characters that cannot be in it")
        case float() if not math.isfinite(value):
            raise ValueError("a number is infinite or none")
    return value
