"""The command line: which options there are, and how each was spelled.

traitlets parses; what it lets pass with a warning, or ends with a page of usage, is a `ConfigError` here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from traitlets.config.loader import KVArgParseConfigLoader

from enterprise_gateway.config.names import ignored_names, known_traits, nearest
from enterprise_gateway.config.option import APP
from enterprise_gateway.errors import ConfigError

_OF_TRAITLETS = {"-h", "--help", "--help-all", "--version", "-V"}
_NUMBER = re.compile(r"-\.?\d")


class Loader(KVArgParseConfigLoader):
    """traitlets' reader of command lines, with errors of ours."""

    def _create_parser(self) -> None:
        super()._create_parser()
        self.parser.error = _refuse  # type: ignore[method-assign]


def spelled(
    argv: Sequence[str], aliases: Mapping[str, str], flags: Mapping[str, Any], own_traits: set[str]
) -> dict[str, str]:
    """For each trait (`Class.trait`) that `argv` sets, the option that sets it as it was written.

    Args:
        argv: the arguments without the command's name.
        aliases: option names without dashes and the traits they stand for.
        flags: option names without dashes and `({class: {trait: value}}, help)`.
        own_traits: names of traits that are not settings, such as `JupyterApp.answer_yes`.

    Raises:
        ConfigError: there is no such option.
    """
    traits = known_traits() | ignored_names() | own_traits
    targets = {_dashed(name): [trait] for name, trait in aliases.items()}
    targets |= {_dashed(name): _flag_traits(flag) for name, (flag, _) in flags.items()}
    targets |= {f"{dashes}{trait}": [trait] for trait in traits if "." in trait for dashes in ("-", "--")}
    origins = {}
    for argument in argv:
        option = argument.partition("=")[0]
        if not option.startswith("-") or option in ("-", "--") or _NUMBER.match(option):
            continue
        if option not in targets and option not in _OF_TRAITLETS:
            raise ConfigError(f"{option} is not an option{_hint(option, [*targets, *_OF_TRAITLETS])}")
        origins.update(dict.fromkeys(targets.get(option, ()), option))
    return origins


def _dashed(name: str) -> str:
    return f"-{name}" if len(name) == 1 else f"--{name}"


def _flag_traits(flag: Mapping[str, Mapping[str, object]]) -> list[str]:
    return [f"{owner}.{trait}" for owner, traits in flag.items() for trait in traits]


def _hint(option: str, candidates: list[str]) -> str:
    name = option.lstrip("-").replace("-", "_")
    for same in (f"--{name}", f"--{name.replace('_', '-')}", f"--{APP}.{name}"):
        if same in candidates:
            return f"; did you mean {same}?"
    return nearest(option, [candidate for candidate in candidates if candidate.startswith("--")])


def _refuse(message: str) -> NoReturn:
    raise ConfigError(message)
