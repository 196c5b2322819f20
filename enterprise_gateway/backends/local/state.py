"""Where the local state lies and the master key in it, for gateways and for tools that look at the same kernels."""

from __future__ import annotations

import logging
import os
import secrets
from pathlib import Path

from jupyter_core.paths import jupyter_runtime_dir

from enterprise_gateway.config.settings import Settings
from enterprise_gateway.core.keys import KEY_BYTES, MasterKeys
from enterprise_gateway.errors import ConfigError
from enterprise_gateway.files import write_new

log = logging.getLogger(__name__)

MASTER_KEY = "master.key"


def state_dir(settings: Settings) -> Path:
    """The local state folder."""
    return Path(settings.state_dir or Path(jupyter_runtime_dir()) / "enterprise-gateway").absolute()


def ensure_master_keys(folder: Path) -> MasterKeys:
    """The keys all kernels' secrets come from; a new one on first use.

    Raises:
        ConfigError: the file cannot be written or read, or is wrong.
    """
    path = folder / MASTER_KEY
    try:
        if not path.exists():
            # Another gateway may be making the same file: whoever links first has made it.
            fresh = folder / f"{MASTER_KEY}.{os.getpid()}"
            write_new(fresh, secrets.token_bytes(KEY_BYTES).hex().encode() + b"\n")
            try:
                path.hardlink_to(fresh)
            except FileExistsError:
                log.info("Another gateway made the master key")
            finally:
                fresh.unlink()
    except OSError as error:
        raise _unusable(path, error) from None
    return read_master_keys(folder)


def read_master_keys(folder: Path) -> MasterKeys:
    """The keys that a gateway has made.

    Raises:
        ConfigError: the file cannot be read, or is wrong.
    """
    path = folder / MASTER_KEY
    try:
        return MasterKeys.parse(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(path, error) from None


def _unusable(path: Path, error: Exception) -> ConfigError:
    return ConfigError(f"The master key {path} cannot be used: {error}")
