"""Kernels and sessions in the shapes that clients read (contract: Jupyter's REST API)."""

from __future__ import annotations

import msgspec

from enterprise_gateway.core.agents import AgentStatus
from enterprise_gateway.core.lifecycle import KernelState
from enterprise_gateway.core.records import ObservedKernel, Phase, SessionRecord
from enterprise_gateway.core.timestamps import utc


class Progress(msgspec.Struct, frozen=True):
    """One step of a start."""

    time: str
    reason: str
    message: str


class KernelModel(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A kernel as clients know it; `reason` is there when it says something, `progress` while the kernel starts."""

    id: str
    name: str
    last_activity: str
    execution_state: str
    connections: int
    reason: str = ""
    progress: list[Progress] = []


class KernelHistory(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the gateway can tell about a kernel, also after its end."""

    kernel: KernelModel
    owner: str
    username: str
    backend: str
    created: str
    ended: str | None
    exit_code: int | None = None
    """Of a kernel that ended by itself; negative is the signal that ended it."""
    log_tail: str
    progress: list[Progress]
    """All steps of its start that are still known."""


class NotebookModel(msgspec.Struct, frozen=True):
    """The older form of a session's document."""

    path: str
    name: str


class SessionModel(msgspec.Struct, frozen=True, kw_only=True):
    """A session as clients know it: jupyter_server's fields, and the older `notebook`."""

    id: str
    path: str
    name: str
    type: str
    kernel: KernelModel
    notebook: NotebookModel


def kernel_model(observed: ObservedKernel, status: AgentStatus | None) -> KernelModel:
    """A kernel's model; `status` is None while its agent has not been heard."""
    record = observed.record
    ended = observed.phase is Phase.ENDED
    return KernelModel(
        id=record.kernel_id,
        name=record.spec_name,
        last_activity=utc(status.last_activity if status else record.created),
        execution_state="dead" if ended else status.execution_state if status else "starting",
        connections=status.connections if status and not ended else 0,
        reason=observed.reason or (status.reason if status else ""),
        progress=_progress(observed) if _starts(observed, status) else [],
    )


def _starts(observed: ObservedKernel, status: AgentStatus | None) -> bool:
    return observed.phase is Phase.STARTING and (status is None or status.state is KernelState.STARTING)


def kernel_history(observed: ObservedKernel, kernel: KernelModel) -> KernelHistory:
    """What `why` shows."""
    record = observed.record
    return KernelHistory(
        kernel=kernel,
        owner=record.owner,
        username=record.username,
        backend=record.backend,
        created=utc(record.created),
        ended=utc(observed.ended) if observed.ended else None,
        exit_code=observed.exit_code,
        log_tail=observed.log_tail,
        progress=_progress(observed),
    )


def session_model(session: SessionRecord, kernel: KernelModel) -> SessionModel:
    """A session's model."""
    return SessionModel(
        id=session.id,
        path=session.path,
        name=session.name,
        type=session.type,
        kernel=kernel,
        notebook=NotebookModel(session.path, session.name),
    )


def _progress(observed: ObservedKernel) -> list[Progress]:
    return [Progress(utc(event.time), event.reason, event.message) for event in observed.progress]
