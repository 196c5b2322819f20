"""A Kubernetes API server over plain HTTP that does what a test tells it, faults included.

Knows namespaced collections of any resource (pods, secrets, events…) of any group, with lists in pages, watches with
bookmarks, conflicts, preconditions, graceful deletion and garbage collection; it schedules and runs nothing: the
test sets what a scheduler, a kubelet and an autoscaler would say. Same event loop as the test.

    async with FakeApi() as fake:
        api = fake.connect(tmp_path)
        fake.faults.fail("create", "pods", 403, "Forbidden", "exceeded quota: kernels")
        ...
        fake.set_pod_status("kernel-1", {"phase": "Running"})
        await fake.until(lambda: "kernel-1" not in fake.pods)
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import msgspec
from fakes.api_faults import Fault, Faults
from fakes.api_http import LAST_CHUNK, WATCH_HEAD, Request, answer_head, event_chunk, read_request, status
from fakes.api_store import Change, Collection, Object, Refusal, Snapshot, Store, matches

from enterprise_gateway.backends.kubernetes.api import KubernetesApi, Timeouts

PATIENCE = 10.0
"""Seconds `until` waits before it says that the test has failed."""
KINDS = {"pods": "Pod", "secrets": "Secret", "events": "Event"}


@dataclass(eq=False)
class _Watch:
    """One open watch."""

    collection: Collection
    query: dict[str, str]
    revision: int
    news: asyncio.Event = field(default_factory=asyncio.Event)
    lines: list[Object] = field(default_factory=list)
    """To be sent; an empty one breaks the connection."""
    closed: bool = False


class _HangUp(Exception):
    """Close the connection now."""


class FakeApi:
    """The server; enter it to start it."""

    def __init__(self, namespace: str = "kernels") -> None:
        self.namespace = namespace
        self.store = Store()
        self.faults = Faults()
        self.token = "a-token"
        """What requests must bear; a test may change it."""
        self.requests: Counter[tuple[str, str]] = Counter()
        """How often each (verb, resource) was asked: ("create", "pods")."""
        self.queries: dict[str, dict[str, str]] = {}
        """By verb, what the last request of it asked for beside its path."""
        self.logs: dict[str, str] = {}
        """By pod name, what its log request answers."""
        self.silent = False
        """Whether watches stay open and tell nothing."""
        self.repeats_events = False
        """Whether each event is sent twice."""
        self.port = 0
        self._stale: Snapshot | None = None
        self._continues: dict[str, list[Object]] = {}
        self._watches: set[_Watch] = set()
        self._connections: dict[asyncio.StreamWriter, asyncio.Task[Any]] = {}
        self._server: asyncio.Server | None = None
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()

    # Clients

    @property
    def server(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kubeconfig(self, folder: Path) -> Path:
        """Write a kubeconfig whose user bears the token in `folder/token`, as a service account does."""
        (folder / "token").write_text(self.token)
        config = {
            "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": self.server}}],
            "users": [{"name": "fake", "user": {"tokenFile": str(folder / "token")}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake", "namespace": self.namespace}}],
        }
        path = folder / "kubeconfig"
        path.write_text(json.dumps(config))
        return path

    def connect(self, folder: Path, timeouts: Timeouts | None = None) -> KubernetesApi:
        """A client for this server; whoever asks for it closes it."""
        return KubernetesApi.connect(self.kubeconfig(folder), timeouts)

    # State

    @property
    def pods(self) -> Mapping[str, Object]:
        return self.objects("pods")

    @property
    def secrets(self) -> Mapping[str, Object]:
        return self.objects("secrets")

    def objects(self, resource: str) -> Mapping[str, Object]:
        """The objects of the namespace by name, a live view; each is replaced when it changes, never modified."""
        return MappingProxyType(self.store.collection((self.namespace, resource)))

    def add(self, resource: str, each: Object) -> Object:
        return self._changed(self.store.create((self.namespace, resource), each))

    def patch(self, resource: str, name: str, patch: Object) -> Object:
        return self._changed(self.store.merge((self.namespace, resource), name, patch))

    def remove(self, resource: str, name: str) -> None:
        """Remove at once: what a node does at the end of a graceful deletion, or a drain, or a human."""
        self._changed(self.store.remove((self.namespace, resource), name))

    def set_pod_status(self, name: str, status: Object) -> None:
        """Merge into a pod's status, as its node would."""
        self.patch("pods", name, {"status": status})

    def schedule(self, name: str, node: str = "node1") -> None:
        """Put a pod on a node: from now on its deletion takes until `remove`."""
        self.patch("pods", name, {"spec": {"nodeName": node}})

    def add_event(self, pod: str, reason: str, message: str, kind: str = "Normal") -> None:
        """Something happened to a pod."""
        about = self.pods[pod]["metadata"]
        reference = {"kind": "Pod", "name": pod, "uid": about["uid"], "namespace": self.namespace}
        now = about["creationTimestamp"]
        said = {"reason": reason, "message": message, "type": kind, "firstTimestamp": now, "lastTimestamp": now}
        self.add("events", {"metadata": {"generateName": f"{pod}."}, "involvedObject": reference, **said})

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something that requests or changes bring about."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._news.clear()
                await self._news.wait()

    @property
    def open_watches(self) -> int:
        return len(self._watches)

    # Faults

    async def refuse(self) -> None:
        """Die: connections end, new ones are refused. State stays."""
        if self._server is not None:
            self._server.close()
            self._server = None
        tasks = list(self._connections.values())
        for writer, task in list(self._connections.items()):
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def accept(self) -> None:
        """Listen, on the same port as before; a server that listens goes on."""
        if self._server is not None:
            return
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=2**20, backlog=1000)
        self.port = self._server.sockets[0].getsockname()[1]

    def freeze_lists(self) -> None:
        """From now on lists tell the state of this moment, as a replica would that lags."""
        self._stale = self.store.snapshot()

    def thaw_lists(self) -> None:
        self._stale = None

    def forget_continues(self) -> None:
        """Lists that are being read in pages cannot be read on (410)."""
        self._continues.clear()

    def close_watches(self) -> None:
        """End every watch in good order, as their time limit does."""
        for watch in self._watches:
            watch.closed = True
        self._wake()

    def abort_watches(self) -> None:
        """Break the connection of every watch; the others stay."""
        self.send_event({})

    def send_event(self, event: Object) -> None:
        """Tell every watch this, whatever it is; an ERROR ends them."""
        for watch in self._watches:
            self._collect(watch)
            watch.lines.append(event)
        self._wake()

    def send_error(self, code: int, reason: str, message: str) -> None:
        """Tell every watch of an error."""
        self.send_event({"type": "ERROR", "object": status(Refusal(code, reason, message))})

    def bookmark(self) -> None:
        """Tell every watch how far it has come, in an object as empty as a real API server's."""
        metadata = {"resourceVersion": str(self.store.revision), "creationTimestamp": None}
        self.send_event({"type": "BOOKMARK", "object": {"metadata": metadata, "spec": {"containers": None}}})

    def wake_watches(self) -> None:
        """After `silent` was reset: tell what was kept back."""
        self._wake()

    # HTTP

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None:  # accepted in the moment of a refusal
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._connections[writer] = task
        try:
            while await self._respond(await read_request(reader), reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, _HangUp):
            writer.transport.abort()
        finally:
            del self._connections[writer]
            writer.close()

    async def _respond(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection may serve another request."""
        fault = Fault("", "", 0)
        try:
            resource = self._admit(request)
            fault = self.faults.take(request.verb, resource)
            if fault.lost:
                raise _HangUp
            if fault.refusal is not None:
                raise fault.refusal
            if request.verb == "watch":
                await self._watch(request, reader, writer)
                return False
            code, answer = self._answer(request)
        except Refusal as refusal:
            code, answer = refusal.code, msgspec.json.encode(status(refusal))
        if fault.gate is not None:
            fault.gate.reached.set()
            await fault.gate.open.wait()
        if fault.garbage is not None:
            answer = fault.garbage
        sent = answer[: len(answer) // 2] if fault.cut else answer
        writer.write(answer_head(code, len(answer), fault.retry_after) + sent)
        await writer.drain()
        return not fault.cut

    def _admit(self, request: Request) -> str:
        """The resource asked for."""
        (_, resource), _, _ = request.parts
        self.requests[request.verb, resource] += 1
        self.queries[request.verb] = request.query
        self._news.set()
        if request.headers.get("authorization") != f"Bearer {self.token}":
            raise Refusal(401, "Unauthorized", "Unauthorized")
        return resource

    def _answer(self, request: Request) -> tuple[int, bytes]:
        of, name, _ = request.parts
        body: Object = msgspec.json.decode(request.body) if request.body else {}
        match request.verb:
            case "list":
                return 200, msgspec.json.encode(self._list(of, request.query))
            case "get":
                return 200, msgspec.json.encode(self.store.get(of, name))
            case "log":
                self.store.get(of, name)
                return 200, self.logs.get(name, "").encode()
            case "create":
                return 201, msgspec.json.encode(self._changed(self.store.create(of, body)))
            case "patch":
                if request.headers.get("content-type") != "application/merge-patch+json":
                    raise Refusal(415, "UnsupportedMediaType", "only merge patches")
                return 200, msgspec.json.encode(self._changed(self.store.merge(of, name, body)))
            case "delete":
                return 200, msgspec.json.encode(self._changed(self.store.delete(of, name, body)))
        raise Refusal(404, "NotFound", "the server could not find the requested resource")

    def _list(self, of: Collection, query: Mapping[str, str]) -> Object:
        if "continue" in query:
            found = self._continues.get(query["continue"])
            if found is None:
                raise Refusal(410, "Expired", "The provided continue parameter is too old")
            revision = query["continue"].partition("-")[0]
        else:
            state = self._stale or Snapshot(self.store.revision, self.store.objects)
            found = [each for _, each in sorted(state.objects.get(of, {}).items()) if matches(query, each)]
            revision = str(state.revision)
        metadata = {"resourceVersion": revision}
        limit = int(query.get("limit", 0)) or len(found)
        if found[limit:]:
            metadata["continue"] = f"{revision}-{'-'.join(of)}-{self.requests['list', of[1]]}"
            self._continues[metadata["continue"]] = found[limit:]
        return {
            "kind": KINDS.get(of[1], "Object") + "List",
            "apiVersion": "v1",
            "metadata": metadata,
            "items": found[:limit],
        }

    # Watches

    async def _watch(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        of, _, _ = request.parts
        watch = _Watch(of, request.query, int(request.query.get("resourceVersion", self.store.revision)))
        writer.write(WATCH_HEAD)
        if watch.revision < self.store.compacted:
            watch.lines.append({"type": "ERROR", "object": status(Refusal(410, "Expired", "too old resource version"))})
        self._watches.add(watch)
        self._news.set()
        gone = asyncio.ensure_future(reader.read(1))
        gone.add_done_callback(lambda _: watch.news.set())
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(float(request.query.get("timeoutSeconds", 300))):
                    await self._tell(watch, writer, gone)
            writer.write(LAST_CHUNK)
        finally:
            self._watches.discard(watch)
            self._news.set()
            gone.cancel()

    async def _tell(self, watch: _Watch, writer: asyncio.StreamWriter, gone: asyncio.Future[bytes]) -> None:
        while not watch.closed and not gone.done():
            watch.news.clear()
            self._collect(watch)
            if not self.silent:
                for event in watch.lines:
                    if not event:
                        raise _HangUp
                    writer.write(event_chunk(event))
                    watch.closed |= event["type"] == "ERROR"
                watch.lines.clear()
            await writer.drain()
            if not watch.closed:
                await watch.news.wait()

    def _collect(self, watch: _Watch) -> None:
        """Queue the changes that a watch has not been told of yet."""
        for change in self.store.since(watch.revision):
            watch.revision = change.revision
            if (event := _seen(watch, change)) is not None:
                watch.lines += [event] * (2 if self.repeats_events else 1)

    def _changed(self, each: Object) -> Object:
        self._wake()
        return each

    def _wake(self) -> None:
        self._news.set()
        for watch in self._watches:
            watch.news.set()


def _seen(watch: _Watch, change: Change) -> Object | None:
    """What a watch tells of a change: an object that no longer matches is deleted for it."""
    if change.collection != watch.collection:
        return None
    before, after = matches(watch.query, change.old), matches(watch.query, change.new)
    if after:
        return {"type": "MODIFIED" if before else "ADDED", "object": change.new}
    if not before:
        return None
    last = change.old if change.new is None else change.new
    return {"type": "DELETED", "object": last}
