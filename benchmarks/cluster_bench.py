"""One run on a cluster: its namespace, the deployment in it, its kernels, its bare pods.

Blocking. The cluster is that of KUBECONFIG; its only node must be this machine, because what a pod costs is read from
this machine's processes. Everything that was made is in one namespace, which is deleted with the run.
"""

from __future__ import annotations

import json
import secrets
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from support.cluster import KERNELS, KubectlError, Namespace, kubeconfig, node_address
from support.deployed import REPLICAS, Deployed

from benchmarks import processes
from benchmarks.bench import IPYKERNEL, NULL, Client, peer_of
from benchmarks.client.transports import Peer
from benchmarks.cluster_bare import (
    NULL_KERNEL_CONFIG_MAP,
    NULL_KERNEL_FOLDER,
    NULL_KERNEL_MOUNT,
    NULL_KERNEL_VOLUME,
    BarePods,
)
from benchmarks.rest import Rest

HERE = Path(__file__).parent
ARGV = {
    NULL: ["python3", f"{NULL_KERNEL_FOLDER}/null_kernel.py", "-f", "{connection_file}"],
    IPYKERNEL: ["python3", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
}
SERVED_DEADLINE = 60
AWAY_DEADLINE = 300
POLL_EVERY = 0.1
_POD_PATCH = {
    "spec": {
        "volumes": [NULL_KERNEL_VOLUME],
        "containers": [{"name": "kernel", "volumeMounts": [NULL_KERNEL_MOUNT]}],
    }
}


class ClusterBench:
    """A run of the benchmarks on a cluster; a context manager."""

    def __init__(self, *, quick: bool) -> None:
        self.quick = quick
        self._ends = ExitStack()

    def __enter__(self) -> Self:
        with self._ends as ends:
            self.folder = Path(tempfile.mkdtemp(prefix="bench-"))
            ends.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self.namespace = Namespace()
            self.namespace.name = f"eg-bench-{secrets.token_hex(4)}"
            self.namespace.__enter__()
            ends.callback(self._delete_namespace)
            self.namespace.apply(*config_maps())
            self.deployed = Deployed(self.namespace, HERE / "deployment")
            self.deployed.apply()
            address = urlsplit(self.deployed.url)
            self.rest = Rest(address.port or 80, self.deployed.token, address.hostname or "")
            self.wait_until_served()
            self._ends = ends.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.close()

    def _delete_namespace(self) -> None:
        """Delete it, also when the API server is away for a while: nobody else would."""
        deadline = time.monotonic() + AWAY_DEADLINE
        while True:
            try:
                self.namespace.__exit__(None, None, None)
            except KubectlError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)
            else:
                return

    @property
    def gateway(self) -> Self:
        """The gateway under measurement: the Service."""
        return self

    @cached_property
    def bare_pods(self) -> BarePods:
        """Those that are started and deleted; the ones that stay belong to `peer`."""
        return BarePods(Path(kubeconfig()), self.namespace.name, node_address(), self.folder)

    def bare_restart(self) -> float:
        """Seconds that an ipykernel of this machine takes from its end to the next result."""
        spec = self.folder / IPYKERNEL
        if not spec.exists():
            spec.mkdir()
            argv = [sys.executable, *ARGV[IPYKERNEL][1:]]
            (spec / "kernel.json").write_text(json.dumps({"argv": argv}))
        return float(self.measure("restart_bare", spec_folder=spec, folder=self.folder)["seconds"])

    def wait_until_served(self) -> None:
        """Until the Service leads to a replica that knows its state."""
        deadline = time.monotonic() + SERVED_DEADLINE
        while True:
            try:
                self.rest.call("GET", "/api/kernels")
            except (OSError, RuntimeError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL_EVERY)
            else:
                return

    def delete_kernels(self, kernel_ids: list[str]) -> None:
        """Shut kernels down and wait until nothing of them runs."""
        for kernel_id in kernel_ids:
            self.rest.call("DELETE", f"/api/kernels/{kernel_id}")
        ids = set(kernel_ids)
        while ids & {pod["metadata"]["labels"]["kernel_id"] for pod in self.namespace.list("pods", KERNELS)}:
            time.sleep(POLL_EVERY)

    def replica_pids(self) -> list[int]:
        """The gateways' processes, each replica's next to each other."""
        pods = self.namespace.list("pods", REPLICAS)
        return [pid for pod in pods for pid in pids_of(pod, "enterprise-gateway")]

    def replicas_cpu(self) -> float:
        """Seconds of CPU that all replicas together have used so far."""
        return sum(map(processes.cpu_seconds, self.replica_pids()))

    @cached_property
    def _kernels(self) -> dict[str, str]:
        return {name: self.rest.start_kernel(name) for name in ARGV}

    @cached_property
    def _bare_kernels(self) -> dict[str, Path]:
        return {name: self.bare_pods.start(argv).connection_files[0] for name, argv in ARGV.items()}

    def peer(self, spec: str, protocol: str) -> Peer:
        """A kernel that runs all the time: in a bare pod for "zmq", else through the Service."""
        if protocol == "zmq":
            return Peer("zmq", str(self._bare_kernels[spec]))
        return peer_of(self, self._kernels[spec], protocol, session="bench")

    def parts(self, spec: str) -> dict[str, list[int]]:
        """The process ids behind such a kernel: of all replicas and of its agent."""
        agents = pids_of(self.namespace.kernel_pod(self._kernels[spec]), "agent")
        return {"gateway": self.replica_pids(), "agent": agents}

    def measure(self, measurement: str, **parameters: Any) -> dict[str, Any]:
        """Run one measuring client to its end."""
        return Client(measurement, **parameters).finish()


def config_maps() -> list[dict[str, Any]]:
    """The kernel specs that the deployment mounts, and the null kernel that its pods mount."""
    stanza = {
        "class_name": "enterprise_gateway.services.processproxies.k8s.KubernetesProcessProxy",
        "config": {"pod_patch": _POD_PATCH},
    }
    specs = {
        name: {"argv": argv, "display_name": name, "language": "python", "metadata": {"process_proxy": stanza}}
        for name, argv in ARGV.items()
    }
    contents = {
        "bench-kernelspecs": {name: json.dumps(spec) for name, spec in specs.items()},
        NULL_KERNEL_CONFIG_MAP: {"null_kernel.py": (HERE / "null_kernel.py").read_text()},
    }
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
        for name, data in contents.items()
    ]


def pids_of(pod: dict[str, Any], container: str) -> list[int]:
    """The processes of a pod's container; none while it does not run."""
    statuses = pod["status"].get("containerStatuses", [])
    ids = [status.get("containerID", "") for status in statuses if status["name"] == container]
    return processes.in_cgroup(ids[0].rpartition("/")[2]) if ids and ids[0] else []
