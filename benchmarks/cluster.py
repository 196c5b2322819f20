"""`python -m benchmarks.cluster [--quick] [--only NAME …] [--profile NAME] [--title TEXT]`, with `tests` on PYTHONPATH.

What the gateway costs on the cluster of KUBECONFIG, whose only node must be this machine and have the images, and what
a replica holds for thousands of pods of a cluster that is only simulated.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from contextlib import ExitStack
from types import FrameType

from benchmarks import cluster_scale, profiling, report
from benchmarks.cluster_bench import ClusterBench
from benchmarks.cluster_rows import MEASUREMENTS
from benchmarks.report import Row

SCALE = "scale"


def main() -> int:
    """Run the chosen measurements, print and keep the table; 1 when a target is missed."""
    chosen = arguments()
    signal.signal(signal.SIGTERM, leave)
    if chosen.profile:
        print(profile(chosen.profile, quick=chosen.quick))
        return 0
    described = report.machine()
    rows = measure(chosen.only or [*MEASUREMENTS, SCALE], quick=chosen.quick)
    print(report.table(rows))
    if not chosen.only:
        kept = report.keep(rows, described, chosen.title, "benchmarks.cluster")
        print(f"\nkept as {kept.name}", file=sys.stderr)
    return int(any(row.met is False for row in rows))


def measure(names: list[str], *, quick: bool) -> list[Row]:
    """The rows of all measurements; the cluster is used from the first that needs it."""
    rows: list[Row] = []
    with ExitStack() as ends:
        bench: ClusterBench | None = None
        for name in names:
            start = time.monotonic()
            if name == SCALE:
                rows += cluster_scale.scale(quick=quick)
            else:
                bench = bench or ends.enter_context(ClusterBench(quick=quick))
                rows += MEASUREMENTS[name](bench)
            print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    return rows


def profile(name: str, *, quick: bool) -> str:
    """Where the replicas spend their time during a measurement, by function.

    Without C functions: the profiler cannot unwind the interpreter of every base image.
    """
    with ClusterBench(quick=quick) as bench:
        pids = {f"replica {number}": pid for number, pid in enumerate(bench.replica_pids(), 1)}
        return profiling.during(lambda: MEASUREMENTS[name](bench), pids, bench.folder, native=False)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description="What the gateway costs.")
    parser.add_argument("--quick", action="store_true", help="fewer repeats: minutes instead of a quarter of an hour")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        choices=[*MEASUREMENTS, SCALE],
        default=[],
        help="some rows; keeps no result file",
    )
    parser.add_argument(
        "--profile", metavar="NAME", choices=MEASUREMENTS, help="one measurement with the replicas under a profiler"
    )
    parser.add_argument("--title", default="cluster", help="name of the result file, after the date")
    return parser.parse_args()


def leave(signum: int, _: FrameType | None) -> None:
    """End as an exception does, so that everything that was started is ended too."""
    sys.exit(128 + signum)


if __name__ == "__main__":
    sys.exit(main())
