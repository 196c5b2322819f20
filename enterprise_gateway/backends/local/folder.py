"""The state folder: where things lie, and how a kernel's folder comes to be and is read.

    <state>/master.key
    <state>/kernels/<kernel_id>/record.json        the record, written by gateways
                               /agent.json         the agent's configuration, secrets included
                               /kernel-<id>.json   the kernel's connection file
                               /agent.pid  agent.log  kernel.pid  kernel.log
                               /end.json           why it ended, written by the agent
                               /agent.sock         where the agent listens

A kernel's folder appears by one rename, complete, so it is also the claim on the kernel's id.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from enterprise_gateway.core.agents import AgentConfig
from enterprise_gateway.core.records import EndReport, KernelRecord
from enterprise_gateway.errors import ConfigError
from enterprise_gateway.files import replace_file, write_new

RECORD = "record.json"
AGENT_CONFIG = "agent.json"
AGENT_PID = "agent.pid"
AGENT_LOG = "agent.log"
KERNEL_PID = "kernel.pid"
KERNEL_LOG = "kernel.log"
END = "end.json"
SOCKET = "agent.sock"
LOG_TAIL = 64 * 1024
"""Bytes of a log that are shown."""
MAX_SOCKET_PATH = 100
"""Unix socket addresses hold 108 bytes on Linux and 104 elsewhere, with their final zero."""
_UNFINISHED = ".new-"
_UUID_LENGTH = 36
T = TypeVar("T")


class StateFolder:
    """Paths and files of the local backend; every method is quick and synchronous."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.kernels = root / "kernels"
        self._sockets = self._socket_folder()

    def prepare(self) -> None:
        """Make the folders, for their owner alone.

        Raises:
            ConfigError: they cannot be made, or are not ours.
        """
        for folder in {self.root, self.kernels, *([self._sockets] if self._sockets else [])}:
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                owner = folder.stat().st_uid
                # The folder for sockets lies where anybody can make a link, and point it elsewhere later.
                linked = folder == self._sockets and folder.is_symlink()
            except OSError as error:
                raise ConfigError(f"The state folder cannot be used: {error}; set EG_STATE_DIR") from None
            if owner != os.geteuid() or linked:
                raise ConfigError(f"The state folder {folder} belongs to somebody else; set EG_STATE_DIR")
        self.root.chmod(0o700)

    def of(self, kernel_id: str) -> Path:
        """A kernel's folder."""
        return self.kernels / kernel_id

    def socket(self, kernel_id: str) -> Path:
        """Where its agent listens."""
        return self._sockets / f"{kernel_id}.sock" if self._sockets else self.of(kernel_id) / SOCKET

    def connection_file(self, kernel_id: str) -> Path:
        """Its connection file."""
        return self.of(kernel_id) / f"kernel-{kernel_id}.json"

    def claim(self, record: KernelRecord, config: AgentConfig) -> bool:
        """Create a kernel's folder with everything in it; False when the id is taken.

        Raises:
            OSError: nothing was created; a full disk, for example.
        """
        final = self.of(record.kernel_id)
        if final.exists():
            return False
        new = self.kernels / f"{_UNFINISHED}{record.kernel_id}-{secrets.token_hex(4)}"
        new.mkdir(mode=0o700)
        try:
            write_new(new / RECORD, msgspec.json.encode(record))
            write_new(new / AGENT_CONFIG, msgspec.json.encode(config))
            name = self.connection_file(record.kernel_id).name
            write_new(new / name, msgspec.json.encode(config.connection))
            new.rename(final)
        except OSError:
            shutil.rmtree(new, ignore_errors=True)
            if final.exists():
                return False
            raise
        return True

    def kernel_ids(self) -> list[str]:
        """Every kernel that has a folder."""
        with os.scandir(self.kernels) as entries:
            return [entry.name for entry in entries if len(entry.name) == _UUID_LENGTH]

    def unfinished(self, before: float) -> list[Path]:
        """Folders of starts that were cut off before they began, older than `before` (Unix seconds)."""
        found = []
        for path in self.kernels.glob(f"{_UNFINISHED}*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    found.append(path)
        return found

    def record(self, kernel_id: str) -> KernelRecord | None:
        """The record; None when there is none."""
        return _read(self.of(kernel_id) / RECORD, KernelRecord)

    def change_record(self, kernel_id: str, change: Callable[[KernelRecord], KernelRecord]) -> KernelRecord | None:
        """Replace the record by what `change` makes of it, one gateway after the other; None when there is none.

        Raises:
            OSError: nothing was changed.
        """
        try:
            folder = os.open(self.of(kernel_id), os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)  # ends with the descriptor, and with this process
            record = self.record(kernel_id)
            if record is not None:
                record = change(record)
                replace_file(self.of(kernel_id) / RECORD, msgspec.json.encode(record))
            return record
        finally:
            os.close(folder)

    def record_stamp(self, kernel_id: str) -> int:
        """Changes whenever the record does; 0 when there is none."""
        try:
            status = (self.of(kernel_id) / RECORD).stat()
            # Times move on by milliseconds only; a replaced file is another inode.
            return hash((status.st_mtime_ns, status.st_ino))
        except OSError:
            return 0

    def ports(self, kernel_id: str) -> tuple[int, ...]:
        """The ports its connection file names."""
        config = _read(self.of(kernel_id) / AGENT_CONFIG, AgentConfig)
        return config.connection.ports if config else ()

    def end(self, kernel_id: str) -> EndReport | None:
        """Why it ended; None while it lives."""
        return _read(self.of(kernel_id) / END, EndReport)

    def write_end(self, kernel_id: str, report: EndReport) -> None:
        """Put an end on record for an agent that could not."""
        replace_file(self.of(kernel_id) / END, msgspec.json.encode(report))

    def lost(self, kernel_id: str, time: float) -> EndReport:
        """The end, at `time`, of a kernel whose agent could not report it."""
        had_agent = bool(self.pid(kernel_id, AGENT_PID))
        reason = "its agent was killed" if had_agent else "the gateway that started it was killed"
        return EndReport(reason=reason, time=time, log_tail=self.log_tail(kernel_id, KERNEL_LOG))

    def pid(self, kernel_id: str, file: str) -> int:
        """The process id in `file` (`AGENT_PID`, `KERNEL_PID`); 0 when unknown."""
        try:
            return int((self.of(kernel_id) / file).read_text())
        except (OSError, ValueError):
            return 0

    def log_tail(self, kernel_id: str, file: str) -> str:
        """The end of `file` (`KERNEL_LOG`, `AGENT_LOG`)."""
        try:
            with (self.of(kernel_id) / file).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_TAIL))
                return log.read().decode(errors="replace")
        except OSError:
            return ""

    def remove(self, kernel_id: str) -> None:
        """Delete everything of a kernel; its id is free afterwards, and what cannot be deleted yet is `unfinished`.

        Raises:
            OSError: the id is not free.
        """
        self.socket(kernel_id).unlink(missing_ok=True)
        gone = self.kernels / f"{_UNFINISHED}gone-{kernel_id}-{secrets.token_hex(4)}"
        try:
            self.of(kernel_id).rename(gone)
        except FileNotFoundError:
            return
        shutil.rmtree(gone, ignore_errors=True)

    def _socket_folder(self) -> Path | None:
        """None when socket paths inside the kernels' folders are short enough, else a short folder elsewhere."""
        longest = self.kernels / ("x" * _UUID_LENGTH) / SOCKET
        if len(os.fsencode(longest)) <= MAX_SOCKET_PATH:
            return None
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"eg-{os.geteuid()}-{digest}"

    def __repr__(self) -> str:
        return f"<StateFolder {self.root}>"


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError):
        return None
