"""What the tests of the agent share: messages, configurations, an agent in the test's loop and its clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import msgspec
from websockets.asyncio.client import ClientConnection, unix_connect

from enterprise_gateway.agent.child import ChildHolder
from enterprise_gateway.agent.kernel import Kernel
from enterprise_gateway.agent.routes import Routes
from enterprise_gateway.backends.local.ports import free_ports
from enterprise_gateway.config.ports import PortRange
from enterprise_gateway.core.agents import AgentConfig, AgentRules, KernelProcessConfig
from enterprise_gateway.core.records import ConnectionInfo, EndReport
from enterprise_gateway.wire.message import Header, Message

KERNEL = Path(__file__).parent.parent / "fakes" / "scripted_kernel.py"
DEADLINE = 30.0
"""Seconds anything may take on a busy machine."""
TOKEN = "the-agents-token"


def header(msg_type: str, session: str = "client", msg_id: str = "") -> dict[str, str]:
    return {"msg_id": msg_id or uuid.uuid4().hex, "msg_type": msg_type, "session": session, "version": "5.4"}


def message(
    channel: str, msg_type: str, content: dict[str, Any], *, parent: dict[str, str] | None = None, **names: str
) -> Message:
    """A message as bytes; `names` are `session` and `msg_id` of its header."""
    raw = json.dumps(header(msg_type, **names)).encode()
    return Message(channel, raw, json.dumps(parent or {}).encode(), b"{}", json.dumps(content).encode(), [])


def stream(text: str, parent: dict[str, str] | None = None) -> Message:
    return message("iopub", "stream", {"name": "stdout", "text": text}, parent=parent, session="kernel")


def status(execution_state: str, parent: dict[str, str] | None = None) -> Message:
    return message("iopub", "status", {"execution_state": execution_state}, parent=parent, session="kernel")


def parsed(raw: bytes) -> Header:
    return msgspec.json.decode(raw, type=Header)


def texts(messages: Sequence[dict[str, Any]]) -> str:
    """Everything that was printed."""
    return "".join(each["content"]["text"] for each in messages if each["msg_type"] == "stream")


def connection_info() -> ConnectionInfo:
    shell, iopub, stdin, control, heartbeat = free_ports(5, PortRange(), ())
    return ConnectionInfo(
        shell_port=shell, iopub_port=iopub, stdin_port=stdin, control_port=control, hb_port=heartbeat, key="a-key"
    )


def process_config(*argv: str, **env: str) -> KernelProcessConfig:
    return KernelProcessConfig(argv=list(argv), env={"PATH": os.environ["PATH"], **env}, cwd="/")


def agent_config(folder: Path, flags: Sequence[str] = (), **rules: Any) -> AgentConfig:
    """A scripted kernel's; its connection file is written to `folder`."""
    connection = connection_info()
    file = folder / "connection.json"
    file.write_bytes(msgspec.json.encode(connection))
    interrupt_mode = rules.pop("interrupt_mode", "signal")
    command = rules.pop("command", sys.executable)
    process = process_config(command, "-P", str(KERNEL), "-f", str(file), *flags)
    return AgentConfig(
        kernel_id=str(uuid.uuid4()),
        token=TOKEN,
        connection=connection,
        process=msgspec.structs.replace(process, interrupt_mode=interrupt_mode),
        rules=AgentRules(**{"start_timeout": DEADLINE, "shutdown_wait": 2.0, **rules}),
    )


