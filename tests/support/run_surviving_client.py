"""Follows one long cell with jupyter_kernel_client, which reconnects, and prints what it saw, as two lines of JSON.

The first says which kernel runs the cell, once it runs; the second, after its end, what came, each message with its id.
The cell prints numbers until there is a file /tmp/stop in the kernel's place. A program of its own for the reason that
`run_kernel_client` has. Its arguments: the server's URL, the token, the kernel spec.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from jupyter_kernel_client import JupyterKernelClient

PATIENT = {"timeout": 30, "reconnect_interval": 1}
CELL = """
import pathlib, sys, time
number = 0
while not pathlib.Path("/tmp/stop").exists():
    _ = sys.stdout.write(f"{number}\\n"); sys.stdout.flush()
    number += 1
    time.sleep(0.02)
"""


def main() -> None:
    url, token, spec = sys.argv[1:]
    client = JupyterKernelClient(server_url=url, token=token, client_kwargs=dict(PATIENT))
    client.start(name=spec)
    came: list[tuple[str, str]] = []

    def take(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream":
            if not came:
                print(json.dumps({"id": client.id}), flush=True)
            came.append((message["header"]["msg_id"], message["content"]["text"]))

    reply = client.execute_interactive(CELL, output_hook=take, timeout=120)
    again = client.execute("6 * 7")
    print(json.dumps({"reply": reply["content"], "came": came, "again": again}), flush=True)
    # Not waiting for the threads it left, nor ending the kernel.
    os._exit(0)


if __name__ == "__main__":
    main()
