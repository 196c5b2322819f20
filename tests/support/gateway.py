"""A gateway as its users have it: a process of its own, known by its addresses, its log and its signals.

Nothing here imports the product. Each gateway lives in a private folder; every process that belongs to it
(gateway, agents, kernels) has that folder in its environment or on its command line, which is how `stop`
finds what was left behind. One thread per gateway reads its log; all else happens in the caller's thread.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

import psutil
import requests
from support.log import LogReader
from support.rest import Rest
from support.wait import eventually

START_DEADLINE = 60.0
"""Seconds a gateway may take until it says that it is available."""
STOP_DEADLINE = 30.0
"""Seconds a gateway, and afterwards its kernels, may take to end."""

READY = re.compile(r"Jupyter Enterprise Gateway \S+ is available at (\S+)")
OPERATIONS = re.compile(r"Operations endpoint is available at (\S+)")

KernelSpecs = Mapping[str, Mapping[str, Any]]


class GatewayEndedError(Exception):
    """The gateway ended before it was available."""

    def __init__(self, code: int, log: str) -> None:
        self.code = code
        self.log = log
        super().__init__(f"the gateway ended with {code} before it was available:\n{log}")


def new_token() -> str:
    """A token that survives being lower-cased in a URL: 26 characters of lower-case base32."""
    return base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()


class Gateway:
    """Starts a gateway; `settings` are environment variables, None leaves one out."""

    command: ClassVar[tuple[str, ...]] = (sys.executable, "-m", "enterprise_gateway")

    def __init__(self, *, kernelspecs: KernelSpecs | None = None, **settings: str | None) -> None:
        # A short path: the kernels' unix sockets live below it.
        self.home = Path(tempfile.mkdtemp(prefix="eg-", dir="/tmp"))
        self.state_dir = self.home / "s"
        self.root_dir = self.home / "work"
        self.root_dir.mkdir()
        self.token = new_token()
        self._settings: dict[str, str | None] = {"EG_PORT": "0", "EG_AUTH_TOKEN": self.token, **settings}
        self._process: subprocess.Popen[bytes] | None = None
        self._logs: list[LogReader] = []
        self._origin = ""
        for name, spec in (kernelspecs or {}).items():
            self._write_kernelspec(name, spec)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Gateway {self._origin or 'not started'} {self.home}>"

    @property
    def url(self) -> str:
        """Where clients find it, base URL included, without a slash at the end."""
        base = (self._settings.get("EG_BASE_URL") or "").strip("/")
        return f"{self._origin}/{base}".rstrip("/")

    @property
    def ws_url(self) -> str:
        return "ws" + self.url.removeprefix("http")

    @property
    def ops_url(self) -> str:
        """Where health and metrics are."""
        return self._logs[-1].wait_for(OPERATIONS, START_DEADLINE).group(1).rstrip("/")

    @property
    def rest(self) -> Rest:
        """A REST client that holds this gateway's token."""
        return Rest(self.url, self.token)

    @property
    def log(self) -> str:
        """Everything it wrote so far, over all its lives."""
        return "".join(log.text for log in self._logs)

    @property
    def pid(self) -> int:
        return self._started().pid

    @property
    def running(self) -> bool:
        return self._started().poll() is None

    def start(self) -> Self:
        """Starts it and waits until it is ready; a later start takes the same port again.

        Raises:
            GatewayEndedError: when it ended instead.
        """
        process = subprocess.Popen(
            self.command,
            env=self._environment(),
            cwd=self.root_dir,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout is not None
        self._process = process
        self._logs.append(LogReader(process.stdout))
        try:
            ready = self._logs[-1].wait_for(READY, START_DEADLINE)
        except EOFError:
            raise GatewayEndedError(process.wait(STOP_DEADLINE), self._logs[-1].text) from None
        address = urlsplit(ready.group(1))
        self._origin = f"{address.scheme}://{address.netloc}"
        self._settings["EG_PORT"] = str(address.port)
        eventually(lambda: requests.get(f"{self.ops_url}/readyz", timeout=START_DEADLINE).ok, START_DEADLINE)
        return self

    def kill(self) -> None:
        """SIGKILL: it ends without a chance to do anything."""
        self._end(signal.SIGKILL)

    def terminate(self) -> int:
        """SIGTERM, as an orchestrator stops it; returns the exit code."""
        return self._end(signal.SIGTERM)

    def interrupt(self) -> int:
        """SIGINT, as Ctrl-C does: local kernels end with it; returns the exit code."""
        return self._end(signal.SIGINT)

    def processes(self) -> list[psutil.Process]:
        """Every living process that belongs to this gateway, itself included."""
        return [process for process in psutil.process_iter() if self._owns(process)]

    def stop(self) -> None:
        """Ends the gateway and its kernels, and claims that no process, file or leaked token remains."""
        try:
            self._stop_kernels_and_gateway()
            left = psutil.wait_procs(self.processes(), timeout=STOP_DEADLINE)[1]
            processes = [" ".join(process.cmdline()) for process in left]
            kernels = self.state_dir / "kernels"
            # What a SIGKILL cut off before it was a kernel is swept a minute later.
            known = kernels.glob("[!.]*") if kernels.is_dir() else ()
            files = [str(path) for folder in known for path in (folder, *folder.rglob("*"))]
            assert not processes, f"processes outlived their gateway: {processes}\n{self.log}"
            assert not files, f"files outlived their kernels: {files}\n{self.log}"
            assert self.token not in self.log, "the log tells the token"
        finally:
            self._sweep()

    def _stop_kernels_and_gateway(self) -> None:
        if self._process is None:
            return
        if self._process.poll() is not None:
            if not self.processes():
                return
            self.start()
        self.interrupt()

    def _sweep(self) -> None:
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if self._process is not None:
            self._process.wait(STOP_DEADLINE)
        for log in self._logs:
            log.close()
        shutil.rmtree(self.home, ignore_errors=True)

    def _end(self, how: signal.Signals) -> int:
        process = self._started()
        process.send_signal(how)
        return process.wait(STOP_DEADLINE)

    def _started(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the gateway was never started"
        return self._process

    def _owns(self, process: psutil.Process) -> bool:
        try:
            words = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            return False
        return any(str(self.home) in word for word in words)

    def _environment(self) -> dict[str, str]:
        environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(self.home),
            "IPYTHONDIR": str(self.home / "ipython"),
            "JUPYTER_CONFIG_DIR": str(self.home / "config"),
            "JUPYTER_DATA_DIR": str(self.home / "data"),
            "JUPYTER_RUNTIME_DIR": str(self.home / "runtime"),
            "PYTHONUNBUFFERED": "1",
            "EG_IP": "127.0.0.1",
            "EG_OPS_PORT": "0",
            "EG_STATE_DIR": str(self.state_dir),
            "EG_UNAUTHORIZED_USERS": "nobody",
        }
        for name, value in self._settings.items():
            if value is None:
                environment.pop(name, None)
            else:
                environment[name] = value
        return environment

    def _write_kernelspec(self, name: str, spec: Mapping[str, Any]) -> None:
        folder = self.home / "data" / "kernels" / name
        folder.mkdir(parents=True)
        python = {
            "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": name,
            "language": "python",
        }
        (folder / "kernel.json").write_text(json.dumps({**python, **spec}))


StartGateway = Callable[..., Gateway]
"""What the fixture `start_gateway` gives: called with settings, it returns a started gateway."""
