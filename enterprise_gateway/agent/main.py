"""What every agent does from its kernel's first moment to its own last one, wherever the kernel is held."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import time
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from enterprise_gateway.agent.kernel import Kernel

log = logging.getLogger(__name__)

HOUSEKEEPING_SECONDS = 30.0
GC_THRESHOLDS = (50_000, 20, 100)
"""Rings hold many objects and no cycles: with the defaults a seventh of a busy agent's time was collection."""
LAST_FLUSH_SECONDS = 0.5
"""How long the end of a kernel that was shut down waits for its clients' acknowledgement."""


def run_agent(agent: Coroutine[Any, Any, None]) -> None:
    """Run an agent's only coroutine to its end."""
    gc.set_threshold(*GC_THRESHOLDS)
    uvloop.run(agent)


async def attend(kernel: Kernel, listen: Callable[[], Coroutine[Any, Any, asyncio.Server]], told_to_end: str) -> None:
    """Be the agent of `kernel` until it has ended; `told_to_end` is the reason if SIGTERM asks for it."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, kernel.end, told_to_end)
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    server = await listen()
    housekeeping = loop.create_task(_housekeeping(kernel), name="housekeeping")
    try:
        report = await kernel.run()
        log.info("Kernel ended: %s", report.reason)
        kernel.holder.leave(report)
        kernel.ended.set()
        await _linger(kernel, server)
    finally:
        housekeeping.cancel()
        server.close()


async def _linger(kernel: Kernel, server: asyncio.Server) -> None:
    """Stay until the clients have read to the end; those of a kernel that died get time to come back for it."""
    hub = kernel.hub
    if kernel.died:
        reading = asyncio.create_task(hub.settle_all(kernel.config.rules.linger), name="last reading")
        dismissal = asyncio.create_task(kernel.dismissed(), name="dismissal")
        await asyncio.wait({reading, dismissal}, return_when=asyncio.FIRST_COMPLETED)
        reading.cancel()
        dismissal.cancel()
    await hub.settle(hub.sockets, LAST_FLUSH_SECONDS)
    server.close()  # first, or clients that come back at once would keep this agent for ever
    for client in hub.sockets:
        client.close(1001, "the kernel has ended", await_answer=False)
    await hub.closed()


async def _housekeeping(kernel: Kernel) -> None:
    while True:
        await asyncio.sleep(HOUSEKEEPING_SECONDS)
        if reason := kernel.holder.forsaken:
            kernel.end(reason)
            return
        kernel.hub.forget_detached(time.time() - kernel.config.rules.session_grace)
