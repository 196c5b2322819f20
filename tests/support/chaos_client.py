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
from collections.abc import Iterator
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
DEATH_SECONDS = 5.0
"""How long a kernel that was killed may still fail cells that are sent to it."""
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
        heard, probe, deadline = False, "", time.monotonic() + CELL_DEADLINE
        doubt = float("inf")
        while awaited:
            try:
                if self._channels is None:
                    self._channels = self._connect()
                    doubt = time.monotonic() + DOUBT_SECONDS
                    probe = ""
                if not cell.msg_id:
                    # Whether or not it arrives: it is sent once, and known by this id.
                    message = self._channels.message("shell", "execute_request", execute_content(code))
                    cell.msg_id = message["header"]["msg_id"]
                    doubt = float("inf")
                    self._channels.socket.send(json.dumps(message))
                if not heard and not probe and time.monotonic() > doubt:
                    probe = self._channels.send("shell", "kernel_info_request", {})
                message = self._receive()
            except (OSError, websocket.WebSocketException):
                self._cut_off()
                continue
            if time.monotonic() > deadline:
                self._history.violate(self._kernel_id, f"no end of cell {cell}; still awaited: {awaited}")
                raise KernelLost
            if message is None:
                continue
            parent = message["parent_header"].get("msg_id")
            if parent == cell.msg_id:
                heard = True
                awaited -= {message["msg_type"], message["content"].get("execution_state")}
                self._learn(cell, message)
            elif parent == probe and message["channel"] == "shell" and not heard:
                return  # what was sent before the question did not arrive

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


def violations(client: Client, kernel_id: str, sessions: set[str], history: History) -> Iterator[str]:
    """What is wrong with what a client of a kernel, which has these sessions, was sent."""
    try:
        messages = client.messages()
    except AssertionError as error:
        yield f"client {client.session}: {error}"
        return
    asked = {cell.msg_id: cell for cell in client.cells}
    texts: dict[str, str] = {}
    for message in messages:
        parent = message["parent_header"]
        if message["channel"] == "shell" and parent.get("session") != client.session:
            yield f"a reply to somebody else: {message}"
        if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
            texts[parent["msg_id"]] = texts.get(parent["msg_id"], "") + message["content"]["text"]
    numbers: dict[str, list[int]] = {session: [] for session in sessions}
    for msg_id, text in texts.items():
        lines = [json.loads(line) for line in text.split("\n")[:-1]]
        cell = asked.get(msg_id)
        if cell is not None and cell.outcome is Outcome.OK and len(lines) != LINES:
            yield f"{cell} was answered with {len(lines)} lines: {text!r}"
        if [line["line"] for line in lines] != list(range(len(lines))):
            yield f"lines out of order: {text!r}"
        for line in lines:
            if line["kernel"] != kernel_id or line["session"] not in sessions:
                yield f"output of another kernel or session: {line}"
            elif line["runs"] != 1:
                yield f"a cell ran {line['runs']} times: {line}"
            else:
                numbers[line["session"]].append(line["cell"])
    for session, cells in numbers.items():
        if cells != sorted(cells):
            yield f"cells of {session} out of order: {cells}"
        if any(cells.count(number) > LINES for number in set(cells)):
            yield f"a cell of {session} ran twice: {cells}"
    for cell in client.cells:
        if cell.outcome is Outcome.OK and cell.msg_id not in texts:
            yield f"{cell} was answered without its output"
        since = cell.sent - DEATH_SECONDS
        killed = history.happened(kernel_id, "kill kernel", since) or history.happened(kernel_id, "kill agent", since)
        if cell.outcome is Outcome.FAILED and not killed:
            yield f"{cell} failed although nobody killed its kernel"
