"""Between one kernel and all its clients: routes messages both ways, knows what is busy and what waits for a reply.

Never parses content, with one exception: the few bytes of a `status` message. One event loop, no locks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from enterprise_gateway.agent.outgoing import Author, Outgoing
from enterprise_gateway.agent.session import Session, Socket
from enterprise_gateway.core.activity import Activity
from enterprise_gateway.errors import ProtocolError
from enterprise_gateway.wire.message import Header, Message, parse_header

log = logging.getLogger(__name__)

MAX_PENDING = 10_000
"""Requests whose reply is awaited; beyond, the oldest are routed by their session instead."""
MAX_CLIENTS = 1_000
"""Names clients give themselves in message headers; beyond, the oldest is forgotten."""
MAX_DETACHED = 16
"""Sessions kept for clients that are away; beyond, those longest away are forgotten."""


class _Status(msgspec.Struct):
    execution_state: str = ""


_decode_status = msgspec.json.Decoder(_Status).decode


def _execution_state(message: Message) -> str:
    try:
        return _decode_status(message.content).execution_state
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"status message: {error}") from None


class _Pending(NamedTuple):
    session: Session
    request: Header
    raw_header: bytes
    channel: str


class Hub:
    """All sessions of a kernel."""

    def __init__(self, replay_bytes: int, author: Author, own_message: Callable[[Message, Header], None]) -> None:
        self.activity = Activity(time.time())
        self.author = author
        self._replay_bytes = replay_bytes
        self._own_message = own_message
        self._sessions: dict[str, Session] = {}
        self._by_client: dict[str, Session] = {}
        self._pending: dict[str, _Pending] = {}
        self._dirty: set[Session] = set()
        self._last_execute = b"{}"
        self._progress = asyncio.Event()
        self.heard_iopub = False
        """Whether the kernel's PUB socket has reached us since this was last cleared."""

    @property
    def sockets(self) -> list[Socket]:
        """Every open websocket."""
        return [session.socket for session in self._sessions.values() if session.socket is not None]

    def attach(self, session_id: str, socket: Socket) -> Session:
        """Give `session_id` a websocket, with everything that session has not acknowledged."""
        session = self._sessions.get(session_id) if session_id else None
        if session is None:
            name = session_id or uuid.uuid4().hex
            session = Session(name, self._replay_bytes, self.author, durable=bool(session_id))
            self._sessions[name] = session
        replaced = session.attach(socket)
        if replaced is not None:
            replaced.close(1001, "this session was opened again by its client")
        return session

    def detach(self, session: Session, socket: Socket) -> None:
        """`socket` is gone; its session waits for the client to come back."""
        if session.socket is not socket:
            return
        session.detach(time.time())
        self._progress.set()
        if not session.durable:
            self._forget(session)
            return
        detached = [other for other in self._sessions.values() if other.socket is None]
        for other in sorted(detached, key=lambda each: each.detached_at)[:-MAX_DETACHED]:
            self._forget(other)

    def forget_detached(self, before: float) -> None:
        """Drop sessions without a client since `before` (Unix seconds)."""
        for session in list(self._sessions.values()):
            if session.socket is None and session.detached_at < before:
                self._forget(session)

    def from_client(self, session: Session, message: Message, header: Header) -> None:
        """Note a client's request, so that its reply finds the way back."""
        self.activity.touch(time.time())
        if header.session:
            self._by_client[header.session] = session
            if len(self._by_client) > MAX_CLIENTS:
                del self._by_client[next(iter(self._by_client))]
        if header.msg_type.endswith("_request"):
            self._pending[header.msg_id] = _Pending(session, header, message.header, message.channel)
            if len(self._pending) > MAX_PENDING:
                del self._pending[next(iter(self._pending))]
        if header.msg_type == "execute_request":
            self._last_execute = message.header

    def from_kernel(self, message: Message) -> None:
        """Route one message of the kernel to the sessions it is for; `flush` sends."""
        header = parse_header(message.header)
        parent = parse_header(message.parent_header)
        if message.channel == "iopub":
            self.heard_iopub = True
            self.author.kernel_session = header.session or self.author.kernel_session
        if parent.session == self.author.session or header.msg_type == "iopub_welcome":
            self._own_message(message, header)
            return
        if message.channel != "iopub":
            self._deliver_reply(message, header, parent)
            return
        self.activity.touch(time.time())
        is_status = header.msg_type == "status"
        if is_status:
            self.activity.status(_execution_state(message), parent.msg_id, message.parent_header)
        self.broadcast(Outgoing(message, header, essential=is_status))

    def broadcast(self, outgoing: Outgoing) -> None:
        """Queue a message for every session."""
        for session in self._sessions.values():
            session.deliver(outgoing)
            self._dirty.add(session)

    def flush(self) -> None:
        """Send what was queued."""
        for session in self._dirty:
            session.pump()
        self._dirty.clear()

    def tell(self, text: str) -> None:
        """Say `text` in the output of the cell that ran last, in every notebook that is or will be attached."""
        self.broadcast(self.author.stderr(text, self._last_execute))
        self.flush()

    def fail_pending(self, reason: str) -> None:
        """Answer every cell the kernel did not live to answer or to be idle after, so that nobody waits for it.

        Other requests go without: JupyterLab asks again by itself, and takes an error for an answer worth a crash.
        """
        unfinished = self.activity.unfinished  # a kernel may die between a reply and the idle behind it
        for session, request, parent, channel in self._pending.values():
            if request.msg_type != "execute_request":
                continue
            session.deliver(self.author.failure(request, parent, channel, reason))
            self._dirty.add(session)
            unfinished[request.msg_id] = parent
        for parent in unfinished.values():
            self.broadcast(self.author.status("idle", parent))
        self._pending.clear()
        self.flush()

    def acknowledge(self, session: Session, payload: bytes) -> None:
        """The client of `session` answered a PING with `payload`."""
        session.acknowledge(payload)
        self._progress.set()

    async def settle(self, sockets: list[Socket], timeout: float) -> None:
        """Wait until the clients behind `sockets` have acknowledged everything, at most `timeout` seconds."""
        watched = [session for session in self._sessions.values() if session.socket in sockets]
        await self._wait_until(lambda: all(session.settled or session.socket is None for session in watched), timeout)

    async def settle_all(self, timeout: float) -> None:
        """Wait until every session has acknowledged everything, those whose clients are away included."""
        await self._wait_until(lambda: all(session.settled for session in self._sessions.values()), timeout)

    async def closed(self) -> None:
        """Wait until no websocket is open."""
        await self._wait_until(lambda: not self.sockets, timeout=None)

    async def _wait_until(self, condition: Callable[[], bool], timeout: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not condition():
                    self._progress.clear()
                    await self._progress.wait()

    def _deliver_reply(self, message: Message, header: Header, parent: Header) -> None:
        pending = self._pending.get(parent.msg_id)
        session = pending.session if pending else self._by_client.get(parent.session)
        if pending is not None and header.msg_type.endswith("_reply"):
            del self._pending[parent.msg_id]
        if session is None:
            log.info("No session waits for a %s of the kernel", header.msg_type)
            return
        session.deliver(Outgoing(message, header, essential=True))
        self._dirty.add(session)

    def _forget(self, session: Session) -> None:
        self._dirty.discard(session)
        self._progress.set()
        del self._sessions[session.id]
        self._by_client = {name: each for name, each in self._by_client.items() if each is not session}
        self._pending = {name: each for name, each in self._pending.items() if each.session is not session}

    def __repr__(self) -> str:
        return f"<Hub {len(self._sessions)} sessions, {len(self._pending)} requests pending>"
