"""Drives Enterprise Gateway's own client library through a kernel's life and prints what it saw, as one JSON object.

A program of its own because that library's package has the name of ours. Its arguments: the gateway's address as the
library takes it (`host:port`, with the path credential behind it), the kernel spec's name, and JSON with the kernel's
environment (`env`) and the cells to run (`cells`, by what they are for).
"""

from __future__ import annotations

import json
import sys
from typing import Any

from enterprise_gateway.client.gateway_client import GatewayClient, KernelClient

INTERRUPT_AFTER = 3
"""Seconds after the cell was sent; the library has no other way than to wait."""


def live(kernel: KernelClient, cells: dict[str, str]) -> dict[str, Any]:
    """What each step of the scenarios said, and whether it was an error."""
    report = {name: kernel.execute(code) for name, code in cells.items() if name.startswith("spark_")}
    report |= {"hello": kernel.execute(cells["hello"]), "host": kernel.execute(cells["host"])}
    kernel.execute(cells["set"])
    kernel.start_interrupt_thread(wait_time=INTERRUPT_AFTER)
    report["interrupted"] = kernel.execute(cells["slow"])
    kernel.terminate_interrupt_thread()
    report["kept"] = kernel.execute(cells["get"])
    kernel.restart()
    report["cleared"] = kernel.execute(cells["get"])
    report["state"] = kernel.get_state()
    return report


def main() -> None:
    address, spec, work = sys.argv[1:]
    asked = json.loads(work)
    client = GatewayClient(host=address)
    kernel = client.start_kernel(spec, username="alice", extra_env=asked["env"])
    try:
        report = live(kernel, asked["cells"])
    finally:
        client.shutdown_kernel(kernel)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
