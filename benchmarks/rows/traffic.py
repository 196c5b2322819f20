"""Round trips and output through the gateway, next to the same without one."""

from __future__ import annotations

from statistics import median
from typing import Any

from benchmarks import processes
from benchmarks.bench import IPYKERNEL, NULL, Run
from benchmarks.report import Row

PROTOCOLS = {"json": "JSON", "v1": "v1"}
MICROSECONDS = 1e6
STREAM_SIZE = 20
"""Characters of a small stream message."""
MEGABYTE = 1_000_000

Runs = dict[str, list[dict[str, Any]]]


def roundtrip(bench: Run) -> list[Row]:
    """An execute_request that costs the kernel nothing, until both its reply and idle are here."""
    runs = interleaved(bench, "roundtrip", NULL, repeats=3, code="nothing", count=200 if bench.quick else 2000)
    rows = []
    for protocol, label in PROTOCOLS.items():
        half, tail = ((middle(runs, protocol, key) * 1e3, middle(runs, "zmq", key) * 1e3) for key in ("p50", "p99"))
        rows += [
            Row(f"execute round trip, {label}, p50", "ms", *half, at_most=1.2, eg="47.8"),
            Row(f"execute round trip, {label}, p99", "ms", *tail, at_most=4),
        ]
    return rows


def roundtrip_ipykernel(bench: Run) -> list[Row]:
    """The same with the kernel that most people use."""
    runs = interleaved(bench, "roundtrip", IPYKERNEL, repeats=3, code="pass", count=50 if bench.quick else 300)
    floor = middle(runs, "zmq", "p50") * 1e3
    return [
        Row(f"execute round trip, ipykernel, {label}, p50", "ms", middle(runs, protocol, "p50") * 1e3, floor)
        for protocol, label in PROTOCOLS.items()
    ]


def stream(bench: Run) -> list[Row]:
    """One cell that writes small stream messages as fast as it can: rate, loss, order, CPU of each part."""
    count = 20_000 if bench.quick else 40_000
    runs = interleaved(
        bench,
        "flood",
        NULL,
        repeats=2 if bench.quick else 5,
        msg_type="stream",
        size=STREAM_SIZE,
        count=count,
    )
    rate = "messages_per_second"
    rows = []
    for (protocol, label), eg in zip(PROTOCOLS.items(), ("2,470", "3,406"), strict=True):
        note = f"{count:,} messages of {STREAM_SIZE} characters, {len(runs[protocol])} times; "
        note += f"client {middle(runs, protocol, 'client_cpu_per_message') * MICROSECONDS:.1f} µs CPU a message"
        bad = float(sum(run["lost"] + run["misplaced"] for run in runs[protocol]))
        costs = (middle(runs, protocol, f"{part}_cpu") / count * MICROSECONDS for part in ("gateway", "agent"))
        gateway_cpu, agent_cpu = costs
        rows += [
            Row(
                f"stream messages of one cell, {label}",
                "/s",
                middle(runs, protocol, rate),
                middle(runs, "zmq", rate),
                at_least=25_000,
                eg=eg,
                note=note,
            ),
            Row(f"stream messages lost or out of order, {label}", "messages", bad, at_most=0),
            Row(f"gateway CPU per message, {label}", "µs", gateway_cpu, at_most=3, eg="412"),
            Row(f"agent CPU per message, {label}", "µs", agent_cpu),
        ]
    return rows


def display(bench: Run) -> list[Row]:
    """One cell that displays megabytes."""
    count = 30 if bench.quick else 100
    runs = interleaved(bench, "flood", NULL, repeats=3, msg_type="display_data", size=MEGABYTE, count=count)
    rate = "bytes_per_second"
    floor = middle(runs, "zmq", rate) / MEGABYTE
    targets = {"json": (150, "113"), "v1": (300, "278")}
    return [
        Row(
            f"display_data of 1 MB, {PROTOCOLS[protocol]}",
            "MB/s",
            middle(runs, protocol, rate) / MEGABYTE,
            floor,
            at_least=least,
            eg=eg,
        )
        for protocol, (least, eg) in targets.items()
    ]


def interleaved(bench: Run, measurement: str, spec: str, *, repeats: int, **parameters: Any) -> Runs:
    """Floor, JSON, v1, floor, JSON, v1, …: what changes on the machine meanwhile changes for all."""
    runs: Runs = {protocol: [] for protocol in ("zmq", *PROTOCOLS)}
    parts = bench.parts(spec)
    for _ in range(repeats):
        for protocol, done in runs.items():
            peer = bench.peer(spec, protocol)
            before = {part: cpu_of(pids) for part, pids in parts.items()}
            run = bench.measure(measurement, peer=peer, **parameters)
            done.append(run | {f"{part}_cpu": cpu_of(pids) - before[part] for part, pids in parts.items()})
    return runs


def cpu_of(pids: list[int]) -> float:
    return sum(map(processes.cpu_seconds, pids))


def middle(runs: Runs, protocol: str, key: str) -> float:
    return float(median(run[key] for run in runs[protocol]))
