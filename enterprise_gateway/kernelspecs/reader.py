"""Reads one kernel spec's folder.

Knows the format of kernel.json and which files beside it a front end may fetch; the search for folders is
`catalog`'s. Blocking reads of small local files, no state.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import msgspec

from ..errors import ConfigError
from .model import InterruptMode, KernelSpec
from .placement import placement_of

NATIVE_KERNEL_NAME = "python3"
"""The kernel every Jupyter server is expected to have."""

_NATIVE_ARGV = ("python", "-m", "ipykernel_launcher", "-f", "{connection_file}")
_SCRIPTS = ("kernel.js", "kernel.css")


class _KernelJson(msgspec.Struct):
    """The keys of kernel.json that the gateway reads; others are let be."""

    argv: list[str]
    display_name: str
    language: str = ""
    env: dict[str, str] = {}
    interrupt_mode: str = InterruptMode.SIGNAL.value
    metadata: dict[str, Any] = {}


def read_spec(name: str, folder: Path) -> KernelSpec:
    """The kernel spec in `folder`, under the lower-case `name`.

    Raises:
        ConfigError: kernel.json cannot be read, or is not what it must be.
    """
    try:
        decoded = msgspec.json.decode((folder / "kernel.json").read_bytes())
        content = msgspec.convert(decoded, _KernelJson)
        _check(content)
        return KernelSpec(
            name=name,
            argv=tuple(content.argv),
            display_name=content.display_name,
            language=content.language,
            env=content.env,
            interrupt_mode=InterruptMode(content.interrupt_mode.lower()),
            metadata=content.metadata,
            resource_dir=str(folder),
            resources=_resources(folder),
            placement=placement_of(decoded),
        )
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise ConfigError(str(error)) from error


def native_spec() -> KernelSpec | None:
    """The spec of the ipykernel beside this interpreter; None when it is not installed.

    ipykernel is looked for, not imported: it would bring the whole of IPython into the gateway.
    """
    found = importlib.util.find_spec("ipykernel")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "resources"
    return KernelSpec(
        name=NATIVE_KERNEL_NAME,
        argv=_NATIVE_ARGV,
        display_name="Python 3 (ipykernel)",
        language="python",
        metadata={"debugger": True},
        resource_dir=str(folder),
        resources=_resources(folder),
        placement=placement_of({}),
    )


def _check(content: _KernelJson) -> None:
    if not content.argv:
        raise ConfigError("argv is empty")
    if not content.display_name:
        raise ConfigError("display_name is empty")
    if any("\0" in text for text in (*content.argv, *content.env, *content.env.values())):
        raise ConfigError("argv and env must not hold NUL characters")
    if any(not name or "=" in name for name in content.env):
        raise ConfigError("env holds a name that is empty or has '=' in it")


def _resources(folder: Path) -> dict[str, str]:
    files = sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []
    scripts = {name: name for name in files if name in _SCRIPTS}
    return scripts | {Path(name).stem: name for name in files if name.startswith("logo-")}
