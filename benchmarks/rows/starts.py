"""From nothing to the first result, and again after a restart."""

from __future__ import annotations

import time
from statistics import median

from benchmarks import processes
from benchmarks.bench import IPYKERNEL, Bench, peer_of
from benchmarks.gateway import Gateway
from benchmarks.report import Row

AT_ONCE = 20
WARM_KERNELS = 2
POOL_SETTLES = 4.0
"""Seconds after which a pool of ipykernels is full again."""


def start(bench: Bench) -> list[Row]:
    """One ipykernel: POST until the reply of its first cell; and what the gateway itself spends on it."""
    ours, floors, cpu = timed_starts(bench, at_once=1, repeats=3 if bench.quick else 7)
    return [
        Row("start to first result, ipykernel", "s", ours, floors, at_most=0.42, eg="0.456"),
        Row("gateway CPU per start", "ms", cpu * 1e3, at_most=20, eg="1,100"),
    ]


def start_at_once(bench: Bench) -> list[Row]:
    """Twenty at once, until the last has its first result."""
    ours, floor, cpu = timed_starts(bench, at_once=AT_ONCE, repeats=1 if bench.quick else 3)
    return [
        Row(f"{AT_ONCE} starts at once to the last first result", "s", ours, floor, at_most=4.4, eg="4.4"),
        Row(f"gateway CPU per start, {AT_ONCE} at once", "ms", cpu * 1e3, at_most=20, eg="1,100"),
    ]


def start_warm(bench: Bench) -> list[Row]:
    """One ipykernel out of a pool that is full."""
    gateway = bench.new_gateway(EG_WARM_KERNELS=str(WARM_KERNELS), EG_DEFAULT_KERNEL_NAME=IPYKERNEL)
    ours = []
    for _ in range(2 if bench.quick else 5):
        time.sleep(POOL_SETTLES)
        started = bench.measure("start", rest=gateway.rest, spec=IPYKERNEL, at_once=1)
        ours.append(started["seconds"])
        delete(gateway, started["kernel_ids"])
    gateway.stop()
    return [Row("start to first result, ipykernel, warm pool", "s", median(ours), at_most=0.1)]


def timed_starts(bench: Bench, *, at_once: int, repeats: int) -> tuple[float, float, float]:
    """Medians: seconds through the gateway, seconds by hand, seconds of the gateway's CPU per kernel."""
    gateway = bench.gateway
    ours, floors, cpu = [], [], []
    for _ in range(repeats):
        spec_folder = bench.spec_folder(IPYKERNEL)
        bare = bench.measure("start_bare", spec_folder=spec_folder, folder=bench.folder, at_once=at_once)
        floors.append(bare["seconds"])
        before = processes.cpu_seconds(gateway.pid)
        started = bench.measure("start", rest=gateway.rest, spec=IPYKERNEL, at_once=at_once)
        cpu.append((processes.cpu_seconds(gateway.pid) - before) / at_once)
        ours.append(started["seconds"])
        delete(gateway, started["kernel_ids"])
    return median(ours), median(floors), median(cpu)


def restart(bench: Bench) -> list[Row]:
    """A restart, seen by a client that stays connected."""
    kernel_id = bench.gateway.rest.start_kernel(IPYKERNEL)
    ours, floors = [], []
    for _ in range(2 if bench.quick else 5):
        bare = bench.measure("restart_bare", spec_folder=bench.spec_folder(IPYKERNEL), folder=bench.folder)
        floors.append(bare["seconds"])
        peer = peer_of(bench.gateway, kernel_id, "v1")
        ours.append(bench.measure("restart", rest=bench.gateway.rest, peer=peer)["seconds"])
    delete(bench.gateway, [kernel_id])
    return [Row("restart to next result, ipykernel", "s", median(ours), median(floors))]


def delete(gateway: Gateway, kernel_ids: list[str]) -> None:
    for kernel_id in kernel_ids:
        gateway.rest.call("DELETE", f"/api/kernels/{kernel_id}")
