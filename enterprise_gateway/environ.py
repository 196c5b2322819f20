"""The only reader of the process environment.

Everything else is given a mapping, so that a test, a second gateway in one process and the agent all say
what their environment is instead of finding one.
"""

from __future__ import annotations

import os


def snapshot() -> dict[str, str]:
    """A copy of the environment as it is now; later changes do not reach the gateway."""
    return dict(os.environ)
