"""Pods with a kernel and nobody who looks after it: the floor of everything in a cluster.

A bare pod has the same two images as a kernel's, and its connection file comes from a Secret. Its kernel listens on the
pod's address, so that it can be asked over ZMQ from the node. The other container only tells that address, sooner than
the cluster does, and sleeps. Blocking; several pods at once share an event loop, which only waits.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import zmq
import zmq.asyncio

from benchmarks.client import messages
from benchmarks.client.starts import CODE
from enterprise_gateway.backends.kubernetes.api import KubernetesApi

KERNEL_IMAGE = "localhost/kernel-py:dev"
GATEWAY_IMAGE = "localhost/enterprise-gateway:dev"
NULL_KERNEL_CONFIG_MAP = "bench-null-kernel"
NULL_KERNEL_FOLDER = "/opt/bench"
CONNECTION_FOLDER = "/etc/bench"
CONNECTION_FILE = f"{CONNECTION_FOLDER}/connection.json"
SELECTOR = "component=bench-bare"
PORTS = {"shell_port": 52001, "iopub_port": 52002, "stdin_port": 52003, "control_port": 52004, "hb_port": 52005}
START_DEADLINE = 120
GONE_POLL = 0.2
RECONNECT_MS = 10
"""As the other floors have it: what comes back every 100 ms would be seen in the time of a start."""

NULL_KERNEL_VOLUME = {"name": NULL_KERNEL_CONFIG_MAP, "configMap": {"name": NULL_KERNEL_CONFIG_MAP}}
NULL_KERNEL_MOUNT = {"name": NULL_KERNEL_CONFIG_MAP, "mountPath": NULL_KERNEL_FOLDER, "readOnly": True}

_TELL = 'exec 3<>"/dev/tcp/$HOME_HOST/$HOME_PORT"; echo "$POD_NAME $POD_IP" >&3; exec sleep infinity'


class Started(NamedTuple):
    """Seconds from the first request until the last of the pods answered; one connection file for each pod."""

    heartbeat: float
    result: float
    connection_files: list[Path]


class _Nothing(msgspec.Struct):
    """Any object, of which nothing is read."""


class BarePods:
    """The bare pods of a namespace; `host` is this machine's address as pods see it."""

    def __init__(self, kubeconfig: Path, namespace: str, host: str, folder: Path) -> None:
        self._kubeconfig = kubeconfig
        self._path = f"/api/v1/namespaces/{namespace}"
        self._host = host
        self._folder = folder

    def start(self, argv: Sequence[str], count: int = 1) -> Started:
        """Start `count` pods at once and wait for a heartbeat and then a first result of each."""
        return asyncio.run(self._start(argv, count))

    def delete(self, started: Started) -> None:
        """Delete pods and wait until nothing of them runs."""
        asyncio.run(self._delete({file.stem for file in started.connection_files}))

    async def _start(self, argv: Sequence[str], count: int) -> Started:
        api = KubernetesApi.connect(self._kubeconfig)
        context = zmq.asyncio.Context()
        hellos: dict[str, asyncio.Future[str]] = {}
        server = await asyncio.start_server(lambda reader, writer: _hear(hellos, reader, writer), self._host, 0)
        home = self._host, server.sockets[0].getsockname()[1]
        names = [f"bare-{secrets.token_hex(4)}" for _ in range(count)]
        hellos.update((name, asyncio.get_running_loop().create_future()) for name in names)
        try:
            await self._names(api)  # makes the connection
            begin = time.perf_counter()
            async with asyncio.timeout(START_DEADLINE), asyncio.TaskGroup() as group:
                each = [
                    group.create_task(self._start_one(api, context, name, argv, home, hellos[name])) for name in names
                ]
            answered = [task.result() for task in each]
        finally:
            server.close()
            context.destroy(linger=0)
            await api.close()
        heartbeats, results, files = zip(*answered, strict=True)
        return Started(max(heartbeats) - begin, max(results) - begin, list(files))

    async def _start_one(
        self,
        api: KubernetesApi,
        context: zmq.asyncio.Context,
        name: str,
        argv: Sequence[str],
        home: tuple[str, int],
        hello: asyncio.Future[str],
    ) -> tuple[float, float, Path]:
        """When the heartbeat and when the first result came; the connection file for this side."""
        key = secrets.token_hex(32)
        connection = {"transport": "tcp", "signature_scheme": "hmac-sha256", "key": key, **PORTS}
        await api.create(f"{self._path}/secrets", secret(name, connection | {"ip": "0.0.0.0"}), _Nothing)
        await api.create(f"{self._path}/pods", pod(name, argv, home), _Nothing)
        address = await hello
        await _beat(context, f"tcp://{address}:{PORTS['hb_port']}")
        beaten = time.perf_counter()
        await _first_result(context, f"tcp://{address}:{PORTS['shell_port']}", key.encode())
        replied = time.perf_counter()
        file = self._folder / f"{name}.json"
        file.write_text(json.dumps(connection | {"ip": address}))
        return beaten, replied, file

    async def _delete(self, names: set[str]) -> None:
        api = KubernetesApi.connect(self._kubeconfig)
        try:
            for name in names:
                await api.delete(f"{self._path}/pods/{name}")
                await api.delete(f"{self._path}/secrets/{name}")
            while names & await self._names(api):  # noqa: ASYNC110 - only asking tells
                await asyncio.sleep(GONE_POLL)
        finally:
            await api.close()

    async def _names(self, api: KubernetesApi) -> set[str]:
        pods, _ = await api.list(f"{self._path}/pods", _Named, {"labelSelector": SELECTOR})
        return {pod.metadata.name for pod in pods}


