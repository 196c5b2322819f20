"""A replica that knows thousands of pods, on a cluster that is only simulated: what it holds, asks and needs.

The gateway is real, a process of its own. Its floor is the same gateway in a namespace without pods.
"""

from __future__ import annotations

import json
import resource
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import processes
from benchmarks.bench import Client
from benchmarks.cluster_simulated import EMPTY_NAMESPACE, NAMESPACE
from benchmarks.gateway import Gateway
from benchmarks.report import Row
from benchmarks.rest import Rest

HERE = Path(__file__).parent
SPEC = "python_kubernetes"
FEW = 5
"""Kernels of the user who has few."""
STARTS_AT_ONCE = 20
SETTLE = 2.0
MINUTE = 60
ASKED_AGAIN = 1.2
"""Seconds after which statuses in a list are too old, with a margin."""


def scale(*, quick: bool) -> list[Row]:
    """All rows: they share one simulation."""
    pods = 1000 if quick else 5000
    most_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    with simulated() as cluster:
        template(cluster)
        few = cluster.ask("clone", count=FEW - 1, owner="few")
        clones = cluster.ask("clone", count=pods - FEW, owner="many")
        note = f"{clones['pods']:,} pods of {clones['pod_bytes']:,} bytes; {few['pods']} belong to one user"
        with cluster.gateway(EMPTY_NAMESPACE) as (empty, empty_seconds):
            floor = empty_seconds, processes.private_memory(empty.pid)
        with cluster.gateway(NAMESPACE) as (gateway, seconds):
            memory = processes.private_memory(gateway.pid)
            rows = [
                Row(f"gateway start until {pods:,} pods are known", "s", seconds, floor[0], note=note),
                Row(f"gateway memory with {pods:,} pods", "MiB", memory, floor[1]),
                Row("gateway memory per pod", "KiB", (memory - floor[1]) * 1024 / pods),
            ]
            rows += quiet(cluster, gateway, pods, 10 if quick else 60)
            rows += events(cluster, gateway, 1000 if quick else 5000)
            rows += lists(cluster, gateway, pods, quick=quick)
            rows += starts(gateway, pods, 40 if quick else 200)
        return rows


def quiet(cluster: Simulated, gateway: Gateway, pods: int, seconds: float) -> list[Row]:
    """Nothing happens and nobody asks: what does the gateway ask, and what does it spend?"""
    time.sleep(SETTLE)
    before, cpu = cluster.ask("requests"), processes.cpu_seconds(gateway.pid)
    time.sleep(seconds)
    after, spent = cluster.ask("requests"), processes.cpu_seconds(gateway.pid) - cpu
    asked = after["requests"] - before["requests"]
    note = f"{asked} in {seconds:.0f} s, beside {after['watches']} open watches, renewed every 5 minutes"
    return [
        Row("API requests in steady state", "/min", asked * MINUTE / seconds, at_most=1, note=note),
        Row(f"gateway CPU in steady state, {pods:,} pods", "ms/s", spent / seconds * 1e3),
    ]


def events(cluster: Simulated, gateway: Gateway, count: int) -> list[Row]:
    """Pods change in ways that mean nothing."""
    before = processes.cpu_seconds(gateway.pid)
    cluster.ask("touch", count=count)
    time.sleep(SETTLE)
    spent = processes.cpu_seconds(gateway.pid) - before
    return [Row("gateway CPU per change of a pod", "µs", spent / count * 1e6, note=f"{count:,} changes")]


def lists(cluster: Simulated, gateway: Gateway, pods: int, *, quick: bool) -> list[Row]:
    """Lists of little and of everything: so far apart that agents are asked each time, and one after the other."""
    rows = []
    for owner, shown in (("few", FEW), ("many", pods - FEW)):
        rest = cluster.rest_of(gateway, owner)
        first = listing(rest, seconds=0.0)
        before = processes.cpu_seconds(gateway.pid)
        apart = listing(rest, pause=ASKED_AGAIN, seconds=6 if quick else 30)
        cpu = (processes.cpu_seconds(gateway.pid) - before) / apart["answers"]
        together = listing(rest, seconds=1 if quick else 5)
        what = f"GET /api/kernels, {shown:,} of {pods:,} kernels"
        note = f"{apart['bytes']:,} bytes; the longest took {apart['longest'] * 1e3:.0f} ms, "
        note += f"gateway CPU {cpu * 1e3:.1f} ms each"
        rows += [
            Row(f"{what}, no agent connected yet", "ms", first["longest"] * 1e3),
            Row(f"{what}, agents asked anew, p50", "ms", apart["p50"] * 1e3, note=note),
            Row(f"{what}, one after the other, p50", "ms", together["p50"] * 1e3),
        ]
    rows.append(Row(f"gateway memory after lists, {pods:,} pods", "MiB", processes.private_memory(gateway.pid)))
    return rows


