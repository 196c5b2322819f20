"""From nothing to the first result: kernels started through a gateway, and by hand.

Several at once take a thread each; every thread only waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.bare import BareKernel
from benchmarks.client.traffic import request_execute
from benchmarks.client.transports import Peer, Transport, connect
from benchmarks.client.websocket import ConnectionClosedError
from benchmarks.rest import Rest

CODE = "1+1"
REFUSED_DEADLINE = 60
RETRY_EVERY = 0.1
"""Seconds between attempts to open a websocket that was refused."""

T = TypeVar("T")


def start(rest: Rest, spec: str, at_once: int) -> dict[str, Any]:
    """Seconds from POST /api/kernels until the last of `at_once` kernels has replied to an execute.

    A client whose websocket is refused comes back, as clients do; what it was told is in `refusals`.
    """
    refusals: list[str] = []

    def start_one() -> str:
        kernel_id = rest.start_kernel(spec)
        peer = Peer("json", port=rest.port, token=rest.token, host=rest.host, kernel_id=kernel_id)
        first_result(connect_at_last(peer, refusals))
        return kernel_id

    begin = time.perf_counter()
    kernel_ids = run_at_once(start_one, at_once)
    return {"seconds": time.perf_counter() - begin, "kernel_ids": kernel_ids, "refusals": refusals}


def connect_at_last(peer: Peer, refusals: list[str]) -> Transport:
    """A connection, however often it is refused before."""
    deadline = time.monotonic() + REFUSED_DEADLINE
    while True:
        try:
            return connect(peer)
        except ConnectionClosedError as refusal:
            refusals.append(str(refusal))
            if time.monotonic() > deadline:
                raise
            time.sleep(RETRY_EVERY)


def start_bare(spec_folder: Path, folder: Path, at_once: int) -> dict[str, Any]:
    """The same by hand: spawn with a connection file, ask over ZMQ."""
    with ExitStack() as running:

        def start_one() -> None:
            kernel = running.enter_context(BareKernel(spec_folder, folder))
            first_result(connect(Peer("zmq", str(kernel.connection_file))))

        begin = time.perf_counter()
        run_at_once(start_one, at_once)
        return {"seconds": time.perf_counter() - begin}


def restart(rest: Rest, peer: Peer) -> dict[str, Any]:
    """Seconds from POST …/restart until a result comes over the websocket that was open all the time."""
    transport = connect(peer)
    first_result(transport)
    begin = time.perf_counter()
    rest.call("POST", f"/api/kernels/{peer.kernel_id}/restart", {})
    first_result(transport)
    return {"seconds": time.perf_counter() - begin}


def restart_bare(spec_folder: Path, folder: Path) -> dict[str, Any]:
    """The same by hand: kill, spawn with the same connection file, ask over the same ZMQ sockets."""
    with BareKernel(spec_folder, folder) as kernel:
        transport = connect(Peer("zmq", str(kernel.connection_file)))
        first_result(transport)
        begin = time.perf_counter()
        kernel.kill()
        kernel.start()
        first_result(transport)
        return {"seconds": time.perf_counter() - begin}


def first_result(transport: Transport) -> None:
    """Ask at once, whatever state the kernel is in; return with the reply."""
    msg_id = request_execute(transport, CODE)
    while True:
        for message in transport.receive():
            if message.msg_type == "execute_reply" and message.parent_id == msg_id:
                return


def run_at_once(work: Callable[[], T], times: int) -> list[T]:
    with ThreadPoolExecutor(times) as threads:
        return [future.result() for future in [threads.submit(work) for _ in range(times)]]
