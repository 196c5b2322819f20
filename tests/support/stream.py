"""A cell that prints numbered lines until it is told to stop, and a client that reads them through whatever happens."""

from __future__ import annotations

import itertools
import time
import uuid
from typing import Any

from support.channels import Message
from support.deployed import Deployed
from support.follower import Follower
from support.wait import eventually

LINES_PER_SECOND = 50


class Stream:
    """Starts at once; `end` claims that nothing was lost, added, or out of order."""

    def __init__(self, deployed: Deployed, kernel_id: str, **options: Any) -> None:
        self._deployed = deployed
        self._kernel_id = kernel_id
        self._stop = f"/tmp/stop-{uuid.uuid4().hex}"
        self._asked = ""
        self._awaited = {"execute_reply", "idle"}
        self._times: list[float] = []
        self.follower = Follower(deployed, kernel_id, self._is_last, session_id=uuid.uuid4().hex, **options)
        channels = eventually(lambda: self.follower.channels)
        self._asked = channels.send_code(
            f"import pathlib, time\n"
            f"stop, number = pathlib.Path({self._stop!r}), 0\n"
            f"while not stop.exists():\n"
            f"    print(number, flush=True)\n"
            f"    number += 1\n"
            f"    time.sleep({1 / LINES_PER_SECOND})\n"
            f"print('end', flush=True)"
        )
        eventually(lambda: self._times)

    @property
    def gap(self) -> float:
        """The longest time between two messages so far, in seconds."""
        return max((later - earlier for earlier, later in itertools.pairwise(self._times)), default=0.0)

    @property
    def count(self) -> int:
        """How many messages came so far."""
        return len(self._times)

    def goes_on(self) -> None:
        """Waits until more has come than had until now."""
        before = self.count
        eventually(lambda: self.count > before + LINES_PER_SECOND, 60.0)

    def end(self) -> int:
        """Stops the cell, claims that its output is complete and in order, and returns how many lines it had."""
        pod = self._deployed.namespace.kernel_pod(self._kernel_id)["metadata"]["name"]
        self._deployed.namespace.execute(pod, "touch", self._stop, container="kernel")
        messages = [m for m in self.follower.finish() if m["parent_header"].get("msg_id") == self._asked]
        lines = "".join(m["content"]["text"] for m in messages if m["msg_type"] == "stream").split()
        assert lines == [*map(str, range(len(lines) - 1)), "end"]
        assert [m["content"]["status"] for m in messages if m["msg_type"] == "execute_reply"] == ["ok"]
        return len(lines)

    def _is_last(self, message: Message) -> bool:
        self._times.append(time.monotonic())
        if self._asked and message["parent_header"].get("msg_id") == self._asked:
            self._awaited -= {message["msg_type"], message["content"].get("execution_state")}
        return not self._awaited
