"""The gateway as it is deployed: the shipped manifest through kustomize, found by its NodePort and its Secret."""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from support.cluster import KubectlError, Namespace, kubectl, node_address
from support.rest import Rest
from support.wait import eventually

HERE = Path(__file__).parents[1] / "cluster"
REPLICAS = "gateway-selector=enterprise-gateway"
"""Selects the gateway's own pods."""
ROLLOUT_SECONDS = 120


class Deployed:
    """A deployment in a namespace of its own."""

    def __init__(self, namespace: Namespace, kustomization: Path = HERE) -> None:
        self.namespace = namespace
        self._kustomization = kustomization
        self.url = ""
        self.token = ""

    def __repr__(self) -> str:
        return f"<Deployed {self.url or 'not yet'} {self.namespace.name}>"

    @property
    def ws_url(self) -> str:
        return "ws" + self.url.removeprefix("http")

    @property
    def rest(self) -> Rest:
        """A REST client that holds the gateway's token."""
        return Rest(self.url, self.token)

    def apply(self) -> None:
        """Deploys it and waits until every replica is ready."""
        kubectl("apply", "--filename", "-", stdin=render(self._kustomization, self.namespace.name))
        self.until_rolled_out()
        service = self.namespace.get("service", "enterprise-gateway")
        self.url = f"http://{node_address()}:{service['spec']['ports'][0]['nodePort']}"
        self.token = base64.b64decode(self.namespace.get("secret", "enterprise-gateway")["data"]["auth-token"]).decode()
        # The node learns of the Service's replicas a moment after they are ready.
        eventually(self._answers)

    def until_rolled_out(self) -> None:
        """Waits until all replicas are of the newest form and ready."""
        try:
            self.namespace.kubectl(
                "rollout", "status", "deployment/enterprise-gateway", f"--timeout={ROLLOUT_SECONDS}s"
            )
        except Exception as error:
            error.add_note(self.state())
            raise

    def restart(self) -> None:
        """Replaces every replica, one by one, as an upgrade does."""
        self.namespace.kubectl("rollout", "restart", "deployment/enterprise-gateway")
        self.until_rolled_out()

    def scale(self, replicas: int) -> None:
        """Runs another number of replicas."""
        self.namespace.kubectl("scale", "deployment/enterprise-gateway", f"--replicas={replicas}")
        self.until_rolled_out()

    def set_env(self, **settings: str) -> None:
        """Changes the gateways' environment and waits until it is theirs."""
        pairs = [f"{name}={value}" for name, value in settings.items()]
        self.namespace.kubectl("set", "env", "deployment/enterprise-gateway", *pairs)
        self.until_rolled_out()

    def replicas(self) -> list[str]:
        """Names of the gateway's pods that are not on their way out."""
        pods = self.namespace.list("pods", REPLICAS)
        return [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def replica_url(self, name: str) -> str:
        """The address of one replica, past the Service."""
        return f"http://{self._address(name)}:8888"

    def operations_url(self, name: str) -> str:
        """Health and metrics of one replica, as the node sees them."""
        return f"http://{self._address(name)}:8889"

    def kill_replica(self, name: str) -> None:
        """Ends a replica without a chance to do anything; the Deployment makes another one."""
        self.namespace.kubectl("delete", "pod", name, "--grace-period=0", "--force", "--wait=false")

    def stop_replica(self, name: str) -> None:
        """Ends a replica with SIGTERM, as a drained node does; the Deployment makes another one."""
        self.namespace.kubectl("delete", "pod", name, "--wait=false")

    def state(self) -> str:
        """What the namespace looks like and what its gateways say, for a failure's message."""
        said = [f"--- {name}\n{self._said(name)}" for name in self.replicas()]
        return "\n".join([self.namespace.kubectl("get", "pods,events"), *said])

    def _said(self, name: str) -> str:
        try:
            return self.namespace.logs(name)
        except KubectlError as error:
            return str(error)

    def _answers(self) -> bool:
        try:
            return self.rest.get("/api").ok
        except requests.ConnectionError:
            return False

    def _address(self, name: str) -> str:
        pod: dict[str, Any] = self.namespace.get("pod", name)
        return str(pod["status"]["podIP"])


@contextmanager
def deployment(kustomization: Path = HERE) -> Iterator[Deployed]:
    """A deployment in a fresh namespace, which is deleted with all that is in it."""
    with Namespace() as namespace:
        deployed = Deployed(namespace, kustomization)
        deployed.apply()
        yield deployed


def render(kustomization: Path, namespace: str) -> str:
    """A folder's kustomization with all its objects in a namespace of that name."""
    with tempfile.TemporaryDirectory() as folder:
        base = os.path.relpath(kustomization, Path(folder).resolve())
        Path(folder, "kustomization.yaml").write_text(f"namespace: {namespace}\nresources: [{base}]\n")
        return kubectl("kustomize", folder)