class _Metadata(msgspec.Struct):
    name: str


class _Named(msgspec.Struct):
    metadata: _Metadata


async def _hear(
    hellos: dict[str, asyncio.Future[str]], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    with suppress(OSError, ValueError):
        name, address = (await reader.readline()).decode().split()
        if name in hellos and not hellos[name].done():
            hellos[name].set_result(address)
    # Its peer keeps the connection for as long as it sleeps.
    writer.close()


async def _beat(context: zmq.asyncio.Context, address: str) -> None:
    """Wait until a heartbeat comes back."""
    with context.socket(zmq.REQ) as socket:
        socket.reconnect_ivl = RECONNECT_MS
        socket.connect(address)
        await socket.send(b"ping")
        await socket.recv()


async def _first_result(context: zmq.asyncio.Context, address: str, key: bytes) -> None:
    """Ask at once, whatever state the kernel is in; return with the reply."""
    with context.socket(zmq.DEALER) as socket:
        socket.reconnect_ivl = RECONNECT_MS
        socket.connect(address)
        content = {"code": CODE, "silent": False, "store_history": False, "user_expressions": {}}
        header = messages.new_header("execute_request", "bench")
        await socket.send_multipart(messages.encode_zmq(key, header, {**content, "allow_stdin": False}))
        while messages.decode_zmq(key, "shell", await socket.recv_multipart()).msg_type != "execute_reply":
            pass


def secret(name: str, connection: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": {"component": "bench-bare"}},
        "immutable": True,
        "stringData": {"connection.json": json.dumps(connection)},
    }


def pod(name: str, argv: Sequence[str], home: tuple[str, int]) -> dict[str, Any]:
    """Two parallel containers under Pod Security `restricted`, as a kernel's pod has them."""
    confined = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    told: dict[str, dict[str, Any]] = {
        "POD_NAME": {"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        "POD_IP": {"valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        "HOME_HOST": {"value": home[0]},
        "HOME_PORT": {"value": str(home[1])},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"component": "bench-bare"}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "runAsGroup": 100,
                "fsGroup": 100,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "kernel",
                    "image": KERNEL_IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "command": [part.replace("{connection_file}", CONNECTION_FILE) for part in argv],
                    "securityContext": confined,
                    "volumeMounts": [
                        {"name": "connection", "mountPath": CONNECTION_FOLDER, "readOnly": True},
                        NULL_KERNEL_MOUNT,
                    ],
                },
                {
                    "name": "other",
                    "image": GATEWAY_IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["bash", "-c", _TELL],
                    "env": [{"name": name, **where} for name, where in told.items()],
                    "securityContext": confined,
                },
            ],
            "volumes": [{"name": "connection", "secret": {"secretName": name}}, NULL_KERNEL_VOLUME],
        },
    }
