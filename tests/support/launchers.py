"""The real launchers: those of gateway_provisioners, which Enterprise Gateway's are the twins of."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from unittest import mock

import gateway_provisioners
from gateway_provisioners.cli import image_bootstrapapp

_PACKAGE = Path(gateway_provisioners.__file__).parent
LAUNCHERS = _PACKAGE / "kernel-launchers"
KERNEL_SPECS = _PACKAGE / "kernel-specs"


def install_launchers(folder: Path) -> Path:
    """What `jupyter image-bootstrap install` does to an image, in a folder: the path of `bootstrap-kernel.sh`."""
    with mock.patch.object(image_bootstrapapp, "BOOTSTRAP_DIR", str(folder)):
        image_bootstrapapp.ImageBootstrapInstaller(languages=["Python"]).install_files()
    bootstrap = folder / "bootstrap-kernel.sh"
    bootstrap.chmod(0o755)
    return bootstrap


def _server_listener() -> ModuleType:
    spec = importlib.util.spec_from_file_location("server_listener", LAUNCHERS / "shared/scripts/server_listener.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with mock.patch("logging.basicConfig"):  # the test's own process shall log as it did
        spec.loader.exec_module(module)
    return module


server_listener = _server_listener()


def seal(text: bytes, public_key: str) -> bytes:
    """The report that a real launcher makes of a text."""
    listener = server_listener.ServerListener("", 0, 0, 0, "", "", public_key)
    return bytes(listener._encrypt(text))
