"""One run: its folder, its kernelspecs, its gateways and fleets, each made when the first row needs it.

Blocking. Everything that was started carries the run's folder in its command line or environment, and is
ended with the run.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec

from benchmarks import processes
from benchmarks.bare import BareKernel
from benchmarks.client.transports import Peer
from benchmarks.gateway import Gateway
from benchmarks.rest import Rest

NULL, IPYKERNEL = "bench_null", "bench_ipykernel"
STARTS_AT_ONCE = 8
PRINT_PID = {NULL: "pid", IPYKERNEL: "import os; print(os.getpid())"}

_repository = Path(__file__).parent.parent
_argv = {
    NULL: [sys.executable, str(Path(__file__).with_name("null_kernel.py")), "-f", "{connection_file}"],
    IPYKERNEL: [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
}


class Client:
    """A measuring client that runs; a context manager is not needed: it ends with its result."""

    def __init__(self, measurement: str, **parameters: Any) -> None:
        command = [sys.executable, "-m", "benchmarks.client", measurement]
        self._process = subprocess.Popen(command, cwd=_repository, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._write(msgspec.json.encode(parameters, enc_hook=str))

    def read(self) -> dict[str, Any]:
        """The next line it reports."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the measuring client ended with {self._process.wait()}")
        report: dict[str, Any] = json.loads(line)
        return report

    def proceed(self) -> None:
        """Let a client that holds go on."""
        self._write(b"")

    def finish(self) -> dict[str, Any]:
        """Its result."""
        report = self.read()
        self._process.communicate()
        return report

    def _write(self, line: bytes) -> None:
        assert self._process.stdin
        self._process.stdin.write(line + b"\n")
        self._process.stdin.flush()


class Fleet:
    """A gateway with many null kernels."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.kernel_ids: list[str] = []

    def grow(self, size: int) -> None:
        """Start null kernels until there are `size`."""
        missing = max(0, size - len(self.kernel_ids))
        with ThreadPoolExecutor(STARTS_AT_ONCE) as threads:
            self.kernel_ids += threads.map(self.gateway.rest.start_kernel, [NULL] * missing)

    def peers(self, count: int) -> list[Peer]:
        """`count` clients, spread evenly over the kernels, each with a session of its own."""
        size = len(self.kernel_ids)
        return [peer_of(self.gateway, self.kernel_ids[at % size], "v1", session=f"bench-{at}") for at in range(count)]


class Served(Protocol):
    """A gateway, wherever it runs."""

    rest: Rest


class Run(Protocol):
    """What the rows about traffic need, wherever kernels run."""

    quick: bool

    def peer(self, spec: str, protocol: str) -> Peer:
        """A kernel that runs all the time: directly for "zmq", else through the gateway."""

    def parts(self, spec: str) -> dict[str, list[int]]:
        """The process ids behind such a kernel, by "gateway" and "agent"."""

    def measure(self, measurement: str, **parameters: Any) -> dict[str, Any]:
        """Run one measuring client to its end."""


class Bench:
    """A run of the benchmarks; a context manager."""

    def __init__(self, *, quick: bool) -> None:
        self.quick = quick
        self.folder = Path(tempfile.mkdtemp(prefix="bench-"))
        self._gateways: list[Gateway] = []
        for name, argv in _argv.items():
            spec = {"argv": argv, "display_name": name, "language": "python", "interrupt_mode": "signal"}
            self.spec_folder(name).mkdir(parents=True)
            (self.spec_folder(name) / "kernel.json").write_text(json.dumps(spec))
        most_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for gateway in self._gateways:
            gateway.stop()
        processes.end_all(str(self.folder))
        shutil.rmtree(self.folder, ignore_errors=True)

    def spec_folder(self, name: str) -> Path:
        return self.folder / "jupyter" / "kernels" / name

    def new_gateway(self, **environment: str) -> Gateway:
        """A gateway with an empty state; ends with the run."""
        folder = self.folder / str(len(self._gateways))
        folder.mkdir()
        paths = {"JUPYTER_PATH": str(self.folder / "jupyter"), "JUPYTER_RUNTIME_DIR": str(folder / "runtime")}
        gateway = Gateway(folder, paths | environment)
        self._gateways.append(gateway)
        return gateway

    @cached_property
    def gateway(self) -> Gateway:
        """The gateway of all rows that need few kernels."""
        return self.new_gateway()

    @cached_property
    def fleet(self) -> Fleet:
        """The gateway of all rows that need many."""
        return Fleet(self.new_gateway())

    @cached_property
    def _kernels(self) -> dict[str, str]:
        return {name: self.gateway.rest.start_kernel(name) for name in _argv}

    def peer(self, spec: str, protocol: str) -> Peer:
        """A kernel that runs all the time: by hand for "zmq", else through the gateway.

        Always in the same session: the gateway would keep the output of a row for the clients of all before.
        """
        if protocol == "zmq":
            return Peer("zmq", str(self._bare_kernels[spec].connection_file))
        return peer_of(self.gateway, self._kernels[spec], protocol, session="bench")

    @cached_property
    def _bare_kernels(self) -> dict[str, BareKernel]:
        return {name: BareKernel(self.spec_folder(name), self.folder) for name in _argv}

    def measure(self, measurement: str, **parameters: Any) -> dict[str, Any]:
        """Run one measuring client to its end."""
        return Client(measurement, **parameters).finish()

    def parts(self, spec: str) -> dict[str, list[int]]:
        """The process ids behind `peer(spec, …)`, by "gateway" and "agent"."""
        return {"gateway": [self.gateway.pid], "agent": [self.agent_of(self.peer(spec, "v1"), PRINT_PID[spec])]}

    def agent_of(self, peer: Peer, code: str = "pid") -> int:
        """Process id of the agent of a kernel, which is asked for its own by `code`: the parent's."""
        return processes.parent(int(self.measure("ask", peer=peer, code=code)["text"]))


def peer_of(gateway: Served, kernel_id: str, protocol: str, session: str = "") -> Peer:
    rest = gateway.rest
    return Peer(protocol, port=rest.port, token=rest.token, host=rest.host, kernel_id=kernel_id, session=session)
