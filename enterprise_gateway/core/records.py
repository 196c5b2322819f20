"""What is known of a kernel outside its agent: plain data that a backend keeps for every replica to read."""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

LOOPBACK = "127.0.0.1"


class SessionRecord(msgspec.Struct, frozen=True):
    """A Jupyter session: a document that uses the kernel. Stored with the kernel's record."""

    id: str
    path: str
    name: str
    type: str


class KernelRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The intent of a start and what belongs to it; written before anything else exists."""

    kernel_id: str
    spec_name: str
    backend: str
    owner: str
    """Name of the principal whose kernel it is."""
    username: str
    """`KERNEL_USERNAME`: who the kernel says it works for."""
    created: float
    """Unix seconds."""
    deadline: float
    """Unix seconds by which the first start must have ended, one way or the other."""
    key_id: str
    """Which master key its secrets come from."""
    sessions: tuple[SessionRecord, ...] = ()


class Phase(enum.StrEnum):
    """How far a kernel is, as its backend sees it."""

    STARTING = "starting"
    RUNNING = "running"
    ENDED = "ended"


class ProgressEvent(msgspec.Struct, frozen=True):
    """One step of a start, in the words of the place where it happens."""

    time: float
    reason: str
    message: str = ""


class UnixEndpoint(msgspec.Struct, frozen=True, tag="unix"):
    """An agent that listens on a unix socket."""

    path: str


class TlsEndpoint(msgspec.Struct, frozen=True, tag="tls"):
    """An agent that listens on a network; who it is shows its key, not its address."""

    host: str
    port: int


Endpoint: TypeAlias = UnixEndpoint | TlsEndpoint


class EndReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent leaves behind when its kernel has ended for good."""

    reason: str
    time: float
    exit_code: int | None = None
    log_tail: str = ""


class ObservedKernel(msgspec.Struct, frozen=True, kw_only=True):
    """A record and what the backend sees of the kernel now."""

    record: KernelRecord
    phase: Phase
    endpoint: Endpoint | None = None
    """Where the agent listens, once that is known."""
    reason: str = ""
    """Why it ended."""
    ended: float = 0.0
    """Unix seconds of the end."""
    exit_code: int | None = None
    """Of a kernel that ended by itself; negative is the signal that ended it."""
    log_tail: str = ""
    """The last output of a kernel that ended."""
    progress: tuple[ProgressEvent, ...] = ()

    def after(self, end: EndReport) -> ObservedKernel:
        """The same kernel once it has ended."""
        return msgspec.structs.replace(
            self,
            phase=Phase.ENDED,
            reason=end.reason,
            ended=end.time,
            exit_code=end.exit_code,
            log_tail=end.log_tail,
        )


class ConnectionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A kernel's connection file, as jupyter_client defines it."""

    shell_port: int
    iopub_port: int
    stdin_port: int
    control_port: int
    hb_port: int
    key: str
    ip: str = LOOPBACK
    transport: str = "tcp"
    signature_scheme: str = "hmac-sha256"
    kernel_name: str = ""

    @property
    def ports(self) -> tuple[int, ...]:
        """All five ports."""
        return (self.shell_port, self.iopub_port, self.stdin_port, self.control_port, self.hb_port)
