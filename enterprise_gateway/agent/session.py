"""One front end's session: what it has not acknowledged, and the websocket it has at the moment, if any.

The end-to-end acknowledgement is a websocket PING whose payload is a sequence number: every client's websocket
library answers with a PONG of the same payload, whatever lies between. Nothing here ever waits.
"""

from __future__ import annotations

from typing import Protocol

from enterprise_gateway.agent.outgoing import Author, Outgoing
from enterprise_gateway.core.ring import ITEM_OVERHEAD, Gap, Ring
from enterprise_gateway.wire.message import Part
from enterprise_gateway.wire.websocket import encode_ping

BATCH_BYTES = 256 * 1024
"""How much is encoded and written at a time; the ring, not the socket's buffer, holds what a client is slow to take."""


class Socket(Protocol):
    """A websocket as a session sees it."""

    subprotocol: str | None
    via: str

    @property
    def writable(self) -> bool:
        """Whether more may be written now; `Session.pump` is called when it becomes so."""

    def write(self, pieces: list[Part]) -> None:
        """Send the bytes of whole frames."""

    def close(self, code: int, reason: str, *, await_answer: bool = True) -> None:
        """Send CLOSE and end, after the client's answer if that is awaited."""

    def pause(self, paused: bool) -> None:
        """Stop or go on reading what the client sends."""


class Session:
    """Outgoing messages of one `session_id`."""

    def __init__(self, session_id: str, limit: int, author: Author, *, durable: bool) -> None:
        self.id = session_id
        self.durable = durable
        """Whether it outlives its websocket: a client that named no `session_id` cannot come back to it."""
        self.socket: Socket | None = None
        self.detached_at = 0.0
        self._author = author
        self._ring: Ring[Outgoing] = Ring(limit)
        self._last_parent = b"{}"

    @property
    def settled(self) -> bool:
        """Whether its client has acknowledged everything."""
        return self._ring.settled

    def attach(self, socket: Socket) -> Socket | None:
        """Send from now on to `socket`, beginning with all that was not acknowledged; returns the one it replaces."""
        replaced, self.socket = self.socket, socket
        self._ring.rewind()
        self.pump()
        return replaced

    def detach(self, now: float) -> None:
        """The websocket is gone."""
        self.socket = None
        self.detached_at = now

    def deliver(self, outgoing: Outgoing) -> None:
        """Queue a message; `pump` sends."""
        size = outgoing.message.size
        if self._ring.size + size > self._ring.limit:
            self.pump()  # what the websocket takes need not be dropped unsent
        self._ring.append(outgoing, size, essential=outgoing.essential)

    def acknowledge(self, payload: bytes) -> None:
        """A PONG came back with `payload`."""
        if payload.isdigit() and len(payload) < 20:
            self._ring.acknowledge(int(payload))

    def pump(self) -> None:
        """Write what the websocket takes now, each batch followed by the PING that asks for its acknowledgement."""
        socket = self.socket
        if socket is None:
            return
        ring = self._ring
        while ring.pending and socket.writable:
            pieces: list[Part] = []
            gap = ring.take_gap()
            if gap is not None:
                pieces += self._gap_notice(gap, socket.subprotocol)
            for outgoing in ring.take(BATCH_BYTES):
                pieces += outgoing.frame(socket.subprotocol)
                self._last_parent = outgoing.message.parent_header
            pieces.append(self.ping())
            socket.write(pieces)

    def ping(self) -> bytes:
        """A PING frame that asks for the acknowledgement of everything written."""
        return encode_ping(b"%d" % self._ring.taken_seq)

    def _gap_notice(self, gap: Gap[Outgoing], subprotocol: str | None) -> list[Part]:
        parent = gap.essential.message.parent_header if gap.essential else self._last_parent
        content = gap.size - gap.items * ITEM_OVERHEAD
        text = (
            f"{gap.items} messages ({content / 1e6:.1f} MB) of output were dropped here: "
            "this client was away or too slow for longer than its replay buffer lasts"
        )
        pieces = list(self._author.stderr(text, parent).frame(subprotocol))
        if gap.essential is not None:
            pieces += self._author.status("idle", parent).frame(subprotocol)
        return pieces

    def __repr__(self) -> str:
        return f"<Session {self.id} {'attached' if self.socket else 'detached'} {self._ring!r}>"
