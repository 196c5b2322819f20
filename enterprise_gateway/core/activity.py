"""Whether a kernel is busy, from its status messages.

A kernel handles shell, control and subshell requests side by side, so "the last status" is not the truth: the
idle that follows a `kernel_info_request` on control says nothing about the cell that still runs. Requests are
therefore tracked one by one. Pure: time is an argument.
"""

from __future__ import annotations


class Activity:
    """Busy requests and the time of the last message, in Unix seconds."""

    __slots__ = ("_busy", "_state", "last_activity")

    MAX_TRACKED = 1024
    """Requests whose idle never came are forgotten beyond this number, oldest first."""

    def __init__(self, now: float) -> None:
        self.last_activity = now
        self._busy: dict[str, bytes] = {}
        self._state = "starting"

    @property
    def execution_state(self) -> str:
        """`busy` while any request runs, else what the kernel said last, such as `idle`."""
        return "busy" if self._busy else self._state

    @property
    def busy(self) -> bool:
        """Whether a request is being worked on."""
        return bool(self._busy)

    @property
    def unfinished(self) -> dict[str, bytes]:
        """The requests being worked on: their ids, and their headers as they were sent."""
        return dict(self._busy)

    def touch(self, now: float) -> None:
        """Something happened at `now`."""
        self.last_activity = now

    def status(self, execution_state: str, request_id: str, request: bytes = b"{}") -> None:
        """The kernel published `execution_state` for the request with `request_id` and the header `request`."""
        if execution_state == "busy" and request_id:
            self._busy[request_id] = request
            if len(self._busy) > self.MAX_TRACKED:
                del self._busy[next(iter(self._busy))]
            return
        self._busy.pop(request_id, None)
        self._state = execution_state

    def reset(self, execution_state: str) -> None:
        """The kernel process is a new one, or gone: nothing runs any more."""
        self._busy.clear()
        self._state = execution_state
