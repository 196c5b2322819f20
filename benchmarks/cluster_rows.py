"""What is measured on a cluster, each row beside a bare pod that does the same in the same run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from statistics import median

from benchmarks import processes
from benchmarks.bench import IPYKERNEL, NULL, Client, peer_of
from benchmarks.cluster_bench import ARGV, ClusterBench
from benchmarks.cluster_spark import spark
from benchmarks.cluster_spark_submit import spark_submit
from benchmarks.report import Row
from benchmarks.rows import traffic

AT_ONCE = 20
EG_START, EG_AT_ONCE, EG_CPU, EG_RESTART = "1.9-2.7", "22-38", "1,100", "3.0"
TICK = 0.05
"""Seconds between two lines of a kernel that streams."""
KILLS_APART = 5.0
"""Seconds that clients and replicas have to settle, at least."""


def start(bench: ClusterBench) -> list[Row]:
    """One ipykernel in a pod: POST until the reply of its first cell; and what the gateways spend on it."""
    return timed_starts(bench, at_once=1, repeats=3 if bench.quick else 9)


def start_at_once(bench: ClusterBench) -> list[Row]:
    """Twenty at once, until the last has its first result."""
    return timed_starts(bench, at_once=AT_ONCE, repeats=1 if bench.quick else 3)


def timed_starts(bench: ClusterBench, *, at_once: int, repeats: int) -> list[Row]:
    """Bare pods, kernels, bare pods, kernels, …; the first pair of all is not counted."""
    ours, floors, results, cpu = [], [], [], []
    refusals: list[str] = []
    for repeat in range(repeats + 1):
        bare = bench.bare_pods.start(ARGV[IPYKERNEL], at_once)
        bench.bare_pods.delete(bare)
        before = bench.replicas_cpu()
        started = bench.measure("start", rest=bench.rest, spec=IPYKERNEL, at_once=at_once)
        spent = bench.replicas_cpu() - before
        bench.delete_kernels(started["kernel_ids"])
        refusals += started["refusals"]
        if repeat:
            floors.append(bare.heartbeat)
            results.append(bare.result)
            ours.append(started["seconds"])
            cpu.append(spent / at_once)
    what = "pod start to first result" if at_once == 1 else f"{at_once} pod starts at once to the last first result"
    much, eg = (1.35, EG_START) if at_once == 1 else (1.3, EG_AT_ONCE)
    note = f"the floor is a bare pod's first heartbeat; its first result came after {median(results):.3g} s; "
    note += (
        f"medians of {repeats}, ours {min(ours):.3g} to {max(ours):.3g}, floor {min(floors):.3g} to {max(floors):.3g}"
    )
    suffix = "" if at_once == 1 else f", {at_once} at once"
    return [
        Row(what, "s", median(ours), median(floors), at_most_floors=much, eg=eg, note=note),
        Row(f"gateway CPU per pod start{suffix}", "ms", median(cpu) * 1e3, at_most=20, eg=EG_CPU, note="all replicas"),
        Row(f"websockets refused after a start{suffix}", "", len(refusals), at_most=0, note="; ".join(set(refusals))),
    ]


def restart(bench: ClusterBench) -> list[Row]:
    """A restart in the same pod, seen by a client that stays connected."""
    kernel_id = bench.rest.start_kernel(IPYKERNEL)
    peer = peer_of(bench, kernel_id, "v1", session="bench")
    ours, floors = [], []
    for _ in range(3 if bench.quick else 7):
        floors.append(bench.bare_restart())
        ours.append(bench.measure("restart", rest=bench.rest, peer=peer)["seconds"])
    bench.delete_kernels([kernel_id])
    note = "the floor is an ipykernel of this machine, outside of any pod, killed and started again"
    row = Row("restart in a pod to next result", "s", median(ours), median(floors), at_most=1, eg=EG_RESTART, note=note)
    return [row]


def failover(bench: ClusterBench) -> list[Row]:
    """Twenty kernels stream; the replica that serves most is killed, several times: how long are clients cut off?"""
    count, kills = AT_ONCE, 2 if bench.quick else 6
    kernel_ids = [bench.rest.start_kernel(NULL) for _ in range(count)]
    client = Client("follow", peers=[peer_of(bench, each, "v1", session="bench") for each in kernel_ids], seconds=TICK)
    client.read()
    for _ in range(kills):
        time.sleep(KILLS_APART)
        os.kill(max(bench.replica_pids(), key=processes.open_files), signal.SIGKILL)
        time.sleep(KILLS_APART)
        bench.deployed.until_rolled_out()
    client.proceed()
    outcome = client.finish()
    gaps = sorted(outcome["gaps"])
    if not gaps:
        raise RuntimeError("no client was cut off")
    listed = {kernel["id"] for kernel in bench.rest.call("GET", "/api/kernels")}
    note = f"{kills} replicas killed, one after the other; {len(gaps)} times a client was cut off; "
    note += f"{outcome['duplicates']} lines came twice, {outcome['silent']} clients did not come back"
    p99 = gaps[min(len(gaps) - 1, len(gaps) * 99 // 100)]
    lost_kernels = len(set(kernel_ids) - listed)
    bench.delete_kernels(sorted(set(kernel_ids) & listed))
    return [
        Row("gap in the output of a cell, replica killed, p50", "s", median(gaps), TICK),
        Row("gap in the output of a cell, replica killed, p99", "s", p99, TICK, at_most=5, note=note),
        Row("lines lost, replicas killed", "lines", outcome["lost"], at_most=0, eg="all"),
        Row("kernels lost, replicas killed", "kernels", lost_kernels + outcome["silent"], at_most=0, eg="all"),
    ]


MEASUREMENTS: dict[str, Callable[[ClusterBench], list[Row]]] = {
    "start": start,
    "start-at-once": start_at_once,
    "restart": restart,
    "roundtrip": traffic.roundtrip,
    "roundtrip-ipykernel": traffic.roundtrip_ipykernel,
    "stream": traffic.stream,
    "display": traffic.display,
    "failover": failover,
    "spark": spark,
    "spark-submit": spark_submit,
}
"""In the order of a run."""
