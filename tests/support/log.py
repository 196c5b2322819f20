"""Reads a process's log as it is written, so that a test can wait for a line."""

from __future__ import annotations

import re
import threading
import time
from typing import IO


class LogReader:
    """Collects what a stream says; its own thread reads, any thread may ask."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._text = ""
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, name="log-reader", daemon=True)
        self._thread.start()

    @property
    def text(self) -> str:
        with self._changed:
            return self._text

    def wait_for(self, pattern: re.Pattern[str], timeout: float) -> re.Match[str]:
        """The first match in the log, now or within `timeout` seconds.

        Raises:
            EOFError: when the stream ended without it.
            TimeoutError: when it did not come in time.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                if match := pattern.search(self._text):
                    return match
                if self._ended:
                    raise EOFError(f"the log ended without {pattern.pattern!r}:\n{self._text}")
                if not self._changed.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"no {pattern.pattern!r} within {timeout:g} s:\n{self._text}")

    def close(self) -> None:
        """Waits for the end of the stream, which comes when the last process that can write to it is gone."""
        self._thread.join(10)
        self._stream.close()

    def _read(self) -> None:
        # Line by line: a pattern is then never searched in half a line.
        for line in self._stream:
            with self._changed:
                self._text += line.decode("utf-8", "replace")
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
