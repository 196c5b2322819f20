"""Jupyter sessions: which document uses which kernel. Stored with the kernel's record, so every replica has them.

One event loop. A session without a living kernel does not exist.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
import weakref
from collections.abc import Iterator

import msgspec

from enterprise_gateway.core.principals import Principal
from enterprise_gateway.core.records import KernelRecord, ObservedKernel, SessionRecord
from enterprise_gateway.errors import InvalidRequest, KernelNotFound, SessionNotFound
from enterprise_gateway.kernels.manager import KernelManager
from enterprise_gateway.kernels.models import SessionModel, session_model
from enterprise_gateway.kernels.policy import StartRequest


class SessionChange(msgspec.Struct, frozen=True, kw_only=True):
    """A `PATCH`: fields that are None stay as they are."""

    path: str | None = None
    name: str | None = None
    type: str | None = None
    kernel_id: str | None = None
    """Another, running kernel to use; the old one ends unless another session uses it."""
    kernel_name: str | None = None
    """Another kernel spec: a new kernel is started for the session, and the old one ends likewise."""


class SessionManager:
    """Sessions for principals."""

    def __init__(self, kernels: KernelManager) -> None:
        self._kernels = kernels
        self._opening: weakref.WeakValueDictionary[tuple[str, str], asyncio.Lock] = weakref.WeakValueDictionary()
        """A document that is opened twice at the same moment gets one kernel."""

    async def list(self, principal: Principal) -> list[SessionModel]:
        """All sessions of `principal`."""
        found = list(self._sessions(principal))
        models = await self._kernels.models([observed for observed, _ in found])
        return [session_model(session, model) for (_, session), model in zip(found, models, strict=True)]

    async def get(self, principal: Principal, session_id: str) -> SessionModel:
        """One session.

        Raises:
            SessionNotFound: there is none, or it is somebody else's.
        """
        observed, session = self._find(principal, session_id)
        return session_model(session, await self._kernels.get(principal, observed.record.kernel_id))

    async def start(
        self, principal: Principal, session: SessionRecord, kernel_id: str | None, request: StartRequest
    ) -> SessionModel:
        """Open a session; one with this path that is there already is the answer, as jupyter_server does it.

        A given `kernel_id` names a running kernel to use; else one is started. Raises as `KernelManager.start`.
        """
        async with self._opening.setdefault((principal.name, session.path), asyncio.Lock()):
            return await self._start(principal, session, kernel_id, request)

    async def _start(
        self, principal: Principal, session: SessionRecord, kernel_id: str | None, request: StartRequest
    ) -> SessionModel:
        for observed, existing in self._sessions(principal):
            if existing.path == session.path:
                [model] = await self._kernels.models([observed])
                return session_model(existing, model)
        if kernel_id is None:
            kernel_id = (await self._kernels.start(principal, request)).id
        else:
            self._kernels.registry.alive(principal, kernel_id)
        await self._attach(principal, kernel_id, session)
        return await self.get(principal, session.id)

    async def change(self, principal: Principal, session_id: str, change: SessionChange) -> SessionModel:
        """Rename a session or give it another kernel. Raises as `get` and `start`."""
        observed, session = self._find(principal, session_id)
        old_id = observed.record.kernel_id
        new = SessionRecord(
            id=session.id,
            path=session.path if change.path is None else change.path,
            name=session.name if change.name is None else change.name,
            type=session.type if change.type is None else change.type,
        )
        new_id = change.kernel_id or old_id
        if change.kernel_name and change.kernel_id is None:
            started = await self._kernels.start(principal, StartRequest(name=change.kernel_name, path=new.path))
            new_id = started.id
        elif new_id != old_id:
            self._kernels.registry.alive(principal, new_id)
        await self._attach(principal, new_id, new)
        if new_id != old_id:
            await self._detach(principal, old_id, session_id)
        return await self.get(principal, session_id)

    async def delete(self, principal: Principal, session_id: str) -> None:
        """Close a session and end its kernel, unless another session uses it. Raises as `get`."""
        observed, _ = self._find(principal, session_id)
        await self._detach(principal, observed.record.kernel_id, session_id)

    def _sessions(self, principal: Principal) -> Iterator[tuple[ObservedKernel, SessionRecord]]:
        for observed in self._kernels.registry.visible(principal):
            for session in observed.record.sessions:
                yield observed, session

    def _find(self, principal: Principal, session_id: str) -> tuple[ObservedKernel, SessionRecord]:
        for observed, session in self._sessions(principal):
            if session.id == session_id:
                return observed, session
        raise SessionNotFound(f"Session does not exist: {session_id}")

    async def _attach(self, principal: Principal, kernel_id: str, session: SessionRecord) -> None:
        observed = self._kernels.registry.alive(principal, kernel_id)

        def change(record: KernelRecord) -> KernelRecord:
            others = tuple(each for each in record.sessions if each.id != session.id)
            return msgspec.structs.replace(record, sessions=(*others, session))

        await self._kernels.registry.backend_of(observed).update(kernel_id, change)

    async def _detach(self, principal: Principal, kernel_id: str, session_id: str) -> None:
        """Take the session off its kernel, and end the kernel unless another session uses it."""
        observed = self._kernels.registry.alive(principal, kernel_id)

        def change(record: KernelRecord) -> KernelRecord:
            others = tuple(each for each in record.sessions if each.id != session_id)
            return msgspec.structs.replace(record, sessions=others)

        record = await self._kernels.registry.backend_of(observed).update(kernel_id, change)
        if not record.sessions:
            with contextlib.suppress(KernelNotFound):
                await self._kernels.delete(principal, kernel_id)


def new_session(path: str, name: str, kind: str) -> SessionRecord:
    """A session record with a new id.

    Raises:
        InvalidRequest: the path or the type is missing.
    """
    if not path:
        raise InvalidRequest("'path' is missing: a session belongs to a document")
    if not kind:
        raise InvalidRequest("'type' is missing: 'notebook', 'console' or 'file'")
    return SessionRecord(id=str(uuid.uuid4()), path=path, name=name or path.rpartition("/")[2], type=kind)
