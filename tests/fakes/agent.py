"""An agent that accepts any websocket and keeps the bytes: what a gateway sent, and nothing interpreted.

A context manager in the test's event loop. Its frames are the test's business.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from enterprise_gateway.core.agents import CHANNELS_PATH, AgentStatus
from enterprise_gateway.core.lifecycle import KernelState
from enterprise_gateway.wire import http1, v1
from enterprise_gateway.wire.websocket import handshake_response


class AgentSocket:
    """One websocket at the agent, after its handshake."""

    def __init__(self, head: http1.RequestHead, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.head = head
        self.reader = reader
        self.writer = writer


class FakeAgent:
    """Listens on the unix socket `path` while it is entered."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.refuses = False
        """Whether handshakes are answered with a 401."""
        self.sends_with_handshake = b""
        """Bytes written together with each 101."""
        self.may_answer = asyncio.Event()
        """Cleared by a test that wants to hold handshakes."""
        self.may_answer.set()
        self.asked = asyncio.Semaphore(0)
        """Released once by each handshake that has come."""
        self.sockets: asyncio.Queue[AgentSocket] = asyncio.Queue()
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            while True:
                head = http1.parse_request(await reader.readuntil(b"\r\n\r\n"))
                if head.target.startswith(CHANNELS_PATH):
                    await self._upgrade(head, reader, writer)
                    return
                body = msgspec.json.encode(_status())
                writer.write(http1.encode_response(200, "OK", [("Content-Length", str(len(body)))]) + body)
        except (EOFError, ConnectionError):
            writer.close()

    async def _upgrade(
        self, head: http1.RequestHead, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.asked.release()
        await self.may_answer.wait()
        if self.refuses:
            writer.write(http1.encode_response(401, "Unauthorized", [("Content-Length", "0")]))
            return
        answer, _ = handshake_response(head, [v1.SUBPROTOCOL])
        writer.write(answer + self.sends_with_handshake)
        await self.sockets.put(AgentSocket(head, reader, writer))


def _status() -> AgentStatus:
    return AgentStatus(state=KernelState.RUNNING, execution_state="idle", last_activity=time.time(), connections=0)
