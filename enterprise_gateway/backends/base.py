"""What the rest of the gateway asks of a place where kernels run.

A backend is also the only database: records live in it, so that every replica reads the same ones and a killed
replica loses nothing. Its methods are called on the event loop and may be called by many tasks at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeAlias

import msgspec

from enterprise_gateway.core.agents import AgentRules
from enterprise_gateway.core.keys import KernelSecrets
from enterprise_gateway.core.records import KernelRecord, ObservedKernel

Admission: TypeAlias = Callable[[Iterable[KernelRecord]], None]
"""Decides about one more kernel beside those given; raises LimitReached when there is no room for it."""


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """What a start needs beside the record: how to run the kernel, and the rules its agent follows."""

    argv: tuple[str, ...]
    """The kernel spec's command with its `{names}`; `core.launch.render_argv` fills them in."""
    namespace: dict[str, str]
    """Values for those names, but for `connection_file`, which the backend adds."""
    env: dict[str, str]
    cwd: str
    interrupt_mode: str
    config: dict[str, Any]
    """The backend's part of the kernel spec."""
    wishes: dict[str, str]
    """The variables that the client set: some of them are wishes about where and how the kernel runs."""
    spec_env: dict[str, str]
    """The kernel spec's own variables as it spells them: in `env`, what clients chose may have gone into them."""
    language: str
    """The kernel spec's language."""
    custom_resource: bool
    """Whether the kernel spec asks for a custom resource, of which somebody else makes the kernel."""
    secrets: KernelSecrets
    rules: AgentRules


class Backend(Protocol):
    """A place where kernels run."""

    @property
    def same_machine(self) -> bool:
        """Whether its kernels run where the gateway does and share its files and programs."""

    @property
    def synced(self) -> bool:
        """Whether `kernels` is the whole truth; until then nobody may be told that a kernel does not exist."""

    async def until_synced(self) -> None:
        """Wait for `synced`."""

    @property
    def kernels(self) -> Mapping[str, ObservedKernel]:
        """Every kernel by id, ended ones included as long as their reason is kept; a live view, not to be changed."""

    async def run(self) -> None:
        """Watch the outside world until cancelled, and sweep what nobody owns."""

    def check(self) -> None:
        """Look whether anything can be created or removed now, before something is done that cannot be undone.

        Raises:
            BackendUnavailable: it cannot.
        """

    async def create(self, record: KernelRecord, launch: Launch, admit: Admission | None) -> bool:
        """Begin a start; False when a kernel with this id exists already, in which case nothing was done.

        Returns as soon as the intent is on record and the start is under way: a start may take minutes. Where
        several gateways start kernels in one place, `admit` is asked once it is clear which others came first; without
        limits it is None.

        Raises:
            LimitReached: `admit` said so; nothing is left.
            InvalidRequest, Forbidden: a wish of the client's is malformed or not allowed; nothing was created.
            BackendUnavailable: nothing was created.
            StartFailed: it cannot work; nothing is left.
        """

    async def update(self, kernel_id: str, change: Callable[[KernelRecord], KernelRecord]) -> KernelRecord:
        """Change a record; `change` is called again with the newer record when another replica was quicker.

        Raises:
            KernelNotFound: there is no such kernel.
            BackendUnavailable: nothing was changed.
        """

    async def remove(self, kernel_id: str) -> None:
        """Make sure that nothing of the kernel is left, by force where needed. Of an unknown kernel: does nothing.

        Raises:
            BackendUnavailable: something may be left; ask again.
        """

    async def changed(self, kernel_id: str) -> None:
        """Wait for the next change of what `kernels` says about one kernel."""

    async def logs(self, kernel_id: str) -> str:
        """The last output of the kernel's process, also after its end.

        Raises:
            KernelNotFound: there is no such kernel.
        """
