"""`python -m benchmarks [--quick] [--only NAME …] [--profile NAME] [--title TEXT]`."""

from __future__ import annotations

import argparse
import sys
import time

from benchmarks import profiling, report
from benchmarks.bench import Bench
from benchmarks.report import Row
from benchmarks.rows import MEASUREMENTS


def main() -> int:
    """Run the chosen measurements, print and keep the table; 1 when a target is missed."""
    chosen = arguments()
    described = report.machine()
    rows: list[Row] = []
    with Bench(quick=chosen.quick) as bench:
        if chosen.profile:
            print(profiling.profile(bench, chosen.profile))
            return 0
        for name in MEASUREMENTS:
            if not chosen.only or name in chosen.only:
                start = time.monotonic()
                rows += MEASUREMENTS[name](bench)
                print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    print(report.table(rows))
    if not chosen.only:
        print(f"\nkept as {report.keep(rows, described, chosen.title).name}", file=sys.stderr)
    return int(any(row.met is False for row in rows))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What the gateway costs.")
    parser.add_argument("--quick", action="store_true", help="fewer repeats: a minute instead of minutes")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        choices=MEASUREMENTS,
        default=[],
        help="some rows; keeps no result file",
    )
    parser.add_argument(
        "--profile", metavar="NAME", choices=MEASUREMENTS, help="one measurement under a sampling profiler"
    )
    parser.add_argument("--title", default="local", help="name of the result file, after the date")
    return parser.parse_args()


sys.exit(main())
