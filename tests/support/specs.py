"""Kernel specs for tests that are not about a language."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

NULL_KERNEL = Path(__file__).parents[2] / "benchmarks" / "null_kernel.py"


def spec(*argv: str, **more: Any) -> dict[str, Any]:
    """A kernel.json that runs `argv`."""
    return {"argv": list(argv), "display_name": "test", "language": "none", **more}


NULL = spec(sys.executable, str(NULL_KERNEL), "-f", "{connection_file}")
"""A kernel that starts quickly and does nothing: see `benchmarks/null_kernel.py` for what it executes."""
