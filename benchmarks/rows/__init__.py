"""What is measured, by name; each measurement returns the rows it fills."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.bench import Bench
from benchmarks.report import Row
from benchmarks.rows import fleet, starts, traffic

MEASUREMENTS: dict[str, Callable[[Bench], list[Row]]] = {
    "roundtrip": traffic.roundtrip,
    "roundtrip-ipykernel": traffic.roundtrip_ipykernel,
    "stream": traffic.stream,
    "display": traffic.display,
    "start": starts.start,
    "start-at-once": starts.start_at_once,
    "start-warm": starts.start_warm,
    "restart": starts.restart,
    "list": fleet.listing,
    "memory": fleet.memory,
    "connections": fleet.connections,
    "failover": fleet.failover,
}
"""In the order of a run: a fleet that has grown does not shrink."""

ON_FLEET = {"list", "memory", "connections", "failover"}
"""Those that measure the fleet's gateway."""
