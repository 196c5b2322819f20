"""The settings as traits, so that traitlets knows their names, defaults and help texts.

Traits take values as they are written: reading and judging them is `config`'s business, for every source.
"""

from __future__ import annotations

from typing import Any

import traitlets

from enterprise_gateway.config.option import Field, table
from enterprise_gateway.config.settings import Settings


class SettingTrait(traitlets.TraitType[Any, Any]):
    """A trait that accepts anything."""

    def validate(self, obj: Any, value: Any) -> Any:  # noqa: ARG002 - the signature is traitlets'
        """The value, unread."""
        return value

    def from_string(self, s: str) -> str:
        """What was written on the command line."""
        return s

    def from_string_list(self, s_list: list[str]) -> str | list[str]:
        """What was written on the command line, perhaps more than once."""
        return s_list[0] if len(s_list) == 1 else s_list


def setting_traits() -> dict[str, SettingTrait]:
    """One trait for each setting, by name."""
    return {field.name: _trait(field) for field in table(Settings)}


def _trait(field: Field) -> SettingTrait:
    # Help texts show the name of a trait's class as the placeholder: `--EnterpriseGatewayApp.port=<integer>`.
    kind = type(field.option.kind.noun, (SettingTrait,), {})
    text = f"{field.option.help} ({', '.join(field.option.env)} in the environment)"
    trait: SettingTrait = kind(field.plain_default, help=text)
    return trait.tag(config=True)
