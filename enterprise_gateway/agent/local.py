"""An agent on the gateway's own machine: the kernel is its child, gateways come by a unix socket."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import msgspec

from enterprise_gateway.agent.child import ChildHolder
from enterprise_gateway.agent.kernel import Kernel
from enterprise_gateway.agent.main import attend, run_agent
from enterprise_gateway.agent.parked import ParkedProcess
from enterprise_gateway.agent.routes import Routes
from enterprise_gateway.core.agents import AgentConfig

CONFIG_FILE = "agent.json"


def run(folder: Path, listener: socket.socket, parked: ParkedProcess | None = None) -> None:
    """Be the agent of the kernel in `folder`, which may start in a parked process, until it has ended."""
    config = msgspec.json.decode((folder / CONFIG_FILE).read_bytes(), type=AgentConfig)
    run_agent(_run(config, folder, listener, parked))


async def _run(config: AgentConfig, folder: Path, listener: socket.socket, parked: ParkedProcess | None) -> None:
    kernel = Kernel(config, ChildHolder(config.process, folder, parked))

    async def listen() -> asyncio.Server:
        return await asyncio.get_running_loop().create_unix_server(Routes(kernel).connection, sock=listener)

    await attend(kernel, listen, "its agent was told to end (SIGTERM)")
