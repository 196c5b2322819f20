"""A gateway process under measurement: started, killed, started again on the same port and state."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.rest import Rest

READY = re.compile(rb"Enterprise Gateway \S+ is available at http://127\.0\.0\.1:(\d+)")
START_DEADLINE = 30
"""Seconds a gateway may take until its ready line, and from there until it answers."""
POLL_EVERY = 0.005
STOP_DEADLINE = 30


class Gateway:
    """A gateway whose state lives in `folder`/state; `environment` is added to what it inherits."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._log = folder / "gateway.log"
        self._environment = {
            **os.environ,
            "EG_IP": "127.0.0.1",
            "EG_PORT": "0",
            "EG_OPS_PORT": "0",
            "EG_STATE_DIR": str(folder / "state"),
            "EG_AUTH_TOKEN": secrets.token_hex(16),
            "EG_LIST_KERNELS": "True",
            **environment,
        }
        self.rest = self.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> Rest:
        """Start and wait until the gateway serves; a second start uses the port of the first."""
        with self._log.open("wb") as log:
            command = [sys.executable, "-m", "enterprise_gateway"]
            self._process = subprocess.Popen(
                command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._environment["EG_PORT"] = str(self._ready_port())
        rest = Rest(int(self._environment["EG_PORT"]), self._environment["EG_AUTH_TOKEN"])
        wait_until_served(rest)
        return rest

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """As Ctrl-C does, which ends the kernels too; again does nothing."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            self.kill()

    def _ready_port(self) -> int:
        deadline = time.monotonic() + START_DEADLINE
        while time.monotonic() < deadline and self._process.poll() is None:
            if ready := READY.search(self._log.read_bytes()):
                return int(ready[1])
            time.sleep(POLL_EVERY)
        raise RuntimeError(f"the gateway is not ready:\n{self._log.read_text(errors='replace')[-4000:]}")


def wait_until_served(rest: Rest) -> None:
    """Until the list of kernels is there; a gateway that still reads its state answers 503."""
    deadline = time.monotonic() + START_DEADLINE
    while True:
        try:
            rest.call("GET", "/api/kernels")
        except RuntimeError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_EVERY)
        else:
            return
