"""An agent's first words to the replica that started it, so that nobody waits for the cluster to tell its address.

An HTTP client of one request; the kernel does not depend on it, and a replica that is gone is missed by nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

import msgspec

from enterprise_gateway.core.pods import HELLO_PATH, Hello
from enterprise_gateway.errors import ProtocolError
from enterprise_gateway.wire import http1

log = logging.getLogger(__name__)

ANSWER_SECONDS = 3.0
"""How long one attempt may take."""
PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 3.2, 3.2)
"""Seconds between attempts; with them, the attempts are over after 13 s or more."""


async def say_hello(home: str, kernel_id: str, hello: Hello, pauses: Sequence[float] = PAUSES) -> None:
    """POST `hello` to `home` (`host:port`) until somebody answers, with these `pauses` (seconds) between attempts."""
    for pause in (*pauses, 0.0):
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                status = await _post(home, f"{HELLO_PATH}{kernel_id}", msgspec.json.encode(hello))
        except (OSError, TimeoutError, EOFError, ValueError, asyncio.LimitOverrunError, ProtocolError) as error:
            log.info("Nobody at %s takes the hello: %s", home, error)
        else:
            if status < 500:
                log.info("Said hello to %s: %d", home, status)
                return
        await asyncio.sleep(pause)


async def _post(home: str, target: str, body: bytes) -> int:
    host, _, port = home.rpartition(":")
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    fields = [("Host", home), ("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    try:
        writer.write(http1.encode_request("POST", target, [*fields, ("Connection", "close")]) + body)
        return http1.parse_response(await reader.readuntil(b"\r\n\r\n")).status
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
