"""Drives Enterprise Gateway's own client library through its scenarios and prints what it saw, as one JSON object.

A program of its own because that library's package has the name of ours. Its arguments: the gateway's address as the
library takes it (`host:port`, and what of a path is in front of `/api`), the kernel spec's name, and JSON with the
kernel's environment (`env`) and the cells (`cells`, by what they are for; see `support.eg_client.Cells`).
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

from enterprise_gateway.client.gateway_client import GatewayClient, KernelClient


def wait(kernel: KernelClient, wanted: set[str]) -> None:
    """Waits for a state, which nothing announces."""
    while kernel.get_state() not in wanted:
        time.sleep(0.05)


def interrupt(kernel: KernelClient, cell: str) -> Any:
    """What a cell said that was interrupted: as the library does it, a moment after the cell began to run."""

    def when_busy() -> None:
        wait(kernel, {"busy"})
        kernel.perform_interrupt(KernelClient.DEFAULT_INTERRUPT_WAIT)

    thread = threading.Thread(target=when_busy)
    thread.start()
    said = kernel.execute(cell)
    thread.join()
    return said


def live(kernel: KernelClient, cells: dict[str, str]) -> dict[str, Any]:
    """What each step said, and whether it was an error."""
    report = {name: kernel.execute(cells[name]) for name in ("hello", "host", "scope")}
    report["define"] = kernel.execute(cells["define"])
    report["interrupted"] = interrupt(kernel, cells["slow"])
    report["kept"] = kernel.execute(cells["use"])
    kernel.restart()
    report["lost"] = kernel.execute(cells["use"])
    # After the restart: whatever names Spark makes a new application of it.
    report |= {name: kernel.execute(code) for name, code in cells.items() if name.startswith("spark_")}
    return report


def main() -> None:
    address, spec, work = sys.argv[1:]
    asked = json.loads(work)
    client = GatewayClient(host=address)
    kernel = client.start_kernel(spec, username="alice", extra_env=asked["env"])
    try:
        wait(kernel, {"idle"})
        report = live(kernel, asked["cells"]) | {"id": kernel.kernel_id}
    finally:
        client.shutdown_kernel(kernel)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
