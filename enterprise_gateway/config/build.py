"""From what people wrote in several places to one `Settings`.

A source maps field names to what was given and how the giver spelled it. Sources come strongest first:
command line, configuration files, environment; what nobody gives has its default. This module refuses to
know where values come from and who shows the errors. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from enterprise_gateway.config import rules
from enterprise_gateway.config.option import Field, table
from enterprise_gateway.config.settings import Settings
from enterprise_gateway.errors import ConfigError


class Given(NamedTuple):
    """A value as it was written, unread."""

    value: Any
    origin: str
    """How its giver spelled it: `EG_PORT`, `--port` or `c.EnterpriseGatewayApp.port in /etc/…/file.py`."""


Source: TypeAlias = Mapping[str, Given]
"""Field names and what one place gives for them."""


def from_environ(environ: Mapping[str, str]) -> dict[str, Given]:
    """What the environment gives: for each setting the first of its names that is set."""
    given = {}
    for field in table(Settings):
        for name in field.option.env:
            value = environ.get(name)
            if value is not None and (value or field.option.kind.takes_empty):
                given[field.name] = Given(value, name)
                break
    return given


def from_traits(given: Mapping[str, Given]) -> dict[str, Given]:
    """What is given under traitlets names (`Class.trait`): for each setting the most specific of them."""
    found = {}
    for field in table(Settings):
        for trait in field.traits:
            if trait in given:
                found[field.name] = given[trait]
                break
    return found


def strongest(sources: Sequence[Source]) -> dict[str, Given]:
    """What counts for each setting that anybody gave."""
    given: dict[str, Given] = {}
    for source in reversed(sources):
        given |= source
    return given


def build(sources: Sequence[Source] = ()) -> Settings:
    """The settings that `sources`, strongest first, amount to.

    Raises:
        ConfigError: a value that counts cannot be read, or contradicts another; the message says which, as it
            was written, and what would be right. Secrets are not repeated.
    """
    given = strongest(sources)
    fields = {field.name: field for field in table(Settings)}
    settings = Settings(**{name: read(fields[name], value) for name, value in given.items()})
    if (problem := rules.contradiction(settings)) is not None:
        names = [given[name].origin if name in given else fields[name].trait for name in problem.fields]
        raise ConfigError(f"{' and '.join(names)}: {problem.sentence}")
    return settings


def read(field: Field, given: Given) -> Any:
    """The value of one setting.

    Raises:
        ConfigError: it is not of the setting's kind.
    """
    try:
        return field.option.kind.parse(given.value)
    except (ValueError, OverflowError):
        shown = "" if field.option.secret else f" is {given.value!r}, but"
        raise ConfigError(f"{given.origin}{shown} must be {field.option.kind.expected}") from None
