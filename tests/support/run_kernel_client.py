"""Drives jupyter_kernel_client through all it can do and prints what it saw, as one JSON object.

A program of its own because the package leaves threads and sockets behind when it stops.
Its arguments: the server's URL, the token, the id of a running kernel to join.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

from jupyter_kernel_client import JupyterKernelClient

# Its thread may miss the end of its own socket and then sits in a select for ten seconds.
QUICK = {"timeout": 3}

WRITE = "import sys; _ = sys.stdout.write"
"""Prints as one message: a kernel may send the end of a printed line by itself."""


def interrupt(client: JupyterKernelClient) -> Any:
    """The reply to code that was interrupted while it ran."""
    replies: list[Any] = []
    running = threading.Event()

    def watch(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream":
            running.set()

    def run() -> None:
        code = "print('on', flush=True)\nwhile True: pass"
        replies.append(client.execute_interactive(code, output_hook=watch, timeout=60))

    thread = threading.Thread(target=run)
    thread.start()
    running.wait(30)
    client.interrupt()
    thread.join(60)
    return replies[0]["content"]


def answer_input(client: JupyterKernelClient) -> Any:
    """What the kernel asked, and what code made of the answer."""
    questions: list[str] = []

    def answer(message: dict[str, Any]) -> None:
        questions.append(message["content"]["prompt"])
        client._manager.client.input("world")

    reply = client.execute(f"{WRITE}('hello ' + input('who? '))", allow_stdin=True, stdin_hook=answer)
    return {"questions": questions, "outputs": reply["outputs"]}


def live(client: JupyterKernelClient) -> dict[str, Any]:
    """One kernel's life, from its first code to its restart."""
    report = {
        "id": client.id,
        "listed": [kernel["id"] for kernel in client.list_kernels()],
        "info": client.kernel_info,
        "code": client.execute(f"{WRITE}('out'); 6 * 7"),
        "input": answer_input(client),
        "interrupted": interrupt(client),
    }
    client.set_variable("number", 7)
    report["variable"] = client.get_variable("number")
    client._manager.refresh_model()
    report["last_activity"] = str(client.last_activity)
    client.restart()
    report["restarted"] = client.execute("number")
    return report


def main() -> None:
    url, token, running_kernel = sys.argv[1:]
    with JupyterKernelClient(server_url=url, token=token, client_kwargs=dict(QUICK)) as client:
        report = live(client)
    with JupyterKernelClient(
        server_url=url, token=token, kernel_id=running_kernel, client_kwargs=dict(QUICK)
    ) as client:
        report["joined"] = client.execute("6 * 7")
    print(json.dumps(report), flush=True)
    # Not waiting for the threads it left.
    os._exit(0)


if __name__ == "__main__":
    main()
