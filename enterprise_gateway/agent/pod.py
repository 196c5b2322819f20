"""An agent in a pod: the kernel lives in the container beside it, gateways come by TLS.

Everything it needs to know is in its folder of the kernel's Secret; it never speaks to the cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from pathlib import Path

import msgspec

from enterprise_gateway.agent.hello import say_hello
from enterprise_gateway.agent.holding import Holder
from enterprise_gateway.agent.kernel import Kernel
from enterprise_gateway.agent.main import attend, run_agent
from enterprise_gateway.agent.routes import Routes
from enterprise_gateway.agent.supervised import Supervisor
from enterprise_gateway.core import pods
from enterprise_gateway.core.agents import AgentConfig
from enterprise_gateway.core.pods import Hello, PodAgentConfig, hello_proof

log = logging.getLogger(__name__)

BACKLOG = 256


def run(root: Path, port: int, host: str, name: str) -> None:
    """Be the agent of the kernel in this pod, whose address is `host`; all paths begin at `root`."""
    secrets = _below(root, pods.SECRET_FOLDER)
    config = msgspec.json.decode((secrets / pods.AGENT_FILE).read_bytes(), type=PodAgentConfig)
    if config.pod_name and config.pod_name != name:
        log.error("Kernel %s is in pod %s: this one lost a race and ends", config.agent.kernel_id, config.pod_name)
        return
    run_agent(_run(config, root, port, host))


async def _run(config: PodAgentConfig, root: Path, port: int, host: str) -> None:
    secrets = _below(root, pods.SECRET_FOLDER)
    supervisor = Supervisor(_below(root, pods.SHARED_FOLDER), _below(root, pods.TERMINATION_LOG))
    kernel = Kernel(config.agent, _holder(config.agent, supervisor))
    listener = _listener(port)
    hello = asyncio.create_task(_announce(config, host, listener.getsockname()[1]), name="hello")

    async def listen() -> asyncio.Server:
        loop = asyncio.get_running_loop()
        context = _tls_context(secrets / pods.TLS_FILE)
        return await loop.create_server(Routes(kernel, pods.SPARK_UI_PORT).connection, sock=listener, ssl=context)

    try:
        await attend(kernel, listen, "its pod is being deleted")
    finally:
        hello.cancel()
        supervisor.close()


def _holder(config: AgentConfig, supervisor: Supervisor) -> Holder:
    if config.launcher is None:
        return supervisor
    from enterprise_gateway.agent.launched import LauncherHolder  # noqa: PLC0415 - other kernels start without it

    return LauncherHolder(supervisor, config.kernel_id, config.launcher)


async def _announce(config: PodAgentConfig, host: str, port: int) -> None:
    if not config.home:
        return
    agent = config.agent
    proof = hello_proof(agent.token, agent.kernel_id, host, port)
    await say_hello(config.home, agent.kernel_id, Hello(host=host, port=port, proof=proof))


def _listener(port: int) -> socket.socket:
    """On every address of the pod, of both families where it has both."""
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):  # the kernel knows IPv6, but it is switched off here
            return socket.create_server(("", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
    return socket.create_server(("", port), backlog=BACKLOG)


def _tls_context(identity: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0  # a gateway looks at the certificate of each connection, so none is resumed
    context.load_cert_chain(identity)
    return context


def _below(root: Path, path: str) -> Path:
    return root / path.lstrip("/")
