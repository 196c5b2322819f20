"""What a start request and a kernel spec's argv mean: ids, time limits, the command line.

Pure rules, no state. Nothing here starts a process or knows where kernels run. The environment is
`core.environment`'s.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence

from ..errors import InvalidRequest

MAX_LAUNCH_TIMEOUT = 3600.0
"""Seconds. Pulling a large image onto a fresh node takes minutes; an hour is a mistake in the unit."""

_PLACEHOLDER = re.compile(r"\{([A-Za-z0-9_]+)\}")
_CANONICAL_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_OUR_PYTHON = frozenset(
    {"python", f"python{sys.version_info.major}", f"python{sys.version_info.major}.{sys.version_info.minor}"}
)


def render_argv(argv: Sequence[str], namespace: Mapping[str, str], interpreter: str) -> list[str]:
    """The command line of a kernel spec with its `{name}` placeholders filled in.

    A first argument of `python`, `python3` or `python3.x` with the gateway's own x becomes `interpreter`, so
    that a spec installed in a virtual environment starts there. Names missing in `namespace` stay as they
    are, braces included; values are not searched for placeholders again. (jupyter_client's rules.)
    """
    command = [_PLACEHOLDER.sub(lambda m: namespace.get(m[1], m[0]), argument) for argument in argv]
    if argv and argv[0] in _OUR_PYTHON:
        command[0] = interpreter
    return command


def is_launch_command(argv: Sequence[str]) -> bool:
    """Whether a kernel spec's command is no kernel's, but starts a launcher, which reports where its kernel is."""
    return any("{response_address}" in argument for argument in argv)


def parse_kernel_id(text: str) -> str:
    """The kernel id a client chose by `KERNEL_ID`: a canonical lower-case UUID of any version.

    EG demands version 4. The id is a name, not a secret, so a client may as well derive it from its own data
    (version 5) to make its start repeatable. Upper case is refused rather than folded: the client would ask
    for its kernel by a name that does not exist.

    Raises:
        InvalidRequest: anything else.
    """
    if not _CANONICAL_UUID.fullmatch(text):
        raise InvalidRequest("KERNEL_ID must be a lower-case UUID such as 5f0c2e1a-9a3b-4c57-8a61-0d2f6f1f7b90")
    return text


def parse_launch_timeout(text: str | None, default: float) -> float:
    """Seconds a start may take: `KERNEL_LAUNCH_TIMEOUT`, or `default` when it is absent or empty.

    Raises:
        InvalidRequest: not a number above 0 and up to `MAX_LAUNCH_TIMEOUT`.
    """
    if not text:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= MAX_LAUNCH_TIMEOUT:  # false for NaN as well
        raise InvalidRequest(
            f"KERNEL_LAUNCH_TIMEOUT must be a number of seconds above 0 and up to {MAX_LAUNCH_TIMEOUT:.0f}"
        )
    return seconds
