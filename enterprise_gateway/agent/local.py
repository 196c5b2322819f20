"""An agent on the gateway's own machine: the kernel is its child, gateways come by a unix socket."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import msgspec

from enterprise_gateway.agent.child import ChildHolder
from enterprise_gateway.agent.holding import Holder
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
    kernel = Kernel(config, _holder(config, folder, parked))

    async def listen() -> asyncio.Server:
        return await asyncio.get_running_loop().create_unix_server(Routes(kernel).connection, sock=listener)

    await attend(kernel, listen, "its agent was told to end (SIGTERM)")


def _holder(config: AgentConfig, folder: Path, parked: ParkedProcess | None) -> Holder:
    if config.launcher is None:
        return ChildHolder(config.process, folder, parked)
    from enterprise_gateway.agent.launch_command import LaunchCommandHolder  # noqa: PLC0415 - others start without it

    return LaunchCommandHolder(ChildHolder(config.process, folder, own=False), config.kernel_id, config.launcher)
