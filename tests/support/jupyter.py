"""A stock Jupyter Server in gateway mode, started as its users start it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import requests
from support.gateway import Gateway, new_token
from support.log import LogReader
from support.rest import Rest
from support.wait import eventually

READY = re.compile(r"Jupyter Server \S+ is running at:\s+\[[^]]*\] (http://[\w.:]+)/")
DEADLINE = 60.0


def clean_environment(home: Path, **more: str) -> dict[str, str]:
    """An environment in which Jupyter reads and writes below `home` alone."""
    return {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "PYTHONUNBUFFERED": "1",
        **more,
    }


class StockServer:
    """A server of Jupyter's in a process of its own; has the `url`, `ws_url`, `token` and `rest` that a gateway has."""

    def __init__(self, command: Sequence[str], ready: re.Pattern[str], **environment: str) -> None:
        """Starts `command` in an empty folder; `ready` finds in its log where it listens."""
        self.token = new_token()
        self._home = Path(tempfile.mkdtemp(prefix="jp-", dir="/tmp"))
        (self._home / "work").mkdir()
        self._process = subprocess.Popen(
            command,
            env=clean_environment(self._home, JUPYTER_TOKEN=self.token, **environment),
            cwd=self._home / "work",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self._process.stdout is not None
        self._log = LogReader(self._process.stdout)
        self._ready = ready
        self.url = ""

    def __enter__(self) -> Self:
        try:
            self.url = self._log.wait_for(self._ready, DEADLINE).group(1)
            # It says so a moment before it listens.
            eventually(self._answers, DEADLINE)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _answers(self) -> bool:
        try:
            return self.rest.get("/api").ok
        except requests.ConnectionError:
            return False

    def _end(self) -> None:
        # SIGTERM makes it shut down its kernels on the gateway, which must be the test's own decision.
        self._process.kill()
        self._process.wait(DEADLINE)
        self._log.close()
        shutil.rmtree(self._home, ignore_errors=True)

    @property
    def ws_url(self) -> str:
        return "ws" + self.url.removeprefix("http")

    @property
    def rest(self) -> Rest:
        return Rest(self.url, self.token)

    @property
    def log(self) -> str:
        return self._log.text


class JupyterServer(StockServer):
    """`jupyter server --gateway-url=…`."""

    def __init__(self, gateway: Gateway, **environment: str) -> None:
        super().__init__(
            [
                *(sys.executable, "-m", "jupyter_server", f"--gateway-url={gateway.url}", "--allow-root"),
                *("--no-browser", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=18888"),
                "--GatewayClient.gateway_retry_interval=0.2",
            ],
            READY,
            JUPYTER_GATEWAY_AUTH_TOKEN=gateway.token,
            **environment,
        )