def starts(gateway: Gateway, pods: int, count: int) -> list[Row]:
    """Starts of pods that run at once, beside all those that are there."""
    begin, cpu = time.perf_counter(), processes.cpu_seconds(gateway.pid)
    with ThreadPoolExecutor(STARTS_AT_ONCE) as threads:
        list(threads.map(gateway.rest.start_kernel, [SPEC] * count))
    seconds, spent = time.perf_counter() - begin, processes.cpu_seconds(gateway.pid) - cpu
    what = f"simulated starts, {STARTS_AT_ONCE} at a time, beside {pods:,} pods"
    return [
        Row(what, "/s", count / seconds, note="gateway, simulated cluster and client share the machine"),
        Row("gateway CPU per simulated start", "ms", spent / count * 1e3, at_most=20),
    ]


class Simulated:
    """The process of the simulated cluster, and gateways that use it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "benchmarks.cluster_simulated", str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._kubeconfig = self._read()["kubeconfig"]
        self._tokens = {owner: secrets.token_hex(16) for owner in ("few", "many")}
        entries = [{"name": owner, "token": token} for owner, token in self._tokens.items()]
        (folder / "tokens.json").write_text(json.dumps({"tokens": entries}))

    def close(self) -> None:
        self._process.communicate()

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Its answer to a command."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps([command, arguments]) + "\n")
        self._process.stdin.flush()
        return self._read()

    @contextmanager
    def gateway(self, namespace: str) -> Iterator[tuple[Gateway, float]]:
        """A gateway of this machine, and how many seconds it took until it served; killed at the end."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        settings = {
            "KUBECONFIG": self._kubeconfig,
            "JUPYTER_PATH": str(self.folder / "jupyter"),
            "EG_BACKENDS": "kubernetes",
            "EG_KUBERNETES_NAMESPACE": namespace,
            "EG_RESPONSE_IP": "127.0.0.1",
            "EG_RESPONSE_PORT": "0",
            "EG_AGENT_IMAGE": "localhost/enterprise-gateway:dev",
            "EG_KERNEL_IMAGE": "localhost/kernel-py:dev",
            "EG_TOKEN_FILE": str(self.folder / "tokens.json"),
        }
        begin = time.perf_counter()
        gateway = Gateway(folder, settings)
        seconds = time.perf_counter() - begin
        try:
            yield gateway, seconds
        finally:
            gateway.kill()

    def rest_of(self, gateway: Gateway, owner: str) -> Rest:
        """The gateway as one user sees it."""
        return Rest(gateway.rest.port, self._tokens[owner])

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the simulated cluster ended with {self._process.wait()}")
        report: dict[str, Any] = json.loads(line)
        return report


@contextmanager
def simulated() -> Iterator[Simulated]:
    """A simulated cluster; what was started for it ends with it."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    shutil.copytree(HERE.parent / "etc" / "kernelspecs", folder / "jupyter" / "kernels")
    try:
        cluster = Simulated(folder)
        try:
            yield cluster
        finally:
            cluster.close()
    finally:
        processes.end_all(str(folder))
        shutil.rmtree(folder, ignore_errors=True)


def template(cluster: Simulated) -> None:
    """The first pod, which a gateway makes itself, so that all others are as it makes them."""
    with cluster.gateway(NAMESPACE) as (gateway, _):
        cluster.rest_of(gateway, "few").start_kernel(SPEC)


def listing(rest: Rest, *, seconds: float, pause: float = 0.0) -> dict[str, Any]:
    return Client("listing", rest=rest, seconds=seconds, pause=pause).finish()
