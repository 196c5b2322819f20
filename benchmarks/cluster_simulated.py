"""A cluster without machines: the API server of the tests, a kubelet that only talks, an agent for every pod.

`python -m benchmarks.cluster_simulated FOLDER` writes FOLDER/kubeconfig, says so, and does what lines on stdin ask for;
commands and answers are one JSON object a line. Every pod runs at once at an address of its own on loopback, where an
agent shows the key that the gateway expects of it and answers every request with an idle kernel's status. One event
loop; a process of its own, so that its CPU time is nobody else's.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import ssl
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from fakes.api_server import FakeApi

from enterprise_gateway.core.agents import AgentStatus
from enterprise_gateway.core.keys import MasterKeys
from enterprise_gateway.core.lifecycle import KernelState
from enterprise_gateway.core.pods import AGENT_PORT
from enterprise_gateway.core.tls import make_identity

NAMESPACE, EMPTY_NAMESPACE = "kernels", "empty"
RECORD = "enterprise-gateway/record"
POLL_EVERY = 0.005
AT_ONCE = 50
"""Changes after which watches get their turn."""
_MASTER_KEY = bytes(range(32))
_STATUS = AgentStatus(state=KernelState.RUNNING, execution_state="idle", last_activity=time.time(), connections=0)


class Simulation:
    """The API server and what changes its pods."""

    def __init__(self, folder: Path) -> None:
        self.api = FakeApi(NAMESPACE)
        self._folder = folder
        self._keys = MasterKeys([_MASTER_KEY])
        self._kernel_ids: dict[str, str] = {}
        """By address."""
        self._contexts: dict[str, ssl.SSLContext] = {}
        """By kernel id."""
        self._seen = self.api.store.revision

    def add_credentials(self) -> None:
        """The Secret that the gateway shares with its replicas, in both namespaces."""
        contents = {"master-key": _MASTER_KEY.hex(), "auth-token": "nobody-knows-it"}
        data = {key: base64.b64encode(text.encode()).decode() for key, text in contents.items()}
        for namespace in (NAMESPACE, EMPTY_NAMESPACE):
            self.api.store.create((namespace, "secrets"), {"metadata": {"name": "enterprise-gateway"}, "data": data})

    async def be_kubelet(self) -> None:
        """Let each new pod run at once."""
        while True:
            for change in list(self.api.store.since(self._seen)):
                self._seen = change.revision
                if change.old is None and change.new is not None and change.collection == (NAMESPACE, "pods"):
                    self._run(change.new)
            await asyncio.sleep(POLL_EVERY)

    def _run(self, pod: dict[str, Any]) -> None:
        if pod.get("status", {}).get("podIP"):
            return
        name = pod["metadata"]["name"]
        self.api.schedule(name)
        self.api.set_pod_status(name, self._running(pod))

    def _running(self, pod: dict[str, Any]) -> dict[str, Any]:
        number = len(self._kernel_ids) + 257
        address = f"127.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        self._kernel_ids[address] = pod["metadata"]["labels"]["kernel_id"]
        self._context(self._kernel_ids[address])
        began = pod["metadata"]["creationTimestamp"]
        kinds = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
        containers = [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": f"sha256:{'0' * 64}",
                "containerID": f"containerd://{'0' * 64}",
                "ready": True,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": began}},
                "lastState": {},
            }
            for container in pod["spec"]["containers"]
        ]
        return {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "hostIP": "127.0.0.1",
            "startTime": began,
            "qosClass": "Burstable",
            "conditions": [{"type": kind, "status": "True", "lastTransitionTime": began} for kind in kinds],
            "containerStatuses": containers,
        }

    async def clone(self, count: int, owner: str) -> dict[str, Any]:
        """Add `count` running pods like the first one, for another owner, each as large as a real one."""
        first = latest = next(iter(self.api.pods.values()))
        for number in range(count):
            kernel_id = str(uuid.uuid4())
            metadata = first["metadata"]
            record = json.loads(metadata["annotations"][RECORD]) | {"kernel_id": kernel_id, "owner": owner}
            copied = {
                "name": f"{owner}-{kernel_id}",
                "labels": metadata["labels"] | {"kernel_id": kernel_id},
                "annotations": metadata["annotations"] | {RECORD: json.dumps(record)},
                "creationTimestamp": metadata["creationTimestamp"],
                "managedFields": [managed("enterprise-gateway", first["spec"]), managed("kubelet", first["status"])],
            }
            pod = {**first, "metadata": copied}
            latest = self.api.add("pods", pod | {"status": self._running(pod)})
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        return {"pod_bytes": len(msgspec.json.encode(latest)), "pods": len(self.api.pods)}

    async def touch(self, count: int) -> dict[str, Any]:
        """Change the status of `count` pods in a way that means nothing to a gateway, as kubelet does."""
        names = [name for name, pod in self.api.pods.items() if pod["status"].get("podIP")][:count]
        for number, name in enumerate(names):
            self.api.set_pod_status(name, {"observedGeneration": self.api.store.revision})
            if number % AT_ONCE == 0:
                await asyncio.sleep(POLL_EVERY)
        return {"changed": len(names)}

    async def requests(self) -> dict[str, Any]:
        """How many requests have come so far, and how many watches are open."""
        return {"requests": self.api.requests.total(), "watches": self.api.open_watches}

    # Agents.

    async def be_agents(self) -> None:
        """Answer at every pod's address."""
        loop = asyncio.get_running_loop()
        with socket.create_server(("0.0.0.0", AGENT_PORT), backlog=4096, reuse_port=False) as listener:
            listener.setblocking(False)
            async with asyncio.TaskGroup() as group:
                while True:
                    connection, _ = await loop.sock_accept(listener)
                    group.create_task(self._welcome(connection))

    async def _welcome(self, connection: socket.socket) -> None:
        context = self._context(self._kernel_ids.get(connection.getsockname()[0], ""))
        try:
            await asyncio.get_running_loop().connect_accepted_socket(IdleAgent, connection, ssl=context)
        except OSError:  # who called has hung up
            connection.close()

    def _context(self, kernel_id: str) -> ssl.SSLContext:
        """The TLS side of a kernel's agent; making one takes longer than using it, so each is made once."""
        context = self._contexts.get(kernel_id)
        if context is None:
            secrets = self._keys.secrets(self._keys.newest_id, kernel_id)
            identity = self._folder / "identity.pem"
            identity.write_bytes(make_identity(secrets.tls_seed))
            context = self._contexts[kernel_id] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.num_tickets = 0
            context.load_cert_chain(identity)
        return context


