"""A gateway on this machine whose kernels are pods in a namespace of the cluster.

The cluster must have the images `localhost/enterprise-gateway:dev` and `localhost/kernel-py:dev`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.channels import Channels
from support.cluster import Namespace, Object, kubeconfig, node_address
from support.gateway import START_DEADLINE, Gateway, KernelSpecs
from support.rest import answer_of
from support.wait import eventually

GATEWAY_IMAGE = "localhost/enterprise-gateway:dev"
KERNEL_IMAGE = "localhost/kernel-py:dev"
IPYKERNEL = ("python3", "-m", "ipykernel_launcher", "-f", "{connection_file}")
NOWHERE = {"spec": {"nodeSelector": {"eg-test": "nowhere"}}}
"""A `pod_patch` with which no node takes the pod: it is made, and waits."""


class Outside(Gateway):
    """Settings and kernel specs as for `Gateway`; ends nothing in the cluster when it is stopped."""

    def __init__(self, namespace: Namespace, *, kernelspecs: KernelSpecs | None = None, **settings: str | None) -> None:
        own: dict[str, str | None] = {
            "KUBECONFIG": kubeconfig(),
            "EG_BACKENDS": "kubernetes",
            "EG_KUBERNETES_NAMESPACE": namespace.name,
            "EG_RESPONSE_IP": node_address(),
            "EG_RESPONSE_PORT": "0",
            "EG_AGENT_IMAGE": GATEWAY_IMAGE,
            "EG_KERNEL_IMAGE": KERNEL_IMAGE,
            "EG_START_WAIT": "60",  # so that a kernel that was started is ready, however busy the machine is
        }
        self.namespace = namespace
        super().__init__(kernelspecs={"python": pod_spec(), **(kernelspecs or {})}, **{**own, **settings})

    def add_file(self, spec: str, path: str, text: str) -> None:
        """Puts a file beside a kernel.json."""
        file = self.home / "data" / "kernels" / spec / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def pod(self, kernel_id: str) -> Object:
        """The one pod of a kernel."""
        return self.namespace.kernel_pod(kernel_id)

    def state(self, kernel_id: str) -> str:
        """`execution_state` of a living kernel."""
        return str(answer_of(self.rest.get(f"/api/kernels/{kernel_id}"))["execution_state"])

    def run(self, kernel_id: str, code: str) -> str:
        """Runs a cell and returns what it printed; waits for the kernel first, or it would be told of its start."""
        eventually(lambda: self.state(kernel_id) != "starting", START_DEADLINE)
        with Channels.of(self, kernel_id) as channels:
            execution = channels.execute(code)
        assert execution.reply["status"] == "ok", execution.reply
        return execution.text


@contextmanager
def outside(**options: Any) -> Iterator[Outside]:
    """A started gateway with a namespace of its own, for fixtures that several tests share."""
    with Namespace() as namespace, Outside(namespace, **options) as gateway:
        yield gateway.start()


def pod_spec(*argv: str, env: dict[str, str] | None = None, **config: Any) -> dict[str, Any]:
    """A kernel.json for pods: ipykernel, or `argv`; `config` is that of its stanza."""
    return {
        "argv": list(argv or IPYKERNEL),
        "display_name": "test",
        "language": "python",
        "env": env or {},
        "metadata": {
            "process_proxy": {
                "class_name": "enterprise_gateway.services.processproxies.k8s.KubernetesProcessProxy",
                "config": config,
            }
        },
    }


def secret_of(gateway: Outside, kernel_id: str) -> dict[str, str]:
    """What a kernel's Secret holds."""
    data = gateway.namespace.get("secret", f"kernel-{kernel_id}")["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}
