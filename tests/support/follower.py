"""A client that reads one session to its end and comes back to it whenever its connection breaks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import websocket
from support.channels import Channels, Message
from support.gateway import Gateway

RETRY_SECONDS = 0.02


class Follower:
    """Reads in a thread of its own until `last` is true of a message; `connections` has what each websocket brought."""

    def __init__(self, gateway: Gateway, kernel_id: str, last: Callable[[Message], bool], **options: Any) -> None:
        self.connections: list[list[Message]] = []
        self.channels: Channels | None = None
        self._gateway = gateway
        self._kernel_id = kernel_id
        self._last = last
        self._options = options
        self._ended = False
        self._thread = threading.Thread(target=self._follow, name="follower", daemon=True)
        self._thread.start()

    def finish(self, deadline: float = 60.0) -> list[Message]:
        """Everything it was sent, each message once.

        Claims that what came twice did so after a reconnect alone, in the same order, with nothing between.
        """
        self._thread.join(deadline)
        assert not self._thread.is_alive(), f"the end did not come; the last was {self._newest()}"
        return without_resent(self.connections)

    def _follow(self) -> None:
        while not self._ended:
            try:
                self.channels = Channels.of(self._gateway, self._kernel_id, **self._options)
            except (OSError, websocket.WebSocketException):
                time.sleep(RETRY_SECONDS)
                continue
            self._read(self.channels)

    def _read(self, channels: Channels) -> None:
        messages: list[Message] = []
        self.connections.append(messages)
        try:
            while not self._ended:
                messages.append(channels.recv())
                self._ended = self._last(messages[-1])
            channels.close()
        except (OSError, websocket.WebSocketException):
            channels.drop()

    def _newest(self) -> Message | None:
        return next((messages[-1] for messages in reversed(self.connections) if messages), None)


def without_resent(connections: list[list[Message]]) -> list[Message]:
    """All messages without those that a later connection brought again."""
    kept: list[Message] = []
    ids: list[str] = []
    for messages in connections:
        came = [message["header"]["msg_id"] for message in messages]
        known = ids.index(came[0]) if came and came[0] in ids else len(ids)
        again = len(ids) - known
        assert came[:again] == ids[known : known + len(came)], "what was sent again differs"
        assert not set(came[again:]) & set(ids), "an old message came between new ones"
        kept += messages[again:]
        ids += came[again:]
    return kept
