"""`python -m benchmarks.client MEASUREMENT`: one measurement, then the end.

Parameters come as the first line of stdin, results go to stdout, both as one JSON object a line.
"""

from __future__ import annotations

import json
import sys
import typing
from collections.abc import Callable
from typing import Any

import msgspec

from benchmarks.client import fleet, starts, traffic

MEASUREMENTS: dict[str, Callable[..., dict[str, Any]]] = {
    "ask": traffic.ask,
    "failover": fleet.failover,
    "flood": traffic.flood,
    "follow": fleet.follow,
    "hold": fleet.hold,
    "listing": traffic.listing,
    "restart": starts.restart,
    "restart_bare": starts.restart_bare,
    "roundtrip": traffic.roundtrip,
    "start": starts.start,
    "start_bare": starts.start_bare,
}


def main() -> None:
    measurement = MEASUREMENTS[sys.argv[1]]
    kinds = typing.get_type_hints(measurement)
    parameters = json.loads(sys.stdin.readline())
    arguments = {
        name: msgspec.convert(given, kinds[name], dec_hook=lambda kind, text: kind(text))
        for name, given in parameters.items()
    }
    print(json.dumps(measurement(**arguments)), flush=True)


main()
