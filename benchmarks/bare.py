"""A kernel started by hand, without a gateway: the floor of everything.

Writes a connection file, runs the argv of a kernelspec with it, and ends the process. Blocking.
"""

from __future__ import annotations

import json
import random
import secrets
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

CHANNELS = ("shell", "iopub", "stdin", "control", "hb")
PORTS = range(5000, 12_000)

_candidates = iter(random.sample(PORTS, len(PORTS)))


class BareKernel:
    """A kernel process and its connection file, in `folder`; a context manager that ends the process."""

    def __init__(self, spec_folder: Path, folder: Path) -> None:
        self._argv = json.loads((spec_folder / "kernel.json").read_text())["argv"]
        self.connection_file = folder / f"bare-{secrets.token_hex(8)}.json"
        self.connection_file.write_text(json.dumps(new_connection()))
        self.start()

    def start(self) -> None:
        """Run the kernel; again after `kill`, with the same ports and key."""
        argv = [part.replace("{connection_file}", str(self.connection_file)) for part in self._argv]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(argv, stdin=quiet, stdout=quiet, stderr=quiet)

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self.connection_file.unlink()


def new_connection() -> dict[str, str | int]:
    """The content of a connection file with five free ports on loopback and a fresh key."""
    ports: dict[str, str | int] = {f"{channel}_port": free_port() for channel in CHANNELS}
    signature = {"key": secrets.token_hex(32), "signature_scheme": "hmac-sha256"}
    return {"transport": "tcp", "ip": "127.0.0.1", **signature, **ports}


def free_port() -> int:
    """A port that nobody listens on and that this process has not had yet.

    Below the range of outgoing connections: a client that tries again every millisecond to reach a port there
    sooner or later gets that very port as its own, is connected to itself, and the kernel cannot bind.
    """
    for port in _candidates:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise RuntimeError("no free port is left")
