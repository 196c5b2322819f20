"""Users under chaos: each starts a kernel, works with it in two sessions, ends it or leaves it, and starts another."""

from __future__ import annotations

import collections
import random
import threading
import time
import uuid
from collections.abc import Mapping

import requests
import websocket
from support.channels import Channels
from support.chaos_checks import violations
from support.chaos_client import Client
from support.chaos_history import History
from support.deployed import Deployed
from support.replica import Replica
from support.rest import answer_of

SPEC = "python_kubernetes"
LAUNCH_TIMEOUT = "40"
"""Seconds for a start, in which the API server may be away for a while."""
PATIENCE = 240.0
"""Seconds until a request that is made again and again must have been answered."""
WORK = (8.0, 30.0)
"""Seconds for which a kernel is used."""
RETRY_SECONDS = 0.3
AGAIN = {requests.codes.service_unavailable}
"""What the gateway answers to who should ask again."""


class User:
    """A thread of its own; `kernel_id` is the kernel it has, empty while it has none."""

    def __init__(self, deployed: Deployed, history: History, chance: random.Random) -> None:
        self.kernel_id = ""
        self.abandoned: set[str] = set()
        """Kernels of whose start nobody waited for the end."""
        self._deployed = deployed
        self._history = history
        self._chance = chance
        self._clients: list[Client] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="user", daemon=True)
        self._thread.start()

    @property
    def pids(self) -> Mapping[str, int]:
        """The kernel in use, with the number of its process."""
        return {self.kernel_id: max((client.pid for client in self._clients), default=0)} if self.kernel_id else {}

    def stop(self) -> None:
        """Ends its work and keeps its kernel."""
        self._stopping.set()
        self._thread.join(4 * PATIENCE)
        if self._thread.is_alive():
            self._history.violate(self.kernel_id, "a user hangs")

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._live()
        except Exception as error:  # noqa: BLE001 - a thread's end must be news
            self._history.violate(self.kernel_id, f"a user failed: {error!r}")

    def _live(self) -> None:
        kernel_id = str(uuid.uuid4())
        if self._chance.random() < 0.15:
            self._abandon(kernel_id)
            return
        if not self._start(kernel_id):
            return
        self.kernel_id = kernel_id
        self._work()
        if self.kernel_id and not self._stopping.is_set():
            self.kernel_id = ""
            self._delete(kernel_id)

    def _work(self) -> None:
        kernel_id = self.kernel_id
        self._clients = [
            Client(self._deployed, kernel_id, self._history, random.Random(self._chance.random())) for _ in range(2)
        ]
        until = time.monotonic() + self._chance.uniform(*WORK)
        while time.monotonic() < until and not self._stopping.is_set():
            if any(client.lost.wait(0.1) for client in self._clients):
                break
        for client in self._clients:
            client.stop()
        sessions = {client.session for client in self._clients}
        for client in self._clients:
            for violation in violations(client, kernel_id, sessions, self._history):
                self._history.violate(kernel_id, violation)
            outcomes = collections.Counter(cell.outcome.value for cell in client.cells)
            for outcome, count in outcomes.items():
                self._history.add(f"cells {outcome}", count)
            self._history.note(kernel_id, "ran cells", f"in {client.session}: {dict(outcomes)}")
        if any(client.lost.is_set() for client in self._clients):
            self._bury(kernel_id)
        self._clients = []

    def _start(self, kernel_id: str) -> bool:
        """Asks for a kernel until there is a definite answer, now and then twice at once; whether there is one."""
        self._history.note(kernel_id, "start")
        if self._chance.random() < 0.3:
            twin = threading.Thread(target=self._ask, args=("POST", "/api/kernels", start_body(kernel_id)))
            twin.start()
            answer = self._ask("POST", "/api/kernels", start_body(kernel_id))
            twin.join()
        else:
            answer = self._ask("POST", "/api/kernels", start_body(kernel_id))
        if answer is None:
            return False
        if answer.status_code != requests.codes.created:
            self._failed(kernel_id, answer)
            return False
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            model = self._ask("GET", f"/api/kernels/{kernel_id}")
            if model is None:
                return False
            if not model.ok:
                self._failed(kernel_id, model)
                return False
            if model.json()["execution_state"] != "starting":
                self._history.note(kernel_id, "started")
                return True
            time.sleep(RETRY_SECONDS)
        self._history.violate(kernel_id, "its start has no end")
        return False

    def _failed(self, kernel_id: str, answer: requests.Response) -> None:
        """A start may fail while everything is disturbed, if it says why."""
        is_json = answer.headers.get("Content-Type", "").startswith("application/json")
        said = answer.json().get("message", "") if is_json else ""
        if answer.status_code in (requests.codes.server_error, requests.codes.not_found) and said:
            self._history.note(kernel_id, "start failed", f"{answer.status_code} {said}")
        else:
            self._history.violate(kernel_id, f"its start was answered {answer.status_code} {answer.text}")

    def _abandon(self, kernel_id: str) -> None:
        self._history.note(kernel_id, "start, and do not wait")
        self.abandoned.add(kernel_id)
        try:
            requests.post(
                f"{self._deployed.url}/api/kernels",
                json=start_body(kernel_id),
                headers={"Authorization": f"token {self._deployed.token}"},
                timeout=self._chance.uniform(0.01, 1.0),
            )
        except requests.RequestException:
            return

    def _bury(self, kernel_id: str) -> None:
        """A kernel is gone: was it killed, and does everybody know why it ended?"""
        why = self._ask("GET", f"/api/kernels/{kernel_id}/why")
        if why is None:
            return
        reason = why.json()["kernel"].get("reason", "") if why.ok else ""
        self._history.note(kernel_id, "lost", reason)
        if not self._history.happened(kernel_id, "kill agent"):
            self._history.violate(kernel_id, f"it was lost, and nobody killed its agent: {why.text}")
        elif not reason:
            self._history.violate(kernel_id, f"it was lost and nobody knows why: {why.status_code} {why.text}")
        self.kernel_id = ""

    def _delete(self, kernel_id: str) -> None:
        self._history.note(kernel_id, "delete")
        answer = self._ask("DELETE", f"/api/kernels/{kernel_id}")
        if answer is not None and answer.status_code not in (requests.codes.no_content, requests.codes.not_found):
            self._history.violate(kernel_id, f"its end was answered {answer.status_code} {answer.text}")
        self._history.note(kernel_id, "deleted")

    def _ask(self, method: str, path: str, body: object = None) -> requests.Response | None:
        """The answer that is not "ask again"; None, and a violation, when there is none in time."""
        until = time.monotonic() + PATIENCE
        last = ""
        while time.monotonic() < until:
            try:
                answer = self._deployed.rest.request(method, path, json=body)
            except requests.RequestException as error:
                last = repr(error)
            else:
                if answer.status_code not in AGAIN:
                    return answer
                last = answer.text
            time.sleep(RETRY_SECONDS)
        self._history.violate(path.rpartition("/")[2], f"{method} {path} was never answered; the last was {last}")
        return None


def start_body(kernel_id: str) -> dict[str, object]:
    return {"name": SPEC, "env": {"KERNEL_ID": kernel_id, "KERNEL_LAUNCH_TIMEOUT": LAUNCH_TIMEOUT}}


def state_of(gateway: Deployed | Replica) -> dict[str, str] | None:
    """Kernels and their states; None while nobody answers."""
    try:
        return {model["id"]: model["execution_state"] for model in answer_of(gateway.rest.get("/api/kernels"))}
    except (requests.RequestException, AssertionError):
        return None


def is_ended(deployed: Deployed, kernel_id: str) -> bool:
    """Asks for a kernel's end; False while nobody answers."""
    try:
        return deployed.rest.delete(f"/api/kernels/{kernel_id}").status_code in (204, 404)
    except requests.RequestException:
        return False


def is_usable(deployed: Deployed, kernel_id: str) -> bool:
    """Whether a kernel runs a cell; False while nobody answers."""
    try:
        with Channels.of(deployed, kernel_id) as channels:
            return channels.execute("print(6 * 7)").text == "42\n"
    except (OSError, websocket.WebSocketException):
        return False