class IdleAgent(asyncio.Protocol):
    """Answers every request, whatever it is, with one status."""

    answer = msgspec.json.encode(_STATUS)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n".encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"\r\n\r\n"):
            self._transport.write(self.head + self.answer)


def managed(manager: str, fields: dict[str, Any]) -> dict[str, Any]:
    """What an API server notes about who wrote which field: half of a real pod's size."""

    def names(value: Any) -> dict[str, Any]:
        if isinstance(value, list):
            value = {json.dumps(item)[:60]: item for item in value}
        return {f"f:{key}": names(each) for key, each in value.items()} if isinstance(value, dict) else {}

    return {"manager": manager, "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": names(fields)}


async def serve(folder: Path) -> None:
    """Be the cluster until stdin ends."""
    simulation = Simulation(folder)
    commands: dict[str, Callable[..., Any]] = {
        "clone": simulation.clone,
        "touch": simulation.touch,
        "requests": simulation.requests,
    }
    async with simulation.api as api:
        simulation.add_credentials()
        background = [asyncio.create_task(part) for part in (simulation.be_kubelet(), simulation.be_agents())]
        say(kubeconfig=str(api.kubeconfig(folder)))
        while line := await asyncio.to_thread(sys.stdin.readline):
            name, arguments = json.loads(line)
            say(**await commands[name](**arguments))
        for task in background:
            task.cancel()
        await asyncio.wait(background)


def say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1])))
