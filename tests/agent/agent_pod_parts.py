"""A pod without a cluster: the supervisor under a real shell, the agent as its own process, folders below one root."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
from agent_parts import DEADLINE, KERNEL, Client, connection_info
from support.supervisor import end_session, supervisor_command
from websockets.asyncio.client import connect

from enterprise_gateway.agent.supervised import SupervisedProcess, Supervisor
from enterprise_gateway.core import pods, tls
from enterprise_gateway.core.agents import AgentConfig, AgentRules, AgentStatus, KernelProcessConfig, LauncherConfig
from enterprise_gateway.core.records import EndReport, TlsEndpoint
from enterprise_gateway.core.secret import Secret
from enterprise_gateway.kernels.agents import AgentClient
from enterprise_gateway.kernels.reach import Address

TOKEN = "the-pods-token"
SEED = Secret("5e" * 32)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Container:
    """Both ends of the fifos; the test is the supervisor."""

    def __init__(self, folder: Path) -> None:
        self.supervisor = Supervisor(folder, folder / "termination-log")
        self.folder = folder
        self.events = os.open(folder / "events", os.O_WRONLY)

    def say(self, text: str) -> None:
        os.write(self.events, text.encode())

    def end(self) -> None:
        if self.events:
            os.close(self.events)
        self.events = 0

    def told(self, fifo: str) -> str:
        """Everything in one of the agent's fifos."""
        descriptor = os.open(self.folder / fifo, os.O_RDONLY | os.O_NONBLOCK)
        try:
            return os.read(descriptor, 65536).decode()
        except BlockingIOError:
            return ""
        finally:
            os.close(descriptor)

    async def started(self) -> SupervisedProcess:
        return await asyncio.wait_for(self.supervisor.start(), DEADLINE)


class Pod:
    """Two containers that share a folder and the loopback."""

    def __init__(self, root: Path, shell: Sequence[str] = ("dash",)) -> None:
        self.root = root
        self.shell = shell
        self.connection = connection_info()
        self.kernel_id = "3b9c5a9e-0000-4000-8000-000000000001"
        self.home = ""
        self.meant_for = "this-pod"
        """The pod that the agent's configuration is for."""
        self.launcher: LauncherConfig | None = None
        self.gateway = AgentClient()
        self.kernel: subprocess.Popen[bytes]
        self.agent: subprocess.Popen[bytes]
        self.port = 0
        self._clients = contextlib.AsyncExitStack()
        self._processes: list[subprocess.Popen[bytes]] = []
        for folder in (pods.SECRET_FOLDER, pods.SHARED_FOLDER, "/dev"):
            self.path(folder).mkdir(parents=True)
        self.path(pods.SHARED_FOLDER).chmod(0o777)
        self.path(pods.SECRET_FOLDER, pods.CONNECTION_FILE).write_bytes(msgspec.json.encode(self.connection))

    def path(self, folder: str, name: str = "") -> Path:
        return self.root / folder.lstrip("/") / name

    async def close(self) -> None:
        await self._clients.aclose()
        await self.gateway.close()
        for process in self._processes:
            end_session(process)

    def start_kernel(self, *command: str, **env: str) -> None:
        """Start the kernel's container; with the scripted kernel unless `command` says otherwise."""
        file = str(self.path(pods.SHARED_FOLDER, pods.CONNECTION_FILE))
        command = tuple(word.format(connection_file=file) for word in command)
        argv = command or (sys.executable, "-P", str(KERNEL), "-f", file)
        wait = ["--wait"] if self.launcher else []
        self.kernel = self._start([*supervisor_command(self.root, self.shell), *wait, *argv], env)

    def start_agent(self, **rules: Any) -> None:
        """Start the agent's container."""
        rules = {"start_timeout": DEADLINE, "shutdown_wait": 2.0, "linger": 0.2, **rules}
        process = KernelProcessConfig(argv=["python"], env={}, cwd="/", interrupt_mode="signal")
        agent = AgentConfig(
            kernel_id=self.kernel_id,
            token=TOKEN,
            connection=self.connection,
            process=process,
            rules=AgentRules(**rules),
            launcher=self.launcher,
        )
        config = pods.PodAgentConfig(agent=agent, home=self.home, pod_name=self.meant_for)
        self.path(pods.SECRET_FOLDER, pods.AGENT_FILE).write_bytes(msgspec.json.encode(config))
        self.path(pods.SECRET_FOLDER, pods.TLS_FILE).write_bytes(tls.make_identity(SEED))
        self.port = free_port()
        command = [sys.executable, "-P", "-m", "enterprise_gateway.agent", str(self.root), str(self.port)]
        self.agent = self._start(command, {pods.POD_IP_VARIABLE: "127.0.0.1", pods.POD_NAME_VARIABLE: "this-pod"})

    @property
    def address(self) -> Address:
        return Address(TlsEndpoint("127.0.0.1", self.port), Secret(TOKEN), SEED)

    async def status(self, wait: float = 0.0) -> AgentStatus:
        """The agent's answer, once it listens."""
        async with asyncio.timeout(DEADLINE):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    break
                await asyncio.sleep(0.01)
        return await self.gateway.status(self.address, wait=wait)

    async def running(self) -> AgentStatus:
        status = await self.status(wait=DEADLINE)
        assert status.state == "running", status
        return status

    @staticmethod
    def tls_context() -> ssl.SSLContext:
        """One that believes everybody."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    async def client(self, session_id: str = "") -> Client:
        socket = connect(
            f"wss://127.0.0.1:{self.port}/channels?{urlencode({'session_id': session_id})}",
            additional_headers={"Authorization": f"token {TOKEN}"},
            ssl=self.tls_context(),
            compression=None,
            ping_interval=None,
        )
        return Client(await self._clients.enter_async_context(socket))

    async def ended(self, process: subprocess.Popen[bytes]) -> int:
        return await asyncio.to_thread(process.wait, DEADLINE)

    @property
    def report(self) -> EndReport:
        return msgspec.json.decode(self.path(pods.TERMINATION_LOG).read_bytes(), type=EndReport)

    def _start(self, command: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
        env = {"PATH": os.environ["PATH"], **env}
        process = subprocess.Popen(command, env=env, start_new_session=True, stdin=subprocess.DEVNULL)
        self._processes.append(process)
        return process
