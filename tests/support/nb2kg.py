"""A classic Notebook whose kernels NB2KG 0.7 has on a gateway, started as its users start it.

It is Notebook 5.7, the last that NB2KG takes: Notebook 6 has a `--gateway-url` of its own. Its packages are older than
those of our development environment, so it has an environment of its own.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from types import TracebackType
from typing import Self

import requests
from support.gateway import new_token
from support.jupyter import clean_environment
from support.log import LogReader
from support.rest import Rest
from support.wait import eventually

READY = re.compile(r"Jupyter Notebook is running at:\s+\[[^]]*\] (http://[\w.:]+)/")
DEADLINE = 60.0
INSTALL_DEADLINE = 180.0

REQUIREMENTS = Path(__file__).parents[1] / "clients" / "nb2kg-requirements.txt"
ENVIRONMENT = Path(sys.prefix) / "share" / "nb2kg"
"""Where it is installed, once for these requirements."""


def installed() -> Path:
    """The Python that has it; takes some seconds and a package index the first time."""
    python = ENVIRONMENT / "bin" / "python"
    done = ENVIRONMENT / REQUIREMENTS.name
    wanted = REQUIREMENTS.read_text()
    if not done.exists() or done.read_text() != wanted:
        venv.create(ENVIRONMENT, clear=True)
        pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "install"]
        subprocess.run([*pip, "--quiet", "--no-deps", "-r", str(REQUIREMENTS)], check=True, timeout=INSTALL_DEADLINE)
        done.write_text(wanted)
    return python


class NotebookServer:
    """`jupyter notebook` with NB2KG; has the `url`, `ws_url`, `token` and `rest` that a gateway has."""

    def __init__(self, **environment: str) -> None:
        self.token = new_token()
        self._home = Path(tempfile.mkdtemp(prefix="nb-", dir="/tmp"))
        (self._home / "work").mkdir()
        self._process = subprocess.Popen(
            [
                *(str(installed()), "-m", "notebook", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=18898"),
                f"--notebook-dir={self._home / 'work'}",
                "--NotebookApp.nbserver_extensions=nb2kg=True",
                "--NotebookApp.session_manager_class=nb2kg.managers.SessionManager",
                "--NotebookApp.kernel_manager_class=nb2kg.managers.RemoteKernelManager",
                "--NotebookApp.kernel_spec_manager_class=nb2kg.managers.RemoteKernelSpecManager",
            ],
            env=clean_environment(self._home, JUPYTER_TOKEN=self.token, **environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self._process.stdout is not None
        self._log = LogReader(self._process.stdout)
        self.url = ""

    def __enter__(self) -> Self:
        try:
            self.url = self._log.wait_for(READY, DEADLINE).group(1)
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
