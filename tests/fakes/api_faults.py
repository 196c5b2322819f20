"""What can go wrong with the answers of a Kubernetes API server, in the order a test asks for it.

Each fault waits for requests of one verb (get, list, watch, log, create, patch, delete) and one resource (pods…).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from fakes.api_store import Refusal


@dataclass
class Gate:
    """Holds answers back: the request has been carried out, its answer waits for `open`."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    open: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Fault:
    """One thing that goes wrong, `times` times."""

    verb: str
    resource: str
    times: int
    refusal: Refusal | None = None
    retry_after: int | None = None
    garbage: bytes | None = None
    cut: bool = False
    lost: bool = False
    gate: Gate | None = None


class Faults:
    """The faults that wait for their requests."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []

    def fail(self, verb: str, resource: str, code: int, reason: str = "", message: str = "", **more: int) -> None:
        """Answer the next requests with an error and do nothing; `times` (1) and `retry_after` (absent) in `more`."""
        refusal = Refusal(code, reason, message)
        self._waiting.append(Fault(verb, resource, more.get("times", 1), refusal, more.get("retry_after")))

    def garble(self, verb: str, resource: str, *, body: bytes = b"<html>Sign in</html>", times: int = 1) -> None:
        """Carry the next requests out, and answer 200 with something else."""
        self._waiting.append(Fault(verb, resource, times, garbage=body))

    def cut(self, verb: str, resource: str, *, times: int = 1) -> None:
        """Carry the next requests out, and hang up in the middle of the answer."""
        self._waiting.append(Fault(verb, resource, times, cut=True))

    def lose(self, verb: str, resource: str, *, times: int = 1) -> None:
        """Hang up on the next requests as they come, as a server does that was about to close an idle connection."""
        self._waiting.append(Fault(verb, resource, times, lost=True))

    def hold(self, verb: str, resource: str, *, times: int = 1) -> Gate:
        """Carry the next requests out, and answer when the test opens the gate."""
        gate = Gate()
        self._waiting.append(Fault(verb, resource, times, gate=gate))
        return gate

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self._waiting.clear()

    def take(self, verb: str, resource: str) -> Fault:
        """The fault for a request that has come; one without any effect when none waits for it."""
        for fault in self._waiting:
            if (fault.verb, fault.resource) == (verb, resource):
                fault.times -= 1
                if not fault.times:
                    self._waiting.remove(fault)
                return fault
        return Fault(verb, resource, 0)
