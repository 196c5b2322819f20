"""Many kernels and many clients on one gateway: what each costs, and what a killed gateway loses."""

from __future__ import annotations

import time
from statistics import mean

import psutil

from benchmarks import processes
from benchmarks.bench import Bench, Client, Fleet, peer_of
from benchmarks.processes import MIB
from benchmarks.report import Row

LISTED = 50
KERNEL_AND_AGENT = 60 * MIB
"""Memory to leave for a null kernel and its agent; fewer are started on a small machine."""
TICK = 0.05
"""Seconds between two messages of a busy kernel."""
AGENTS_LOOKED_AT = 5


def listing(bench: Bench) -> list[Row]:
    """GET /api/kernels, one request after the other on one connection; before the fleet grows further."""
    fleet = bench.fleet
    fleet.grow(LISTED)
    answer = bench.measure("listing", rest=fleet.gateway.rest, seconds=1.0 if bench.quick else 4.0)
    what = f"GET /api/kernels, {len(fleet.kernel_ids)} kernels, one connection"
    note = f"{answer['bytes']:,} bytes an answer, client {answer['client_cpu'] * 1e6:.0f} µs CPU each"
    return [Row(what, "/s", answer["per_second"], at_least=5000, eg="1,374", note=note)]


def memory(bench: Bench) -> list[Row]:
    """What the gateway holds for each idle kernel with one client, and what an agent holds."""
    fleet, pid = bench.fleet, bench.fleet.gateway.pid
    already = len(fleet.kernel_ids)
    if not already:
        fleet.grow(1)  # what the first kernel of all costs once is not a cost of each
        already = 1
    empty = processes.private_memory(pid), processes.open_files(pid)
    fleet.grow(fleet_size(bench))
    new = [peer_of(fleet.gateway, kernel_id, "v1") for kernel_id in fleet.kernel_ids[already:]]
    client = Client("hold", peers=new)
    client.read()
    memory_each = (processes.private_memory(pid) - empty[0]) / len(new)
    files_each = (processes.open_files(pid) - empty[1]) / len(new)
    client.proceed()
    client.finish()
    note = f"{len(new)} null kernels with one websocket each"
    return [
        Row("gateway memory per connected idle kernel", "MiB", memory_each, at_most=0.1, eg="0.40", note=note),
        Row("gateway file descriptors per connected idle kernel", "fds", files_each, at_most=4, eg="13"),
        Row(
            "private memory of an agent",
            "MiB",
            agent_memory(bench, fleet),
            at_most=25,
            note="USS: what it shares with others it was forked from does not count",
        ),
    ]


def agent_memory(bench: Bench, fleet: Fleet) -> float:
    """The mean of a few."""
    peers = [peer_of(fleet.gateway, kernel_id, "v1") for kernel_id in fleet.kernel_ids[-AGENTS_LOOKED_AT:]]
    return mean(processes.private_memory(bench.agent_of(peer)) for peer in peers)


def connections(bench: Bench) -> list[Row]:
    """Thousands of websockets at once: all answered in the end, and a round trip meanwhile."""
    fleet = bench.fleet
    fleet.grow(fleet_size(bench))
    wanted = 200 if bench.quick else 2000
    client = Client("hold", peers=fleet.peers(wanted))
    client.read()
    peer = peer_of(fleet.gateway, fleet.kernel_ids[0], "v1")
    meanwhile = bench.measure("roundtrip", peer=peer, code="nothing", count=200)
    client.proceed()
    answered = client.finish()["answered"]
    note = f"on {len(fleet.kernel_ids)} kernels; every websocket then asked its kernel and got the answer"
    return [
        Row("websockets served at once by one gateway", "", answered, at_least=wanted, eg="145", note=note),
        Row(f"execute round trip, v1, p50, with {wanted:,} websockets open", "ms", meanwhile["p50"] * 1e3),
    ]


def failover(bench: Bench) -> list[Row]:
    """The gateway is killed while every kernel writes; a new one gets the same port and state folder."""
    fleet = bench.fleet
    busy, ticks = (20, 100) if bench.quick else (100, 240)
    fleet.grow(busy)
    client = Client("failover", peers=fleet.peers(busy), count=ticks, seconds=TICK)
    client.read()
    killed_at = time.monotonic()
    fleet.gateway.kill()
    fleet.gateway.start()
    outcome = client.finish()
    listed = {kernel["id"] for kernel in fleet.gateway.rest.call("GET", "/api/kernels")}
    lost_kernels = len(set(fleet.kernel_ids) - listed)
    back = outcome["last_back_at"] - killed_at
    note = f"{busy} kernels wrote a message every {TICK * 1e3:.0f} ms, {ticks} each; "
    note += f"{outcome['cut_off']} clients were cut off, {outcome['duplicates']} messages came twice, "
    note += f"{outcome['never_idle']} cells never ended"
    return [
        Row(
            f"messages lost, gateway killed with {busy} busy kernels",
            "messages",
            outcome["lost"],
            at_most=0,
            eg="all",
            note=note,
        ),
        Row("kernels lost", "kernels", lost_kernels, at_most=0),
        Row("until the last client has messages again", "s", back, at_most=5),
    ]


def fleet_size(bench: Bench) -> int:
    """Kernels to have: as many as a table row wants, or as memory allows."""
    existing = len(bench.fleet.kernel_ids)
    room = int(psutil.virtual_memory().available // KERNEL_AND_AGENT)
    return max(existing + 1, min(80 if bench.quick else 200, existing + room)) if room else existing
