"""Free TCP ports for a kernel.

Nothing can reserve a port for a process that does not exist yet. Ports are therefore chosen below the range from
which the system serves outgoing connections, where only another server could take one in the meantime, and never
one that a known kernel has.
"""

from __future__ import annotations

import itertools
import random
import socket
from collections.abc import Collection

from enterprise_gateway.config.ports import PortRange
from enterprise_gateway.errors import StartFailed

DEFAULT_RANGE = PortRange(12_000, 32_000)
"""Used when the operator configured none."""


def free_ports(count: int, port_range: PortRange, taken: Collection[int]) -> list[int]:
    """`count` ports of 127.0.0.1 that nobody listens on now, outside `taken`; a range without a size means any.

    Raises:
        StartFailed: the range has not that many left.
    """
    chosen = port_range if port_range.size else DEFAULT_RANGE
    candidates = range(chosen.lower, chosen.upper + 1)
    first = random.randrange(len(candidates))  # noqa: S311 - spreads starts, keeps no secret
    found: list[int] = []
    for port in itertools.chain(candidates[first:], candidates[:first]):
        if port not in taken and _is_free(port):
            found.append(port)
            if len(found) == count:
                return found
    raise StartFailed(f"No {count} free ports are left in {chosen}: widen EG_PORT_RANGE or end some kernels")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
