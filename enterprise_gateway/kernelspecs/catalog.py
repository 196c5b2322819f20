"""The kernel specs on disk, always current.

Folders are looked at once a second at most, and only when somebody asks: a handful of `stat` calls tell
whether anything was added, changed or removed, and only what changed is read again. Mounted ConfigMaps, which
change by swapping a symbolic link, are covered because every `stat` follows links.

Refuses to know who asks (`access`) and where kernels run. Synchronous, meant to be called on the event loop's
thread; not to be shared between threads. The folders are expected to be on a disk that answers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from jupyter_core.paths import jupyter_path

from ..errors import ConfigError, KernelSpecNotFound, ResourceNotFound
from .model import KernelSpec
from .reader import NATIVE_KERNEL_NAME, native_spec, read_spec

CHECK_INTERVAL = 1.0
"""Seconds between two looks at the folders."""

_NAMES_IN_MESSAGE = 10

_log = logging.getLogger(__name__)

_Stamp = tuple[int, ...]
"""What changes when a file or folder does: device, inode, size and both times, in nanoseconds."""

_Folders = dict[str, tuple[Path, _Stamp]]
"""Kernel spec's name to its folder and the stamp of the folder and its kernel.json together."""

_Problem = str
"""Why a kernel.json is left out."""


def jupyter_kernel_dirs() -> list[Path]:
    """The folders Jupyter searches for kernel specs in this environment, highest priority first."""
    return [Path(folder) for folder in jupyter_path("kernels")]


class Catalog:
    """The kernel specs that may be listed and started."""

    def __init__(
        self,
        kernel_dirs: Sequence[Path],
        *,
        default_name: str,
        allowed: frozenset[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """A catalog of the specs in `kernel_dirs`; of two with one name, the earlier folder's counts.

        Args:
            kernel_dirs: folders whose subfolders hold a kernel.json each; they need not exist yet.
            default_name: the spec to start when a client names none.
            allowed: names that exist for clients; None for all.
            clock: seconds, monotonic.
        """
        self._kernel_dirs = tuple(kernel_dirs)
        self._default = default_name.lower()
        self._allowed = None if allowed is None else frozenset(name.lower() for name in allowed)
        self._clock = clock
        self._next_check = float("-inf")
        self._folders: _Folders = {}
        self._unsettled: set[str] = set()
        self._contents: dict[str, KernelSpec | _Problem] = {}
        self._specs: Mapping[str, KernelSpec] = MappingProxyType({})

    @property
    def default(self) -> str:
        """The name of the default spec, which need not exist."""
        return self._default

    def all(self) -> Mapping[str, KernelSpec]:
        """Every spec by its name, sorted; a snapshot that does not change later."""
        now = self._clock()
        if now >= self._next_check:
            self._next_check = now + CHECK_INTERVAL
            self._refresh()
        return self._specs

    def get(self, name: str) -> KernelSpec:
        """The spec of this name, letter case ignored.

        Raises:
            KernelSpecNotFound: there is none, or it is not among the allowed ones.
        """
        specs = self.all()
        spec = specs.get(name.lower())
        if spec is None:
            raise KernelSpecNotFound(_unknown(name, list(specs)))
        return spec

    def resource(self, name: str, path: str) -> Path:
        """The file `path` (already percent-decoded) of a spec's folder, with all links followed.

        kernel.json is not served: the API shows it with secrets masked.

        Raises:
            KernelSpecNotFound: no such spec.
            ResourceNotFound: no such file, or it is not inside the folder.
        """
        folder = Path(self.get(name).resource_dir)
        missing = ResourceNotFound(f"The kernel spec {name!r} has no file {path!r}")
        parts = path.split("/")
        # A leading dot covers "..", and the folders behind a mounted ConfigMap.
        if any(not part or part.startswith(".") for part in parts):
            raise missing
        try:
            root = folder.resolve(strict=True)
            file = root.joinpath(*parts).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):  # a NUL, half a surrogate; links that point at each other
            raise missing from None
        if not file.is_relative_to(root) or not file.is_file() or file.name.lower() == "kernel.json":
            raise missing
        return file

    def _refresh(self) -> None:
        # The stamps are taken before the files are read: a change in between shows at the next look.
        folders = _find_folders(self._kernel_dirs, self._allowed)
        changed = {name for name, found in folders.items() if self._folders.get(name) != found}
        # What was new at the last look is read once more: file systems count time in steps of milliseconds,
        # and a second write within one step leaves the stamp as it was.
        stale = changed | self._unsettled
        contents = {
            name: self._read(name, folder) if name in stale else self._contents[name]
            for name, (folder, _) in folders.items()
        }
        self._folders, self._unsettled = folders, changed
        if contents != self._contents or not self._specs:
            self._contents = contents
            self._specs = MappingProxyType(self._usable())

    def _read(self, name: str, folder: Path) -> KernelSpec | _Problem:
        before = self._contents.get(name)
        try:
            spec = read_spec(name, folder)
        except ConfigError as error:
            problem = f"{folder / 'kernel.json'}: {error}"
            if problem != before:
                _log.warning("kernel spec left out: %s", problem)
            return problem
        return before if isinstance(before, KernelSpec) and before == spec else spec

    def _usable(self) -> dict[str, KernelSpec]:
        specs = {name: spec for name, spec in self._contents.items() if isinstance(spec, KernelSpec)}
        allowed = self._allowed is None or NATIVE_KERNEL_NAME in self._allowed
        # A broken python3 folder hides the native one, or the warning about it would contradict the list.
        if allowed and NATIVE_KERNEL_NAME not in self._contents and (native := native_spec()):
            specs[NATIVE_KERNEL_NAME] = native
        return dict(sorted(specs.items()))


def _find_folders(kernel_dirs: Sequence[Path], allowed: frozenset[str] | None) -> _Folders:
    found: _Folders = {}
    for kernel_dir in kernel_dirs:
        for folder in _visible_entries(kernel_dir):
            name = folder.name.lower()
            if name in found or (allowed is not None and name not in allowed):
                continue
            folder_stamp, file_stamp = _stamp(folder), _stamp(folder / "kernel.json")
            if folder_stamp and file_stamp:
                found[name] = (folder, folder_stamp + file_stamp)
    return found


def _visible_entries(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError:  # not there (yet), not readable, not a folder
        return []


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _unknown(name: str, known: Sequence[str]) -> str:
    if not known:
        return f"No kernel spec is named {name!r}; there are no kernel specs at all"
    listed = ", ".join(known[:_NAMES_IN_MESSAGE])
    more = f" and {len(known) - _NAMES_IN_MESSAGE} more" if len(known) > _NAMES_IN_MESSAGE else ""
    return f"No kernel spec is named {name!r}; there are {listed}{more}"
