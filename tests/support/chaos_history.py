"""What happened while everything was disturbed: notes of all threads in one order, and what must not have happened."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

AROUND_SECONDS = 8.0
"""How much before and after a violation is shown."""


class Note(NamedTuple):
    """One thing that happened."""

    time: float
    """Seconds since the beginning."""
    about: str
    """A kernel's id; empty for what concerns all."""
    what: str

    def __str__(self) -> str:
        return f"{self.time:8.2f}  {self.about or '-':36}  {self.what}"


class History:
    """May be written and read by any thread."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._notes: list[Note] = []
        self._violations: list[Note] = []

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def note(self, about: str, what: str) -> None:
        """Something happened."""
        with self._lock:
            self._notes.append(Note(self.now, about, what))

    def violate(self, about: str, what: str) -> None:
        """Something happened that must not."""
        with self._lock:
            note = Note(self.now, about, f"VIOLATION: {what}")
            self._notes.append(note)
            self._violations.append(note)

    def happened(self, about: str, what: str, since: float = 0.0) -> bool:
        """Whether something whose note begins with `what` happened to a kernel, or to all, since a moment."""
        with self._lock:
            return any(n.time >= since and n.about in ("", about) and n.what.startswith(what) for n in self._notes)

    def count(self, what: str) -> int:
        """How often something happened."""
        with self._lock:
            return sum(note.what.startswith(what) for note in self._notes)

    def report(self) -> str:
        """The violations, each with what happened around it to the same kernel and to all; empty if there are none."""
        return "\n\n".join(self._around(violation) for violation in self._violations)

    def _around(self, violation: Note) -> str:
        return "\n".join(
            str(note)
            for note in self._notes
            if note.about == violation.about or (not note.about and abs(note.time - violation.time) < AROUND_SECONDS)
        )
