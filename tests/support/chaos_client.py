"""A client of one kernel under chaos: runs numbered cells one after the other, and comes back whenever it is cut off.

A cell prints its number, the number of each of its lines, in which kernel it runs and how often it has run there. Each
execute has one of the outcomes below; what it may not have is two lives, lines of somebody else's, or no end.
"""

from __future__ import annotations

import enum
import json
import random
import threading
import time
import uuid
from dataclasses import dataclass

import requests
import websocket
from support.channels import Channels, Message
from support.chaos_history import History
from support.deployed import Deployed
from support.follower import without_resent

LINES = 4
"""Of one cell."""
CELL_DEADLINE = 120.0
"""Seconds a cell may take, with everything that happens meanwhile."""
DOUBT_SECONDS = 3.0
"""How long nothing may come about a request, after a connection broke, before the client asks whether it arrived."""
RETRY_SECONDS = 0.1

CELL = """
import json, os, time
runs = globals().setdefault("runs", {{}})
runs[{key!r}] = runs.get({key!r}, 0) + 1
for line in range({lines}):
    about = {{"kernel": os.environ["KERNEL_ID"], "pid": os.getpid(), "session": {session!r}, "cell": {cell}}}
    print(json.dumps({{**about, "line": line, "runs": runs[{key!r}]}}), flush=True)
    time.sleep({pause})
"""


class Outcome(enum.Enum):
    """What became of an execute."""

    OK = "ok"
    FAILED = "failed"
    """It was answered, but not by its own end: the kernel died."""
    UNKNOWN = "unknown"
    """A connection broke when it was sent, and nothing was heard of it."""
    LOST = "lost"
    """Its kernel is gone."""


@dataclass
class Cell:
    """One execute."""

    number: int
    sent: float
    """Seconds since the beginning of the history."""
    msg_id: str = ""
    outcome: Outcome = Outcome.UNKNOWN


class Doubt:
    """Whether an execute arrived whose connection broke: requests are answered in their order, so a later one tells."""

    def __init__(self) -> None:
        self.settled = False
        """Whether anything was heard of it."""
        self.question = ""
        """The id of the later request."""
        self._since = float("inf")

    def begin(self) -> None:
        """There is a new connection."""
        self._since, self.question = time.monotonic(), ""

    @property
    def is_due(self) -> bool:
        """Whether it is time to ask."""
        return not self.settled and not self.question and time.monotonic() > self._since + DOUBT_SECONDS

    def answered_by(self, message: Message) -> bool:
        """Whether this answers the question."""
        asked = bool(self.question) and message["parent_header"].get("msg_id") == self.question
        return asked and message["channel"] == "shell" and not self.settled


class KernelLost(Exception):
    """The gateway says that there is no such kernel any more."""


