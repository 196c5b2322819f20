"""Values that must never be printed."""

from __future__ import annotations

import hmac


class Secret:
    """A string whose `repr` and `str` are stars; `reveal()` is the only way to its text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one place that must send or compare it."""
        return self._text

    def matches(self, candidate: str) -> bool:
        """Whether `candidate` is this secret, in time independent of where they differ."""
        # Headers and the environment may hold bytes that are no UTF-8: they compare as they are.
        return hmac.compare_digest(_encode(self._text), _encode(candidate))

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.matches(other._text)

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret('********')"

    __str__ = __repr__


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
