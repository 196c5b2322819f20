"""A JupyterLab whose kernels run on a gateway, as a user starts it: a process in a folder of its own.

It is kept away from the network and from this machine's Jupyter settings. One thread reads its log.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import nbformat
from support.gateway import Gateway
from support.log import LogReader

READY = re.compile(r"(http://127\.0\.0\.1:\d+)/lab")
START_DEADLINE = 120.0
"""Seconds until Lab serves; it imports much, and the machine may be busy."""
STOP_DEADLINE = 30.0

SETTINGS = """
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
c.LabApp.extension_manager = "readonly"
c.ServerApp.open_browser = False
c.ServerApp.allow_root = True
c.ServerApp.ip = "127.0.0.1"
c.ServerApp.port = 0
"""


PAGE_CONFIG = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
"""Lab asks every new user whether it may fetch news: a plugin that does not start cannot."""


class Lab:
    """`with Lab(gateway, folder) as lab:` serves the notebooks of `folder/notebooks`."""

    def __init__(self, gateway: Gateway, folder: Path) -> None:
        self._folder = folder
        self._notebooks = folder / "notebooks"
        self._notebooks.mkdir()
        self._token = secrets.token_hex(16)
        config = folder / "config"
        config.mkdir()
        (config / "jupyter_lab_config.py").write_text(SETTINGS)
        (config / "labconfig").mkdir()
        (config / "labconfig" / "page_config.json").write_text(json.dumps(PAGE_CONFIG))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", f"--gateway-url={gateway.url}"],
            cwd=self._notebooks,
            env=self._environment(gateway.token),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self._process.stdout is not None
        self._log = LogReader(self._process.stdout)

    def _environment(self, gateway_token: str) -> dict[str, str]:
        places = {f"JUPYTER_{name}_DIR": str(self._folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(self._folder),
            "JUPYTER_TOKEN": self._token,
            "JUPYTER_GATEWAY_AUTH_TOKEN": gateway_token,
            **places,
        }

    def __enter__(self) -> Self:
        self._origin = self._log.wait_for(READY, START_DEADLINE).group(1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_DEADLINE)
        finally:
            self._process.kill()
            self._process.wait()
            self._log.close()

    @property
    def log(self) -> str:
        """Everything it wrote so far."""
        return self._log.text

    def add_notebook(self, name: str, *sources: str) -> str:
        """Write a notebook of these code cells; returns the URL that opens it."""
        kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernelspec})
        nbformat.write(notebook, self._notebooks / name)
        return f"{self._origin}/lab/tree/{name}?reset&token={self._token}"