class Client:
    """One session of one kernel; a thread runs it until `stop` or the loss of its kernel."""

    def __init__(self, deployed: Deployed, kernel_id: str, history: History, chance: random.Random) -> None:
        self.session = uuid.uuid4().hex
        self.cells: list[Cell] = []
        self.connections: list[list[Message]] = []
        self.lost = threading.Event()
        self.pid = 0
        """The kernel's process, as its container calls it."""
        self._deployed = deployed
        self._kernel_id = kernel_id
        self._history = history
        self._chance = chance
        self._stopping = threading.Event()
        self._channels: Channels | None = None
        self._doubt = Doubt()
        self._thread = threading.Thread(target=self._run, name=f"client {self.session}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends after the cell that runs."""
        self._stopping.set()
        self._thread.join(2 * CELL_DEADLINE)
        if self._thread.is_alive():
            self._history.violate(self._kernel_id, f"a client hangs: {self.cells[-1:]}")

    def messages(self) -> list[Message]:
        """Everything that came, each message once."""
        return without_resent(self.connections)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._run_cell()
                self._stopping.wait(self._chance.uniform(0, 0.2))
        except KernelLost:
            self.lost.set()
        except Exception as error:  # noqa: BLE001 - a thread's end must be news
            self._history.violate(self._kernel_id, f"a client failed: {error!r}")
        finally:
            if self._channels is not None:
                self._channels.drop()

    def _run_cell(self) -> None:
        cell = Cell(len(self.cells), self._history.now)
        self.cells.append(cell)
        key = f"{self.session} {cell.number}"
        code = CELL.format(
            key=key, lines=LINES, session=self.session, cell=cell.number, pause=self._chance.choice([0, 0.02, 0.1])
        )
        try:
            self._until_over(cell, code)
        except KernelLost:
            cell.outcome = Outcome.LOST
            raise
        if cell.outcome is Outcome.FAILED:
            self._history.note(self._kernel_id, "a cell failed", f"{cell.number} of {self.session}")

    def _until_over(self, cell: Cell, code: str) -> None:
        """Sends the cell once and reads until its reply and idle have come, over as many connections as it takes."""
        awaited = {"execute_reply", "idle"}
        deadline = time.monotonic() + CELL_DEADLINE
        self._doubt = Doubt()
        while awaited:
            try:
                message = self._next(cell, code)
            except (OSError, websocket.WebSocketException):
                self._cut_off()
                continue
            if time.monotonic() > deadline:
                self._history.violate(self._kernel_id, f"no end of {cell}; still awaited: {awaited}")
                raise KernelLost
            if message is None:
                continue
            parent = message["parent_header"].get("msg_id")
            if parent == cell.msg_id:
                self._doubt.settled = True
                awaited -= {message["msg_type"], message["content"].get("execution_state")}
                self._learn(cell, message)
            elif self._doubt.answered_by(message):
                return  # what was sent before the question did not arrive

    def _next(self, cell: Cell, code: str) -> Message | None:
        """The next message, over a new connection where there is none, after what is still to be sent."""
        if self._channels is None:
            self._channels = self._connect()
            self._doubt.begin()
        if not cell.msg_id:
            # Whether or not it arrives: it is sent once, and known by this id.
            message = self._channels.message("shell", "execute_request", execute_content(code))
            cell.msg_id = message["header"]["msg_id"]
            self._doubt = Doubt()
            self._channels.socket.send(json.dumps(message))
        if self._doubt.is_due:
            self._doubt.question = self._channels.send("shell", "kernel_info_request", {})
        return self._receive()

    def _learn(self, cell: Cell, message: Message) -> None:
        if message["msg_type"] == "execute_reply":
            cell.outcome = Outcome.OK if message["content"]["status"] == "ok" else Outcome.FAILED
        elif message["msg_type"] == "stream" and message["content"]["text"].startswith('{"kernel"'):
            self.pid = json.loads(message["content"]["text"].split("\n")[0])["pid"]

    def _receive(self) -> Message | None:
        """The next message; None when a second goes by without one."""
        assert self._channels is not None
        try:
            opcode, data = self._channels.socket.recv_data(control_frame=True)
        except websocket.WebSocketTimeoutException:
            return None
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            raise ConnectionResetError
        if opcode != websocket.ABNF.OPCODE_TEXT:
            return None
        message: Message = json.loads(data)
        self.connections[-1].append(message)
        return message

    def _connect(self) -> Channels:
        """A websocket of this session, as soon as there is one."""
        until = time.monotonic() + CELL_DEADLINE
        while time.monotonic() < until:
            try:
                channels = Channels.of(self._deployed, self._kernel_id, session_id=self.session)
            except websocket.WebSocketBadStatusException as error:
                if error.status_code == requests.codes.not_found:
                    raise KernelLost from None
                if error.status_code != requests.codes.service_unavailable:
                    self._history.violate(self._kernel_id, f"a handshake was answered {error.status_code}")
                time.sleep(RETRY_SECONDS)
            except (OSError, websocket.WebSocketException):
                time.sleep(RETRY_SECONDS)
            else:
                channels.socket.settimeout(1.0)
                self.connections.append([])
                return channels
        self._history.violate(self._kernel_id, f"no websocket within {CELL_DEADLINE:g} s")
        raise KernelLost

    def _cut_off(self) -> None:
        if self._channels is not None:
            self._channels.drop()
            self._channels = None


def execute_content(code: str) -> dict[str, object]:
    return {
        "code": code,
        "silent": False,
        "store_history": True,
        "user_expressions": {},
        "allow_stdin": False,
        "stop_on_error": False,
    }
