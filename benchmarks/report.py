"""Rows, and how they are printed and kept."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import psutil

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("jupyter_enterprise_gateway", "aiohttp", "ipykernel", "msgspec", "pyzmq", "uvloop")
COLUMNS = ("what", "floor", "ours", "ours / floor", "target", "met", "EG 3.3")


class Row(msgspec.Struct):
    """One line of the table: `ours` and `floor` in `unit`; the target is a bound that `ours` must keep."""

    what: str
    unit: str
    ours: float
    floor: float | None = None
    at_most: float | None = None
    at_least: float | None = None
    at_most_floors: float | None = None
    """A bound in multiples of the floor."""
    eg: str = ""
    """What Enterprise Gateway 3.3 was measured to need, elsewhere and earlier: for orientation."""
    note: str = ""

    @property
    def met(self) -> bool | None:
        if self.at_most_floors is not None:
            return self.floor is not None and self.ours <= self.at_most_floors * self.floor
        if self.at_most is not None:
            return self.ours <= self.at_most
        return None if self.at_least is None else self.ours >= self.at_least

    def cells(self) -> list[str]:
        ratio = f"{self.ours / self.floor:.2f}" if self.floor else ""
        target = ""
        if self.at_most_floors is not None:
            target = f"≤ {number(self.at_most_floors)} floors"
        elif self.at_most is not None:
            target = f"≤ {number(self.at_most)}"
        elif self.at_least is not None:
            target = f"≥ {number(self.at_least)}"
        met = {True: "yes", False: "NO", None: ""}[self.met]
        what = f"{self.what} [{self.unit}]" if self.unit else self.what
        return [what, number(self.floor), number(self.ours), ratio, target, met, self.eg]


def number(quantity: float | None) -> str:
    """Three significant digits, or all in front of the point."""
    if quantity is None:
        return ""
    return f"{quantity:,.0f}" if abs(quantity) >= 100 or quantity == int(quantity) else f"{quantity:.3g}"


def table(rows: list[Row]) -> str:
    """A Markdown table that is also readable in a terminal."""
    lines = [list(COLUMNS), *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    lines.insert(1, ["-" * width for width in widths])
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    notes = [f"- {row.what}: {row.note}" for row in rows if row.note]
    return "\n".join([*("| " + " | ".join(line) + " |" for line in padded), "", *notes])


def machine() -> dict[str, Any]:
    """What the numbers depend on; nothing that names a host or a path."""
    cpu = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    return {
        "cpu": cpu.partition(":")[2].strip(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / (1 << 30), 1),
        "load_before": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "python": platform.python_version(),
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
        "revision": revision(),
    }


def revision() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    described = subprocess.run(command, cwd=RESULTS.parent, capture_output=True, text=True, check=False)
    return described.stdout.strip() or "uncommitted"


def keep(rows: list[Row], described: dict[str, Any], title: str, module: str = "benchmarks") -> Path:
    """Write the results of `python -m module` as JSON and Markdown; returns the path of the latter."""
    RESULTS.mkdir(exist_ok=True)
    stem = RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-{title}"
    kept = {"machine": described, "rows": [msgspec.to_builtins(row) | {"met": row.met} for row in rows]}
    stem.with_suffix(".json").write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n")
    facts = "\n".join(f"- {name}: {fact}" for name, fact in described.items())
    command = f"`python -m {module} " + " ".join(sys.argv[1:]).strip() + "`"
    text = f"# Benchmarks, {title}\n\n{command}\n\n{facts}\n\n{table(rows)}\n"
    stem.with_suffix(".md").write_text(text)
    return stem.with_suffix(".md")
