"""Waiting for what only asking can tell."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def eventually(ask: Callable[[], Value], deadline: float = 30.0) -> Value:
    """Asks until the answer is true and returns it; the last answer is in the failure's message.

    For state that nothing announces, such as the models in a list; the pause only spares the CPU.
    """
    end = time.monotonic() + deadline
    while not (answer := ask()):
        assert time.monotonic() < end, f"still {answer!r} after {deadline:g} s"
        time.sleep(0.05)
    return answer