class Client:
    """A front end on a websocket of `websockets`, which answers pings as every library does."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def send(self, channel: str, msg_type: str, content: dict[str, Any], session: str = "client") -> str:
        """Send a message; returns its id."""
        head = header(msg_type, session)
        parts = {"header": head, "parent_header": {}, "metadata": {}, "content": content, "channel": channel}
        await self.socket.send(json.dumps(parts))
        return head["msg_id"]

    async def execute(self, code: str) -> str:
        return await self.send("shell", "execute_request", {"code": code})

    async def until(self, msg_type: str, **content: Any) -> list[dict[str, Any]]:
        """All messages up to the first of `msg_type` whose content has these values."""
        received = []
        async with asyncio.timeout(DEADLINE):
            while True:
                received.append(json.loads(await self.socket.recv()))
                last = received[-1]
                if last["msg_type"] == msg_type and content.items() <= last["content"].items():
                    return received

    async def run(self, code: str) -> list[dict[str, Any]]:
        """Execute `code`; everything up to its idle."""
        msg_id = await self.execute(code)
        received: list[dict[str, Any]] = []
        while not (received and received[-1]["parent_header"].get("msg_id") == msg_id):
            received += await self.until("status", execution_state="idle")
        return received

    async def closed(self) -> int:
        """Wait for the end; the close code."""
        async with asyncio.timeout(DEADLINE):
            await self.socket.wait_closed()
        return self.socket.close_code or 0


class InProcessAgent:
    """A kernel and its routes on a unix socket; `run` is the kernel's life."""

    def __init__(self, folder: Path, flags: Sequence[str], rules: dict[str, Any]) -> None:
        self.folder = folder
        self.config = agent_config(folder, flags, **rules)
        self.path = str(folder / f"agent-{uuid.uuid4().hex[:8]}.sock")

    async def __aenter__(self) -> Self:
        self.kernel = Kernel(self.config, ChildHolder(self.config.process, self.folder))
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(Routes(self.kernel).connection, self.path)
        self.run = loop.create_task(self._run())
        self._clients = contextlib.AsyncExitStack()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kernel.end("the test is over")
        await self._clients.aclose()
        async with asyncio.timeout(DEADLINE):
            await self.run
            await self.kernel.hub.closed()
        self._server.close()

    async def ready(self) -> Self:
        """Wait for the kernel."""
        assert (await self.kernel.settled_start(DEADLINE)).state == "running"
        return self

    async def ended(self) -> EndReport:
        """Wait for the kernel's end."""
        async with asyncio.timeout(DEADLINE):
            return await self.run

    async def client(self, session_id: str | None = None, **options: Any) -> Client:
        """Open a websocket."""
        query = "" if session_id is None else "?" + urlencode({"session_id": session_id})
        headers = {"Authorization": f"token {TOKEN}", **options.pop("headers", {})}
        socket = unix_connect(
            self.path,
            f"ws://agent/channels{query}",
            additional_headers=headers,
            compression=None,
            ping_interval=None,
            **options,
        )
        return Client(await self._clients.enter_async_context(socket))

    async def _run(self) -> EndReport:
        report = await self.kernel.run()
        self.kernel.ended.set()
        return report


class RawWebSocket:
    """A client that does nothing by itself: it answers no PING and no CLOSE, and may break every rule."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, path: str, session_id: str = "", *extra: str) -> Self:
        reader, writer = await asyncio.open_unix_connection(path)
        lines = [
            f"GET /channels?session_id={session_id} HTTP/1.1",
            f"Authorization: token {TOKEN}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            *extra,
        ]
        writer.write("\r\n".join([*lines, "\r\n"]).encode())
        async with asyncio.timeout(DEADLINE):
            assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        return cls(reader, writer)

    def send(self, opcode: int, payload: bytes, *, final: bool = True) -> None:
        """A frame masked with zeros."""
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
        self.writer.write(bytes([(0x80 if final else 0) | opcode]) + length + bytes(4) + payload)

    async def receive(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame."""
        async with asyncio.timeout(DEADLINE):
            first, length = await self.reader.readexactly(2)
            if length > 125:
                length = int.from_bytes(await self.reader.readexactly(2 if length == 126 else 8), "big")
            return first & 0x0F, await self.reader.readexactly(length)

    async def receive_until(self, opcode: int) -> bytes:
        """The payload of the next frame with this opcode."""
        while True:
            found, payload = await self.receive()
            if found == opcode:
                return payload

    async def ended(self) -> None:
        """Wait for the end of the connection."""
        async with asyncio.timeout(DEADLINE):
            await self.reader.read()
