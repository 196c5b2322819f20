"""What happened while everything was disturbed: notes of all threads in one order, and what must not have happened."""

from __future__ import annotations

import collections
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
        self.counts: collections.Counter[str] = collections.Counter()
        """How often what happened."""
        self._notes: list[Note] = []
        self._violations: list[Note] = []

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def note(self, about: str, what: str, details: str = "") -> None:
        """Something happened; what happens is counted, details are not looked at."""
        with self._lock:
            self._notes.append(Note(self.now, about, f"{what} {details}".rstrip()))
            self.counts[what] += 1

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

    def add(self, what: str, count: int = 1) -> None:
        """It happened so often."""
        with self._lock:
            self.counts[what] += count

    def report(self) -> str:
        """The violations, each with what happened around it to the same kernel and to all; empty if there are none."""
        return "\n\n".join(self._around(violation) for violation in self._violations)

    def _around(self, violation: Note) -> str:
        own = [note for note in self._notes if note.about == violation.about and note.time <= violation.time]
        began = own[-2].time if violation.about and len(own) > 1 else violation.time
        all_around = [note for note in self._notes if not note.about and began - AROUND_SECONDS <= note.time]
        shown = {*own, *(note for note in all_around if note.time <= violation.time + AROUND_SECONDS)}
        return "\n".join(map(str, sorted(shown)))
