"""Runs one scenario of tests/node: JupyterLab's client library in a Node process, told and heard over pipes.

Knows nothing of what a scenario does. One thread reads the process's standard output; whoever holds the
Scenario waits for its lines with a deadline, so a client that hangs fails the test with what it logged.
"""

import json
import os
import queue
import shutil
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from support.gateway import Gateway

NODE_PROJECT = Path(__file__).parent.parent / "node"
PATIENCE = 120.0
"""Seconds for any single step. The library waits 10 to 30 s, drawn by lot, after a gateway did not answer."""


def install() -> None:
    """Put the locked packages into tests/node/node_modules unless they are there."""
    wanted = NODE_PROJECT / "package-lock.json"
    installed = NODE_PROJECT / "node_modules" / ".package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= wanted.stat().st_mtime:
        return
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm is needed to run JupyterLab's client library: install Node.js 20 or newer")
    subprocess.run([npm, "ci", "--ignore-scripts"], cwd=NODE_PROJECT, check=True, timeout=600, capture_output=True)


class Scenario:
    """A running scenario: `with Scenario("kernels", "interrupt", gateway, tmp_path) as scenario: ...`."""

    def __init__(self, script: str, name: str, gateway: Gateway, scratch: Path) -> None:
        """Start it. `scratch` is a folder shared with the scenario; its log goes there too."""
        self._title = f"{script} {name}"
        self._gateway = gateway
        self._log = scratch / "node.log"
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        environ = os.environ | {
            "GATEWAY_URL": f"{gateway.url}/",
            "GATEWAY_TOKEN": gateway.token,
            "SCRATCH_DIR": str(scratch),
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["node", f"{script}.mjs", name],
                cwd=NODE_PROJECT,
                env=environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._reader = threading.Thread(target=self._read, name=f"node-{name}", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _next(self) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=PATIENCE)
        except queue.Empty:
            raise self._failure(f"said nothing for {PATIENCE:.0f} s") from None
        if line is None:
            raise self._failure(f"ended with exit code {self._process.wait()}")
        message: dict[str, Any] = json.loads(line)
        return message

    def _failure(self, what: str) -> AssertionError:
        log = self._log.read_text(errors="replace")[-4000:]
        theirs = self._gateway.log[-4000:]
        return AssertionError(
            f"scenario '{self._title}' {what}; the end of its log:\n{log}\nand of the gateway's:\n{theirs}"
        )

    def wait_for(self, event: str) -> dict[str, Any]:
        """The scenario's next line, which must be this event."""
        message = self._next()
        assert message.get("event") == event, message
        return message

    def say(self, word: str) -> None:
        """Tell the scenario what has happened outside of it."""
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()

    def report(self) -> dict[str, Any]:
        """What the scenario found, at its end."""
        report: dict[str, Any] = self._next()["report"]
        return report
