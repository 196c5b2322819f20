"""The gateway, agent and kernel that are attacked, and what has to be true of them afterwards."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import psutil
from support.channels import Channels
from support.gateway import Gateway
from support.rest import Rest, answer_of
from support.wait import eventually

MAX_GROWTH = 24 * 1024 * 1024
"""Bytes any one process may have grown by: caches and fragments, but nothing for each input."""
WEBSOCKETS = re.compile(r"^enterprise_gateway_websockets (\S+)$", re.MULTILINE)
BAD_STATUS = re.compile(rb"HTTP/1\.[01] 5\d\d")
TRACES = (b"Traceback (most recent", b'File "/')


@dataclass
class Target:
    """One gateway with one kernel, and a limit that keeps hostile requests from starting more."""

    gateway: Gateway
    kernel_id: str
    session_id: str

    def survives(self, attack: Callable[[int], None], count: int) -> None:
        """Claims that `attack`, given a number of inputs, leaves nothing behind and breaks nothing.

        A tenth of the inputs comes before the first look, so that what is made once is there.
        """
        attack(count // 10)
        before = self._footprint()
        attack(count - count // 10)
        self._check_quiet()
        eventually(lambda: self._connections() == 0)
        eventually(lambda: self._open_files_are(before))
        after = self._footprint()
        assert after.keys() == before.keys(), "a process died or was left"
        growth = {pid: after[pid][1] - before[pid][1] for pid in after}
        assert max(growth.values()) < MAX_GROWTH, growth
        with Channels.of(self.gateway, self.kernel_id) as client:
            assert client.execute("still here").text == "still here"

    def _footprint(self) -> dict[int, tuple[int, int]]:
        """Open files and resident bytes of each process."""
        processes = self.gateway.processes()
        return {each.pid: (each.num_fds(), each.memory_info().rss) for each in processes if _alive(each)}

    def _open_files_are(self, before: dict[int, tuple[int, int]]) -> bool:
        now = self._footprint()
        return all(now[pid][0] <= files for pid, (files, _) in before.items() if pid in now)

    def _connections(self) -> float:
        metrics = Rest(self.gateway.ops_url).get("/metrics").text
        match = WEBSOCKETS.search(metrics)
        assert match is not None
        kernel = answer_of(self.gateway.rest.get(f"/api/kernels/{self.kernel_id}"))
        return float(match[1]) + int(kernel["connections"])

    def _check_quiet(self) -> None:
        logs = [self.gateway.log, *(path.read_text() for path in self.gateway.state_dir.rglob("agent.log"))]
        for log in logs:
            at = log.find("Traceback")
            assert at < 0, log[max(0, at - 300) : at + 2500]


def _alive(process: psutil.Process) -> bool:
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)


def check_answer(answer: bytes, question: bytes) -> None:
    """No failure of the gateway, and nothing of its inside."""
    assert not BAD_STATUS.search(answer), (question[:2000], answer[:2000])
    assert not any(trace in answer for trace in TRACES), (question[:2000], answer[:2000])
