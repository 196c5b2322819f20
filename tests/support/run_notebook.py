"""Runs a notebook with nbclient on the gateway that JUPYTER_GATEWAY_URL names; notebook in, notebook out.

A program of its own because jupyter_server's gateway client is configured once per process.
"""

from __future__ import annotations

import sys

import nbformat
from nbclient import NotebookClient


def main() -> None:
    notebook = nbformat.reads(sys.stdin.read(), as_version=4)
    manager = "jupyter_server.gateway.managers.GatewayKernelManager"
    NotebookClient(notebook, kernel_manager_class=manager, timeout=60, allow_errors=True).execute()
    nbformat.write(notebook, sys.stdout)


if __name__ == "__main__":
    main()
