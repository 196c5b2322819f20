"""What a gateway and an agent tell each other: the agent's configuration and its status."""

from __future__ import annotations

import msgspec

from enterprise_gateway.core.culling import CullPolicy
from enterprise_gateway.core.lifecycle import KernelState, RestartPolicy
from enterprise_gateway.core.records import ConnectionInfo


class KernelProcessConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How the kernel's process is run."""

    argv: list[str]
    env: dict[str, str]
    cwd: str
    interrupt_mode: str = "signal"
    """`signal` or `message`, from the kernel spec."""


class LauncherConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Of a kernel that is started by a launcher made for EG, which chooses ports and key, and reports them."""

    private_key: str
    """In PEM: opens the reports, which are sealed with its public half."""
    host: str
    """Where the agent listens for them."""
    port: int


class AgentRules(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator decides about a kernel's life and its clients; the same wherever the kernel runs."""

    start_timeout: float
    """Seconds for the kernel to answer its first `kernel_info_request`."""
    shutdown_wait: float = 5.0
    """Seconds between a polite `shutdown_request` and SIGKILL."""
    restart: RestartPolicy = RestartPolicy()
    cull: CullPolicy = CullPolicy()
    replay_bytes: int = 64 * 1024 * 1024
    """Bound of what one session may have unacknowledged."""
    session_grace: float = 3600.0
    """Seconds a session without a client is kept."""
    max_message: int = 128 * 1024 * 1024
    """Largest websocket message of a client, in bytes."""
    ping_interval: float = 30.0
    """Seconds between pings on a quiet websocket; 0 switches them and the check of their answers off."""
    linger: float = 300.0
    """Seconds an agent stays for the clients that have not yet read the end of a kernel that died."""


class AgentConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an agent needs to know; holds secrets, so its file is readable by its owner alone."""

    kernel_id: str
    token: str
    connection: ConnectionInfo
    process: KernelProcessConfig
    rules: AgentRules
    launcher: LauncherConfig | None = None
    """Given, `process` is a launcher's or starts one, and `connection` does not count: each life has one of its own."""


class AgentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An agent's answer to `GET /status`."""

    state: KernelState
    execution_state: str
    last_activity: float
    """Unix seconds."""
    connections: int
    """Open websockets."""
    restarts: int = 0
    """Automatic restarts since the kernel was last stable."""
    reason: str = ""
    """Why the kernel died last, or ended."""
    pid: int = 0


STATUS_PATH = "/status"
LOG_PATH = "/log"
INTERRUPT_PATH = "/interrupt"
RESTART_PATH = "/restart"
SHUTDOWN_PATH = "/shutdown"
CLOSE_PATH = "/close"
TELL_PATH = "/tell"
CHANNELS_PATH = "/channels"
SPARK_UI_PATH = "/spark-ui"
"""Where a gateway gets a tunnel to the port of the kernel's Spark UI."""

VIA_HEADER = "X-Gateway-Replica"
"""On a websocket handshake: which replica carries it, so that replica can have it closed politely."""
