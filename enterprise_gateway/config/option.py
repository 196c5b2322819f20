"""What is known about one setting besides its type and its default: the annotation of a field of `Settings`.

Pure. Reading the table (`table`) is the only introspection there is; everybody else iterates over its result.
"""

from __future__ import annotations

import enum
import functools
import typing
from dataclasses import dataclass
from typing import Any

import msgspec

from enterprise_gateway.config.kinds import Kind

APP = "EnterpriseGatewayApp"
"""The traitlets class every setting belongs to; people write `c.EnterpriseGatewayApp.port`."""


class Group(enum.Enum):
    """The headings under which settings are listed, in their order."""

    LISTEN = "Listening"
    TLS = "TLS"
    ACCESS = "Who may use it"
    CORS = "Browsers of other origins"
    KERNELS = "Kernels and limits"
    ENVIRONMENT = "Environment of kernels"
    LIFE = "Start, restart and end of kernels"
    CULLING = "Ending idle kernels"
    CHANNELS = "Connections to kernels"
    KUBERNETES = "Kernels on Kubernetes"
    OPERATIONS = "Operating the gateway"


@dataclass(frozen=True, slots=True)
class Option:
    """How a setting is written, and what it does."""

    kind: Kind[Any]
    group: Group
    env: tuple[str, ...]
    """Environment variables, the preferred one first; the first that is set counts."""
    help: str
    """One or two plain sentences."""
    traits: tuple[str, ...] = ()
    """Further traitlets names under which EG's users set it, the most specific class first."""
    secret: bool = False
    """Whether the value must never be shown."""


@dataclass(frozen=True, slots=True)
class Field:
    """A setting: one row of the table."""

    name: str
    default: Any
    option: Option

    @property
    def trait(self) -> str:
        """Its traitlets name, such as `EnterpriseGatewayApp.port`."""
        return f"{APP}.{self.name}"

    @property
    def traits(self) -> tuple[str, ...]:
        """All its traitlets names, the most specific first."""
        return (self.trait, *self.option.traits)

    @property
    def plain_default(self) -> Any:
        """Its default as a configuration file would hold it."""
        return self.option.kind.plain(self.default)


@functools.cache
def table(settings: type[msgspec.Struct]) -> tuple[Field, ...]:
    """The rows of `settings`, a Struct whose every field is `Annotated[type, Option(...)] = default`."""
    hints = typing.get_type_hints(settings, include_extras=True)
    rows = []
    for field in msgspec.structs.fields(settings):
        default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
        rows.append(Field(field.name, default, hints[field.name].__metadata__[0]))
    return tuple(rows)
