"""What the subcommands ask of kernels, wherever they learn about them, and how a kernel is named on a command line.

Calls are blocking and come from one thread.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from enterprise_gateway.errors import GatewayError
from enterprise_gateway.kernels.models import KernelHistory

_WHOLE_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Kernels(Protocol):
    """The kernels of one state folder or of one gateway."""

    @property
    def where(self) -> str:
        """The folder or the URL, for messages; without a credential."""

    def ids(self) -> list[str]:
        """The ids that may be named by their beginning.

        Raises:
            GatewayError: they cannot be had; the message says what to do. So for every method here.
        """

    def living(self) -> list[KernelHistory]:
        """All kernels that have not ended, oldest first."""

    def why(self, kernel_id: str) -> KernelHistory:
        """What is known of a kernel, also for a while after its end."""

    def logs(self, kernel_id: str) -> str:
        """The last output of the kernel's process."""

    def stop(self, kernel_ids: Sequence[str]) -> dict[str, str]:
        """End kernels side by side, politely first; why not, for each that could not be ended."""


def find_kernel(kernels: Kernels, named: str) -> str:
    """The id that `named` is, or is the beginning of.

    A whole id is not looked up: whoever may not list kernels can still name one, and so can an ended one be.

    Raises:
        GatewayError: no id begins like this, or more than one does.
    """
    named = named.lower()
    if _WHOLE_ID.fullmatch(named):
        return named
    found = sorted(kernel_id for kernel_id in kernels.ids() if kernel_id.startswith(named))
    match found:
        case [kernel_id]:
            return kernel_id
        case []:
            raise GatewayError(f"No kernel's id begins with {named!r} at {kernels.where}")
        case _:
            shown = ", ".join(found[:4]) + (", …" if len(found) > 4 else "")
            raise GatewayError(f"{len(found)} kernels' ids begin with {named!r}; write more of it: {shown}")
