"""Many websockets in one process: held open, and carried over a killed gateway. One thread, a selector."""

from __future__ import annotations

import json
import selectors
import sys
import threading
import time
from typing import Any

from benchmarks.client.messages import Message
from benchmarks.client.traffic import request_execute
from benchmarks.client.transports import Channels, Peer
from benchmarks.client.websocket import ConnectionClosedError

SMALL_BUFFER = 8192
RETRY_EVERY = 0.02
"""Seconds between attempts to come back to a gateway that is gone."""
ENDLESS = 1_000_000
DEADLINE = 120
"""Seconds after which what has not come is lost."""


def hold(peers: list[Peer]) -> dict[str, Any]:
    """Open all websockets, say so, answer PINGs until a line comes on stdin, then ask every kernel."""
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        websockets = [Channels(peer, SMALL_BUFFER) for peer in peers]
        for websocket in websockets:
            selector.register(websocket, selectors.EVENT_READ, websocket)
        report(connected=len(websockets))
        holding = True
        while holding:
            for key, _ in selector.select():
                if key.data is None:
                    holding = False
                else:
                    key.data.receive()
        selector.unregister(sys.stdin)
        return {"answered": ask_all(selector, websockets)}


def ask_all(selector: selectors.BaseSelector, websockets: list[Channels]) -> int:
    """How many of the websockets bring the reply to a kernel_info_request."""
    expected = {websocket.send("shell", "kernel_info_request", {}) for websocket in websockets}
    asked = len(expected)
    deadline = time.monotonic() + DEADLINE
    while expected and time.monotonic() < deadline:
        for key, _ in selector.select(timeout=1):
            for message in key.data.receive():
                if message.msg_type == "kernel_info_reply":
                    expected.discard(message.parent_id)
    return asked - len(expected)


class Listener:
    """One client of a busy kernel: knows which numbered messages it has, and comes back when cut off."""

    def __init__(self, peer: Peer, count: int, seconds: float) -> None:
        self._peer = peer
        self._count = count
        self._websocket = Channels(peer, SMALL_BUFFER)
        self._msg_id = request_execute(self._websocket, f"ticks {count} {seconds}")
        self._expected = 0
        self.back_at = 0.0
        """When the first message after the loss of the gateway came; monotonic seconds."""
        self.gaps: list[float] = []
        """Seconds from the last message of a lost connection to the first new one after it."""
        self._line_at = 0.0
        self._line_was_before_a_loss = False
        self.cut_off = False
        self.idle = False
        self.duplicates = 0
        self.lost = 0

    def fileno(self) -> int:
        return self._websocket.fileno()

    @property
    def started(self) -> bool:
        return self._expected > 0

    @property
    def silent(self) -> bool:
        """Whether nothing new has come since the last loss."""
        return self._line_was_before_a_loss

    def read(self) -> None:
        """Take what has arrived; raises what says that the gateway is gone."""
        for message in self._websocket.receive():
            if message.parent_id == self._msg_id:
                self._take(message)

    def reconnect(self) -> bool:
        """Whether the gateway let this client in again, with the session it had."""
        try:
            self._websocket = Channels(self._peer, SMALL_BUFFER)
        except (OSError, ConnectionClosedError):
            return False
        return True

    def drop(self) -> None:
        self._websocket.close()
        self.cut_off = self._line_was_before_a_loss = True

    def finish(self) -> None:
        self.lost += self._count - self._expected

    def _take(self, message: Message) -> None:
        if self.cut_off and not self.back_at:
            self.back_at = time.monotonic()
        if message.msg_type == "stream":
            number = int(message.msg_id.rpartition("-")[2])
            self.duplicates += number < self._expected
            self.lost += max(0, number - self._expected)
            if number >= self._expected:
                self._expected = number + 1
                self._note_line()
        self.idle = self.idle or message.says_idle()

    def _note_line(self) -> None:
        now = time.monotonic()
        if self._line_was_before_a_loss:
            self.gaps.append(now - self._line_at)
            self._line_was_before_a_loss = False
        self._line_at = now


def failover(peers: list[Peer], count: int, seconds: float) -> dict[str, Any]:
    """Every kernel ticks; says so; comes back with the same session when cut off; counts what never came."""
    listeners = [Listener(peer, count, seconds) for peer in peers]
    cut_off: list[Listener] = []
    announced = False
    deadline = time.monotonic() + DEADLINE
    with selectors.DefaultSelector() as selector:
        for listener in listeners:
            selector.register(listener, selectors.EVENT_READ, listener)
        while not all(listener.idle for listener in listeners) and time.monotonic() < deadline:
            cut_off += read_ready(selector)
            back = [listener for listener in cut_off if listener.reconnect()]
            for listener in back:
                cut_off.remove(listener)
                selector.register(listener, selectors.EVENT_READ, listener)
            if not announced and all(listener.started for listener in listeners):
                announced = True
                report(ticking=len(listeners))
    for listener in listeners:
        listener.finish()
    return {
        "lost": sum(listener.lost for listener in listeners),
        "duplicates": sum(listener.duplicates for listener in listeners),
        "never_idle": sum(not listener.idle for listener in listeners),
        "cut_off": sum(listener.cut_off for listener in listeners),
        "last_back_at": max(
            (listener.back_at or time.monotonic() for listener in listeners if listener.cut_off), default=0.0
        ),
    }


def follow(peers: list[Peer], seconds: float) -> dict[str, Any]:
    """Every kernel ticks, every client comes back whenever it is cut off, until a line comes on stdin.

    A thread each: a client that waits for its gateway must not make the others wait.
    """
    listeners = [Listener(peer, ENDLESS, seconds) for peer in peers]
    ended = threading.Event()
    threads = [threading.Thread(target=listen, args=(listener, ended)) for listener in listeners]
    for thread in threads:
        thread.start()
    while not all(listener.started for listener in listeners):
        time.sleep(RETRY_EVERY)
    report(ticking=len(listeners))
    sys.stdin.readline()
    ended.set()
    for thread in threads:
        thread.join()
    return {
        "gaps": [gap for listener in listeners for gap in listener.gaps],
        "lost": sum(listener.lost for listener in listeners),
        "duplicates": sum(listener.duplicates for listener in listeners),
        "silent": sum(listener.silent for listener in listeners),
    }


def listen(listener: Listener, ended: threading.Event) -> None:
    while not ended.is_set():
        try:
            listener.read()
        except (OSError, ConnectionClosedError):
            listener.drop()
            while not ended.is_set() and not listener.reconnect():
                time.sleep(RETRY_EVERY)


def read_ready(selector: selectors.BaseSelector) -> list[Listener]:
    """Read what is ready; returns the listeners that were cut off."""
    gone = []
    for key, _ in selector.select(timeout=RETRY_EVERY):
        listener: Listener = key.data
        try:
            listener.read()
        except (OSError, ConnectionClosedError):
            selector.unregister(listener)
            listener.drop()
            gone.append(listener)
    return gone


def report(**fields: int) -> None:
    print(json.dumps(fields), flush=True)
