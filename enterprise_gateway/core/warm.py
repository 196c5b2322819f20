"""Which kernels can start in an interpreter that was started ahead of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

_READ_AT_START = ("PYTHON", "LD_", "MALLOC_", "LC_", "LANG", "TZ")
"""Beginnings of names that an interpreter or its C library reads before its first line runs."""


class Recipe(msgspec.Struct, frozen=True):
    """An interpreter to start ahead, and the module it will run."""

    interpreter: tuple[str, ...]
    """The command up to `-m`."""
    module: str
    env: dict[str, str]
    """The environment it starts with; the kernel's own replaces it later."""

    @classmethod
    def of(cls, argv: Sequence[str], env: Mapping[str, str]) -> Recipe | None:
        """The recipe for kernels with the command `argv`; None when that is not `python … -m module …`."""
        if "-m" not in argv[:-1]:
            return None
        split = argv.index("-m")
        options = argv[1:split]
        if "python" not in argv[0].rpartition("/")[2] or not all(option.startswith("-") for option in options):
            return None
        return cls(tuple(argv[:split]), argv[split + 1], dict(env))

    def fits(self, argv: Sequence[str], env: Mapping[str, str]) -> bool:
        """Whether a kernel with this command and environment may be run by an interpreter made from this recipe."""
        command = (*self.interpreter, "-m", self.module)
        return tuple(argv[: len(command)]) == command and _at_start(env) == _at_start(self.env)


def _at_start(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(_READ_AT_START)}


class NurseryRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a gateway asks of the process that forks agents: a start, or, with a recipe, to keep some parked."""

    folder: str = ""
    """The kernel's."""
    socket: str = ""
    """Path of the unix socket the agent shall listen on."""
    parked: bool = False
    """Whether a parked process may become the kernel."""
    recipe: Recipe | None = None
    count: int = 0
    """How many to keep parked."""


class NurseryAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The agent's process id, or what went wrong."""

    pid: int = 0
    error: str = ""
