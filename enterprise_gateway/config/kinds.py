"""The kinds of value a setting can have: how each is read from what people write, and how it is written back.

A `Kind` reads text (environment, command line) and Python or JSON values (configuration files) alike. It
refuses to know for which setting: it raises `ValueError`, and `config.build` names the culprit. Pure.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from enterprise_gateway.config.ports import PortRange

T = TypeVar("T")

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})
_NOTHING = frozenset({"", "none", "null"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE | re.ASCII)
_UNITS = {
    "": 1, "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9,
    "kib": 2**10, "mib": 2**20, "gib": 2**30,
}  # fmt: skip
_LEVELS = logging.getLevelNamesMapping()


def _unchanged(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """One kind of value.

    `plain(value)` is something JSON can hold and `parse` reads back as the same value.
    """

    noun: str
    """The placeholder in help texts."""
    expected: str
    """What a value must be, in words that follow "must be"."""
    parse: Callable[[Any], T]
    """Reads a value; raises `ValueError` for anything else."""
    plain: Callable[[T], Any] = _unchanged
    takes_empty: bool = False
    """Whether an empty environment variable is a value. If not, it is as good as unset, as in EG's script."""


def _is(value: Any, *types: type) -> None:
    """Refuse values of other types; `bool` is no number here, although Python's is an `int`."""
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise ValueError


def integer(low: int, high: int | None = None, note: str = "") -> Kind[int]:
    """Whole numbers from `low` to `high`; `note` says what a special number means."""

    def parse(value: Any) -> int:
        _is(value, int, str)
        number = int(value)
        if number < low or (high is not None and number > high):
            raise ValueError
        return number

    bounds = f"an integer from {low} to {high}" if high is not None else f"an integer of at least {low}"
    return Kind("integer", f"{bounds} ({note})" if note else bounds, parse)


def optional(kind: Kind[T]) -> Kind[T | None]:
    """The values of `kind`, or None, which text spells `None`, `null` or nothing at all."""

    def parse(value: Any) -> T | None:
        if value is None or (isinstance(value, str) and value.strip().lower() in _NOTHING):
            return None
        return kind.parse(value)

    def plain(value: T | None) -> Any:
        return None if value is None else kind.plain(value)

    return Kind(kind.noun, f"{kind.expected}, or None", parse, plain)


def _parse_seconds(value: Any) -> float:
    _is(value, int, float, str)
    number = float(value)
    if not math.isfinite(number) or number < 0:
        raise ValueError
    return number


def _shortest(number: float) -> float:
    return int(number) if number == int(number) else number


def _parse_boolean(value: Any) -> bool:
    _is(value, bool, int, str)
    word = str(value).strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError
    return word in _TRUE


def _parse_text(value: Any) -> str:
    _is(value, str)
    if _CONTROL.search(value):
        raise ValueError
    return str(value)


def _parse_credential(value: Any) -> str | None:
    return None if value is None else _parse_text(value)


def _parse_base_url(value: Any) -> str:
    path = _parse_text(value).strip().strip("/")
    if re.search(r"[\s?#]", path):
        raise ValueError
    return f"/{path}"


def _parse_url(value: Any) -> str:
    url = _parse_text(value).strip().rstrip("/")
    if url and not _URL.fullmatch(url):
        raise ValueError
    return url


def _items(value: Any) -> list[str]:
    """The items of a list, of `a,b`, of `[a, b]` and of `["a", 'b']`: start scripts write all of these."""
    if isinstance(value, str):
        text = value.strip()
        if text.startswith("[") != text.endswith("]"):
            raise ValueError
        return [item.strip().strip("'\"") for item in text.removeprefix("[").removesuffix("]").split(",")]
    _is(value, list, tuple, set, frozenset)
    for item in value:
        _is(item, str)
    return sorted(value) if isinstance(value, set | frozenset) else list(value)


def _parse_names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) and value.strip().lower() in _NOTHING:
        return ()
    return tuple(dict.fromkeys(item for item in _items(value) if item))


