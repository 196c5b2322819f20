"""A classic Notebook whose kernels NB2KG 0.7 has on a gateway, started as its users start it.

It is Notebook 5.7, the last that NB2KG takes: Notebook 6 has a `--gateway-url` of its own. Its packages are older than
those of our development environment, so it has an environment of its own.
"""

from __future__ import annotations

import re
import subprocess
import sys
import venv
from pathlib import Path

from support.jupyter import StockServer

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


class NotebookServer(StockServer):
    """`jupyter notebook` with NB2KG, which its environment tells where the gateway is."""

    def __init__(self, **environment: str) -> None:
        super().__init__(
            [
                *(str(installed()), "-m", "notebook", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=18898"),
                "--NotebookApp.nbserver_extensions=nb2kg=True",
                "--NotebookApp.session_manager_class=nb2kg.managers.SessionManager",
                "--NotebookApp.kernel_manager_class=nb2kg.managers.RemoteKernelManager",
                "--NotebookApp.kernel_spec_manager_class=nb2kg.managers.RemoteKernelSpecManager",
            ],
            READY,
            **environment,
        )
