"""Renders Jinja2 templates so that a value can only ever be a value.

What a `{{ … }}` yields is not written into the text: a mark is, and the value is kept aside. Conditions, loops and
filters see the real values; the YAML that is parsed afterwards has only marks in it, and the values take their place
in what came out. Marks hold a random number, so no client can write one. Sandboxed. No state but a rendering's own.
"""

from __future__ import annotations

import re
import secrets
import traceback
from collections.abc import Mapping
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from enterprise_gateway.backends.kubernetes.template_yaml import LEFT_OUT, CannotFill
from enterprise_gateway.errors import StartFailed

# Each writes text that has not been through `{{ … }}`, or comes from another file.
_REFUSED: dict[type[nodes.Node], str] = {
    nodes.FilterBlock: "{% filter %}",
    nodes.CallBlock: "{% call %}",
    nodes.Include: "{% include %}",
    nodes.Import: "{% import %}",
    nodes.FromImport: "{% from %}",
    nodes.Extends: "{% extends %}",
}
_SOURCE = "<template>"
"""What Jinja2 calls the file of a template from a string, in tracebacks."""


class Rendering:
    """A rendered template: its text with marks, and the values that belong there."""

    def __init__(self) -> None:
        self.text = ""
        self._nonce = secrets.token_hex(8)
        self._mark = re.compile(rf"v{self._nonce}n([0-9]+)e")
        self._values: list[Any] = []

    def mark(self, value: Any) -> str:
        """Keeps a value and returns what to write in its place."""
        if value is None or isinstance(value, jinja2.Undefined):
            return ""
        self._values.append(value)
        return f"v{self._nonce}n{len(self._values) - 1}e"

    def fill(self, text: str, plain: bool) -> Any:
        """The value of a text with marks; a `template_yaml.Fill`.

        Numbers, booleans and lists stay what they are where they are all of a text without quotes.
        """
        whole = self._mark.fullmatch(text)
        value = self._values[int(whole[1])] if whole else None
        if plain and value == "":
            return LEFT_OUT
        if isinstance(value, dict | list | tuple) or (plain and isinstance(value, int | float)):
            return value
        while self._mark.search(text):  # what a macro has written has marks of its own
            text = self._mark.sub(self._part, text)
        if self._nonce in text.lower():
            raise CannotFill("what a macro writes cannot be changed by a filter")
        return text

    def _part(self, match: re.Match[str]) -> str:
        value = self._values[int(match[1])]
        if isinstance(value, dict | list | tuple):
            raise CannotFill("a list cannot be part of a text")
        return str(value)


def render(name: str, text: str, variables: Mapping[str, Any]) -> Rendering:
    """Renders a template; unknown variables are undefined and empty.

    `yaml_safe` and `tojson` are here for templates that have them: values are safe anyway.

    Raises:
        StartFailed: it is broken; names the line.
    """
    rendering = Rendering()
    environment = ImmutableSandboxedEnvironment(
        finalize=rendering.mark,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["yaml_safe"] = environment.filters["tojson"] = _as_it_is
    try:
        _refuse_raw_text(name, environment.parse(text))
        rendering.text = environment.from_string(text).render(variables)
    except jinja2.TemplateSyntaxError as error:
        raise StartFailed(f"{name}, line {error.lineno}: {error.message}") from None
    except StartFailed:
        raise
    except Exception as error:  # noqa: BLE001 - a template can divide by zero and anything else
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == _SOURCE]
        where = f", line {lines[-1]}" if lines else ""
        raise StartFailed(f"{name}{where}: {error}") from None
    return rendering


def _refuse_raw_text(name: str, template: nodes.Template) -> None:
    for node in template.find_all(tuple(_REFUSED)):
        raise StartFailed(f"{name}, line {node.lineno}: {_REFUSED[type(node)]} is not taken in a template")


def _as_it_is(value: Any) -> Any:
    return value