def _parse_ids(value: Any) -> frozenset[int]:
    if isinstance(value, int) and not isinstance(value, bool):
        value = [str(value)]
    ids = [str(item) for item in value] if isinstance(value, list | tuple | frozenset) else _items(value)
    if not all(item.isascii() and item.isdigit() for item in ids if item):
        raise ValueError
    return frozenset(int(item) for item in ids if item)


def _plain_ids(ids: frozenset[int]) -> list[str]:
    return [str(each) for each in sorted(ids)]


def _parse_users(value: Any) -> frozenset[str]:
    return frozenset(_items(value))


def _parse_size(value: Any) -> int:
    _is(value, int, str)
    match = _SIZE.fullmatch(str(value).strip())
    if match is None or match[2].lower() not in _UNITS:
        raise ValueError
    return int(float(match[1]) * _UNITS[match[2].lower()])


def _plain_size(number: int) -> int | str:
    for unit in ("GiB", "MiB", "KiB"):
        count, rest = divmod(number, _UNITS[unit.lower()])
        if count and not rest:
            return f"{count}{unit}"
    return number


def _parse_log_level(value: Any) -> int:
    _is(value, int, str)
    word = str(value).strip().upper()
    number = int(word) if word.isascii() and word.isdigit() else _LEVELS.get(word, -1)
    if not 0 <= number <= logging.CRITICAL:
        raise ValueError
    return number


def _plain_log_level(level: int) -> int | str:
    return logging.getLevelName(level) if level in _LEVELS.values() and level else level


def _parse_port_range(value: Any) -> PortRange:
    if isinstance(value, PortRange):
        return value
    _is(value, str)
    return PortRange.parse(value)


def one_of(*words: str) -> Kind[str]:
    """One of a few words, in any case."""

    def parse(value: Any) -> str:
        _is(value, str)
        word: str = value.strip().lower()
        if word not in words:
            raise ValueError
        return word

    return Kind("|".join(words), " or ".join(words), parse)


def some_of(*words: str) -> Kind[tuple[str, ...]]:
    """A few of some words; none means that nobody said."""

    def parse(value: Any) -> tuple[str, ...]:
        names = _parse_names(value)
        if not set(names) <= set(words):
            raise ValueError
        return names

    return Kind("names", f"names from {', '.join(words)}", parse, list, takes_empty=True)


PORT = integer(0, 65535, "0 = any free port")
SECONDS = Kind("seconds", "a number of seconds, 0 or more", _parse_seconds, _shortest)
BOOLEAN = Kind("boolean", "true or false", _parse_boolean)
TEXT = Kind("text", "text on one line", _parse_text, takes_empty=True)
PATH = optional(Kind("path", "a path", _parse_text))
CREDENTIAL = Kind("text", "text on one line", _parse_credential, takes_empty=True)
"""None means that nobody said; empty means none is wanted."""
KERNEL_NAME = Kind("name", "the name of a kernel spec", lambda value: _parse_text(value) or "python3")
BASE_URL = Kind("path", "the path part of a URL, such as /gateway", _parse_base_url)
URL = Kind("URL", "an address such as https://host/gateway", _parse_url, takes_empty=True)
NAMES = Kind("names", "names separated by commas", _parse_names, list, takes_empty=True)
USERS = Kind("names", "user names separated by commas", _parse_users, sorted, takes_empty=True)
"""Empty text is the set of the empty name, which nobody has: as with EG it allows, or denies, no one."""
IDS = Kind("numbers", "numbers separated by commas", _parse_ids, _plain_ids, takes_empty=True)
SIZE = Kind("size", "a number of bytes, such as 65536, 64KiB or 1GiB", _parse_size, _plain_size)
LOG_LEVEL = Kind(
    "level",
    "DEBUG, INFO, WARNING, ERROR, CRITICAL or a number from 0 to 50",
    _parse_log_level,
    _plain_log_level,
)
PORT_RANGE = Kind("lo..hi", "lower..upper, such as 40000..41000", _parse_port_range, str)
