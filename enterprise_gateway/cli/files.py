"""Configuration files: which there are, and what each gives.

Files are found where Jupyter looks for them, never in the current folder: they are programs, and whoever can
write to a folder must not run code as those who start a gateway there (CVE-2022-39286 of jupyter_core).
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from traitlets.config.loader import (
    Config,
    ConfigFileNotFound,
    JSONFileConfigLoader,
    LazyConfigValue,
    PyFileConfigLoader,
)

from enterprise_gateway.config import Given, Source, from_traits, strongest
from enterprise_gateway.config.build import read
from enterprise_gateway.config.option import table
from enterprise_gateway.config.settings import Settings
from enterprise_gateway.errors import ConfigError

_LOADERS = {".py": PyFileConfigLoader, ".json": JSONFileConfigLoader}


class ConfigFile(NamedTuple):
    """A file and the traitlets names it sets, values unread."""

    path: Path
    given: dict[str, Given]


def find(folders: Sequence[str], names: Sequence[str]) -> list[Path]:
    """The files `names` (without suffix) in `folders` (strongest first), the strongest file last.

    A later name is stronger than an earlier one in whatever folder, and JSON stronger than Python, as in
    every Jupyter program.
    """
    candidates = [Path(folder, name + suffix) for name in names for folder in reversed(folders) for suffix in _LOADERS]
    return [path for path in candidates if _is_file(path)]


def explicit(path: str) -> list[Path]:
    """The files that `--config=path` means; without one of our suffixes, those that differ in it alone.

    Raises:
        ConfigError: there is none.
    """
    stem = Path(path)
    candidates = [stem] if stem.suffix in _LOADERS else [Path(path + suffix) for suffix in _LOADERS]
    found = [candidate for candidate in candidates if _is_file(candidate)]
    if not found:
        raise ConfigError(f"--config: there is no file {' or '.join(map(str, candidates))}")
    return found


def load(paths: Sequence[Path], environment: Source) -> list[ConfigFile]:
    """Read `paths` in turn, the strongest last.

    Args:
        paths: the files.
        environment: what is given elsewhere and weaker: `c.….client_envs.append("A")` adds to it.

    Raises:
        ConfigError: a file cannot be read, or the program in it fails.
    """
    loaded: list[ConfigFile] = []
    weaker = [environment]
    for path in paths:
        given = {
            f"{owner}.{trait}": Given(_resolve(f"{owner}.{trait}", value, weaker), f"c.{owner}.{trait} in {path}")
            for owner, traits in _run(path).items()
            if isinstance(traits, Config)
            for trait, value in traits.items()
            if not isinstance(value, Config) and not _is_untouched(value)
        }
        loaded.append(ConfigFile(path, given))
        weaker.insert(0, from_traits(given))
    return loaded


def _run(path: Path) -> Config:
    try:
        return _LOADERS[path.suffix](path.name, path=str(path.parent)).load_config()
    except ConfigFileNotFound:
        raise ConfigError(f"{path} cannot be found any more") from None
    except Exception as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = f", line {frames[-1].lineno}" if frames else ""
        raise ConfigError(f"{path}{line}: {type(error).__name__}: {error}") from error


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder we may not look into; Jupyter passes it over too
        return False


def _is_untouched(value: object) -> bool:
    """Whether a name was looked at and not set."""
    return isinstance(value, LazyConfigValue) and not value.to_dict()


def _resolve(trait: str, value: Any, weaker: Sequence[Source]) -> Any:
    """The value a file means; `append` and the like add to what would count without the file."""
    if not isinstance(value, LazyConfigValue):
        return value
    for field in table(Settings):
        if trait in field.traits:
            given = strongest(weaker).get(field.name)
            current = field.default if given is None else read(field, given)
            return value.get_value(set(current) if isinstance(current, frozenset) else list(current))
    return None
