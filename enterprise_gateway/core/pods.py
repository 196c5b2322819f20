"""What a gateway and the two containers of a kernel's pod agree on: paths, ports, names, the agent's first words."""

from __future__ import annotations

import hashlib
import hmac

import msgspec

from enterprise_gateway.core.agents import AgentConfig

AGENT_PORT = 8443
"""Where the agent listens, with TLS, for gateways."""
KERNEL_PORTS = (28001, 28002, 28003, 28004, 28005)
"""Shell, iopub, stdin, control, heartbeat on the pod's loopback, which no other pod shares.

Below the ports that systems give to outgoing connections (32768 on Linux), or one of the agent's could have them.
"""

SECRET_FOLDER = "/etc/enterprise-gateway"  # noqa: S105 - a path
"""Where each container finds its part of the kernel's Secret, read-only."""
AGENT_FILE = "agent.json"
"""`PodAgentConfig`; for the agent alone."""
TLS_FILE = "tls.pem"
"""The agent's private key and certificate; for the agent alone."""
CONNECTION_FILE = "connection.json"
"""The kernel's connection file; for the kernel alone, which is given a copy in `SHARED_FOLDER` that it may change."""
SUPERVISOR_FILE = "supervisor.sh"
"""What the kernel's container runs; it starts the kernel's own command."""

SHARED_FOLDER = "/run/enterprise-gateway"
"""An empty folder that both containers write: the supervisor's fifos, the kernel's connection file."""
CONNECTION_PATH = f"{SHARED_FOLDER}/{CONNECTION_FILE}"
"""The kernel's copy."""
TERMINATION_LOG = "/dev/termination-log"
"""Where a container leaves its last words for the pod's status, 4096 bytes at most."""

RESPONSE_PORT = 8877
"""Where, on the pod's loopback, the agent of a launcher's kernel takes the launcher's reports."""

SPARK_UI_PORT = 4040
"""Where, on the pod's loopback, a kernel that is a Spark driver has its UI."""

POD_IP_VARIABLE = "POD_IP"
"""The agent's environment variable with the pod's address (from the downward API)."""
POD_NAME_VARIABLE = "POD_NAME"
"""The agent's environment variable with the pod's name (likewise)."""

HELLO_PATH = "/agents/"
"""Before a kernel id: where an agent tells the replica that started it that it listens."""


class PodAgentConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an agent in a pod needs to know."""

    agent: AgentConfig
    home: str = ""
    """`host:port` of the replica that started it, over HTTP; empty when there is nobody to tell."""
    pod_name: str = ""
    """The pod this is for. Another pod of the same kernel id, which lost a race, finds the same Secret."""


class Hello(msgspec.Struct, frozen=True):
    """An agent's first words to its home: where it listens. No secret crosses the network."""

    host: str
    port: int
    proof: str
    """That the sender knows the kernel's token: `hello_proof`."""


def hello_proof(token: str, kernel_id: str, host: str, port: int) -> str:
    """HMAC-SHA256 of the message under the kernel's token, in hexadecimal digits."""
    message = f"hello {kernel_id} {host} {port}".encode()
    return hmac.new(token.encode(), message, hashlib.sha256).hexdigest()
