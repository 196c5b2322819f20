"""Whose value of a `KERNEL_*` variable counts: the client's, the kernel spec's or the gateway's. Pure.

The policy is asked about a client's value that differs from what would hold without it. Knows no variable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from string import Template
from typing import Any, TypeVar

from enterprise_gateway.errors import Forbidden, GatewayError, InvalidRequest, StartFailed

T = TypeVar("T")
D = TypeVar("D")

# What a spec's values may refer to: what the gateway decided. Any other variable could be the client's to fill in.
_VARIABLES = ("KERNEL_USERNAME", "KERNEL_ID")


class Choices:
    """The variables of one start."""

    def __init__(self, client: Mapping[str, str], spec: Mapping[str, str]) -> None:
        """Takes both sides' variables by name; an empty value is as good as none.

        Args:
            client: what the client sent, with KERNEL_USERNAME and KERNEL_ID as the gateway decided them.
            spec: `env` of kernel.json as it stands. `${KERNEL_USERNAME}` and `${KERNEL_ID}` are replaced in it after
                YAML is read, so that a name cannot become structure.
        """
        self._client = client
        self._spec = spec
        self._variables = {name: client[name] for name in _VARIABLES if _is_word(client.get(name, ""))}

    def default(
        self, name: str, parse: Callable[[str, Any], T], default: D, *, load: Callable[[str], Any] = str
    ) -> T | D:
        """What holds where the client says nothing: the spec's value, else `default`.

        Raises:
            StartFailed: the spec's value cannot be used.
        """
        if not (text := self._spec.get(name)):
            return default
        try:
            return parse(name, self._filled_in(name, _loaded(name, text, load)))
        except GatewayError as error:
            raise StartFailed(f"the kernel spec's env is wrong: {error.message}") from error

    def choose(
        self,
        name: str,
        parse: Callable[[str, Any], T],
        default: D,
        refusal: Callable[[T], str],
        *,
        load: Callable[[str], Any] = str,
    ) -> T | D:
        """The value of one parameter.

        Args:
            name: the variable's name.
            parse: makes the value of the variable's name and of what `load` made of its text.
            default: the gateway's.
            refusal: why the policy refuses a client's value; empty when it does not.
            load: reads the text; raises ValueError with words to put behind the variable's name.

        Raises:
            InvalidRequest: the client's value is malformed.
            Forbidden: the client's value is refused.
            StartFailed: the spec's value cannot be used.
        """
        value = self.default(name, parse, default, load=load)
        if not self.asked(name):
            return value
        asked = parse(name, _loaded(name, self._client[name], load))
        if asked == value:
            return value
        if why := refusal(asked):
            raise Forbidden(f"{name}: {why}")
        return asked

    def asked(self, *names: str) -> bool:
        """Whether the client gave a value for any of `names`."""
        return any(self._client.get(name) for name in names)

    def contradiction(self, message: str, *names: str) -> GatewayError:
        """The error for values that are right but not together: the client's when one of `names` is the client's."""
        if self.asked(*names):
            return InvalidRequest(message)
        return StartFailed(f"the kernel spec's env is wrong: {message}")

    def _filled_in(self, name: str, value: Any) -> Any:
        match value:
            case dict():
                return {key: self._filled_in(name, item) for key, item in value.items()}
            case list():
                return [self._filled_in(name, item) for item in value]
            case str():
                filled = Template(value).safe_substitute(self._variables)
                if "$" in filled:
                    raise InvalidRequest(
                        f"{name} may refer to {' and '.join(_VARIABLES)} alone, and only to values without '/'"
                    )
                return filled
        return value


def _loaded(name: str, text: str, load: Callable[[str], Any]) -> Any:
    try:
        return load(text)
    except ValueError as error:
        raise InvalidRequest(f"{name} is wrong: {error}") from error


def _is_word(text: str) -> bool:
    """Whether a value can stand in a path or a name without leading out of it."""
    return text != "" and text.isprintable() and "/" not in text and "$" not in text and text.strip(".") != ""
