"""A kernel spec as the gateway knows it and as its API shows it.

Plain data: nothing here reads a file. Values are made once and shared; nobody changes their dictionaries.
"""

from __future__ import annotations

import enum
from typing import Any
from urllib.parse import quote

import msgspec

from ..core.environment import looks_secret
from .placement import Placement

MASK = "********"
"""Stands for the value of a variable whose name looks secret. The name stays: clients check the shape."""


class InterruptMode(enum.StrEnum):
    """How a running cell is interrupted (jupyter_client's kernel.json)."""

    SIGNAL = "signal"
    """SIGINT to the kernel's process group."""
    MESSAGE = "message"
    """An `interrupt_request` on the control channel."""


class KernelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One kernel that can be started."""

    name: str
    """Its folder's name in lower case."""
    argv: tuple[str, ...]
    display_name: str
    language: str
    env: dict[str, str] = {}
    interrupt_mode: InterruptMode = InterruptMode.SIGNAL
    metadata: dict[str, Any] = {}
    resource_dir: str
    resources: dict[str, str] = {}
    """Files a front end may fetch: key of the API (`kernel.js`, `logo-64x64`) to name in `resource_dir`."""
    placement: Placement

    def to_json(self, base_url: str) -> dict[str, Any]:
        """The model of `GET /api/kernelspecs/{name}`; `base_url` is the gateway's mount point, such as `/`.

        Every client gets this, so values in `env` whose names look secret are masked. argv is always there:
        JupyterLab skips a spec without it.
        """
        files = f"{base_url.rstrip('/')}/kernelspecs/{quote(self.name)}"
        return {
            "name": self.name,
            "spec": {
                "argv": list(self.argv),
                "env": {name: MASK if looks_secret(name) else value for name, value in self.env.items()},
                "display_name": self.display_name,
                "language": self.language,
                "interrupt_mode": self.interrupt_mode.value,
                "metadata": self.metadata,
            },
            "resources": {key: f"{files}/{quote(file)}" for key, file in self.resources.items()},
        }
