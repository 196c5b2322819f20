"""Settings that follow their files while the gateway runs (`EG_DYNAMIC_CONFIG_INTERVAL`)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from enterprise_gateway.config.settings import Settings
from enterprise_gateway.errors import ConfigError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Configuration:
    """Where settings came from, and how to read them again."""

    files: Sequence[Path]
    read: Callable[[], Settings]
    """Raises ConfigError."""


async def follow(configuration: Configuration, interval: float, apply: Callable[[Settings], None]) -> None:
    """Look at the files every `interval` seconds, and `apply` what they say once they have changed.

    A file that is wrong changes nothing: the error is logged, and the settings stay as they were.
    """
    seen = _stamps(configuration.files)
    while True:
        await asyncio.sleep(interval)
        stamps = _stamps(configuration.files)
        if stamps == seen:
            continue
        seen = stamps
        try:
            settings = configuration.read()
        except ConfigError as error:
            log.warning("The changed configuration is not used: %s", error.message)
        else:
            apply(settings)
            log.info("The changed configuration is used for kernels started from now on")


def _stamps(files: Sequence[Path]) -> list[tuple[int, int]]:
    stamps = []
    for path in files:
        try:
            stat = path.stat()
        except OSError:
            stamps.append((0, 0))
        else:
            stamps.append((stat.st_mtime_ns, stat.st_size))
    return stamps
