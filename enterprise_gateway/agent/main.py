"""An agent from its first to its last moment: one kernel, one listening socket, one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import time
from pathlib import Path

import msgspec
import uvloop

from enterprise_gateway.agent.kernel import Kernel
from enterprise_gateway.agent.parked import ParkedProcess
from enterprise_gateway.agent.routes import Routes
from enterprise_gateway.core.agents import AgentConfig
from enterprise_gateway.files import replace_file

log = logging.getLogger(__name__)

CONFIG_FILE = "agent.json"
END_FILE = "end.json"
HOUSEKEEPING_SECONDS = 30.0
GC_THRESHOLDS = (50_000, 20, 100)
"""Rings hold many objects and no cycles: with the defaults a seventh of a busy agent's time was collection."""
LAST_FLUSH_SECONDS = 0.5
"""How long the end of a kernel that was shut down waits for its clients' acknowledgement."""


def run(folder: Path, listener: socket.socket, parked: ParkedProcess | None = None) -> None:
    """Be the agent of the kernel in `folder`, which may start in a parked process, until it has ended."""
    gc.set_threshold(*GC_THRESHOLDS)
    config = msgspec.json.decode((folder / CONFIG_FILE).read_bytes(), type=AgentConfig)
    uvloop.run(_run(config, folder, listener, parked))


async def _run(config: AgentConfig, folder: Path, listener: socket.socket, parked: ParkedProcess | None) -> None:
    kernel = Kernel(config, folder, parked)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, kernel.end, "its agent was told to end (SIGTERM)")
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    server = await loop.create_unix_server(Routes(kernel).connection, sock=listener)
    housekeeping = loop.create_task(_housekeeping(kernel, config, folder), name="housekeeping")
    try:
        report = await kernel.run()
        log.info("Kernel ended: %s", report.reason)
        with contextlib.suppress(OSError):
            replace_file(folder / END_FILE, msgspec.json.encode(report))
        kernel.ended.set()
        await _linger(kernel, config, server)
    finally:
        housekeeping.cancel()
        server.close()


async def _linger(kernel: Kernel, config: AgentConfig, server: asyncio.AbstractServer) -> None:
    """Stay until the clients have read to the end; those of a kernel that died get time to come back for it."""
    hub = kernel.hub
    if kernel.died:
        reading = asyncio.create_task(hub.settle_all(config.rules.linger), name="last reading")
        dismissal = asyncio.create_task(kernel.dismissed(), name="dismissal")
        await asyncio.wait({reading, dismissal}, return_when=asyncio.FIRST_COMPLETED)
        reading.cancel()
        dismissal.cancel()
    await hub.settle(hub.sockets, LAST_FLUSH_SECONDS)
    server.close()  # first, or clients that come back at once would keep this agent for ever
    for client in hub.sockets:
        client.close(1001, "the kernel has ended", await_answer=False)
    await hub.closed()


async def _housekeeping(kernel: Kernel, config: AgentConfig, folder: Path) -> None:
    while True:
        await asyncio.sleep(HOUSEKEEPING_SECONDS)
        if not folder.is_dir():  # noqa: ASYNC240 - one stat twice a minute
            kernel.end("its folder is gone, so no gateway could find it again")
            return
        kernel.hub.forget_detached(time.time() - config.rules.session_grace)
