"""Requests to the Kubernetes API server: one thin layer over HTTP that knows verbs, errors and patience.

Addresses and credentials are lightkube's: kubeconfig files, service account tokens (read again when the API server no
longer accepts them), client certificates, exec plugins. lightkube reads `KUBECONFIG` and `KUBERNETES_SERVICE_HOST` from
the environment by itself. Its own client is not used: it cannot send preconditions with a delete, decodes whole
objects, and knows neither 429 nor patience. What a pod is, and what its fields mean, is not known here.

One event loop; any number of calls at once. A call may be cancelled at any time.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import msgspec
import yaml
from lightkube.config.client_adapter import ConnectionParams
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.config.models import User
from lightkube.core.exceptions import ConfigError as LightkubeConfigError

from enterprise_gateway.backends.kubernetes.answers import (
    ApiError,
    ApiUnavailable,
    Bookmark,
    Expired,
    WatchEvent,
    decode,
    decode_page,
    failure,
    watch_event,
)
from enterprise_gateway.backends.kubernetes.objects import Status
from enterprise_gateway.errors import ConfigError

T = TypeVar("T")

PAGE = 500
"""Objects per page of a list; kubectl's number."""
WATCH_SECONDS = (270, 330)
"""How long a watch lasts before the API server ends it: long, but never the same for all replicas."""
BUSY_TRIES = 4
BUSY_WAIT = 5.0
"""Seconds to wait at most when the API server is busy (429) and says when to come back."""
LIMITS = httpx2.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=60)
"""The API server itself closes what was idle for 90 s."""
KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""Ends a watch 30 s after its peer has vanished without a word. By name: not every platform has all three."""

_NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)
_UNUSABLE = (LightkubeConfigError, AttributeError, LookupError, OSError, TypeError, ValueError, yaml.YAMLError)
"""What lightkube raises for configurations that are missing, broken, or YAML of another kind."""
_STALE = (httpx2.ReadError, httpx2.WriteError, httpx2.CloseError, httpx2.RemoteProtocolError)
"""What a request meets on a kept-alive connection that the other side was closing."""


@dataclass(frozen=True)
class Timeouts:
    """Seconds."""

    connect: float = 5.0
    step: float = 10.0
    """For one read or write of a request."""
    call: float = 30.0
    """For a whole request, with its retries and the waits the API server asked for."""
    silence: float = 90.0
    """Without a byte, after which a watch is taken for dead: the API server sends a bookmark about once a minute."""


class KubernetesApi:
    """The API server as one user sees it.

    Paths are the API's own (`/api/v1/namespaces/default/pods/x`), kinds the structs to read answers into. Every call
    raises `ApiError` when the API server refuses and `ApiUnavailable` when it cannot be asked; neither ever holds a
    credential.
    """

    def __init__(self, client: httpx2.AsyncClient, namespace: str, timeouts: Timeouts) -> None:
        self._client = client
        self._timeouts = timeouts
        self.namespace = namespace
        """The namespace of the kubeconfig's context or of the service account."""

    @classmethod
    def connect(cls, kubeconfig: Path | None = None, timeouts: Timeouts | None = None) -> KubernetesApi:
        """A client for the cluster of a kubeconfig file's current context; no request is made yet.

        Without a file: the service account of the pod this runs in, else the file that `KUBECONFIG` names, else
        `~/.kube/config`.

        Raises:
            ConfigError: there is no usable configuration.
        """
        timeouts = timeouts or Timeouts()
        limit = httpx2.Timeout(timeouts.step, connect=timeouts.connect)
        try:
            configs = KubeConfig.from_file(kubeconfig) if kubeconfig else KubeConfig.from_env()
            config = configs.get()
            assert config is not None  # noqa: S101 - `get` answers None only when that is the default it was given
            parameters = ConnectionParams(timeout=limit).httpx_params(_with_user(config))
        except _UNUSABLE as error:
            # Only the error's type: a YAML parser quotes the lines around a mistake, and those may hold a token.
            where = f"The kubeconfig file {kubeconfig}" if kubeconfig else "The Kubernetes configuration"
            raise ConfigError(f"{where} cannot be used ({type(error).__name__})") from None
        # Lists are compressed by the API server unless told otherwise; inside a cluster that costs more than it saves.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "enterprise-gateway"}
        client = httpx2.AsyncClient(**parameters, limits=LIMITS, headers=headers)
        return cls(client, config.namespace.strip(), timeouts)

    @property
    def server(self) -> str:
        """The API server's base URL."""
        return str(self._client.base_url).rstrip("/")

    async def get(self, path: str, kind: type[T], query: Mapping[str, str] | None = None) -> T:
        """Read one object."""
        return decode(await self._call("GET", path, query), kind)

    async def text(self, path: str, query: Mapping[str, str] | None = None) -> str:
        """Read what is not JSON: a container's log. Bytes that are not UTF-8 are replaced."""
        return (await self._call("GET", path, query)).decode(errors="replace")

    async def create(self, path: str, body: Mapping[str, Any], kind: type[T]) -> T:
        """Create an object in the collection `path`; asked once, unless the API server was too busy to look at it.

        Raises:
            ApiError: 409 AlreadyExists among others.
            ApiUnavailable: `maybe_done` tells whether the object may exist.
        """
        return decode(await self._call("POST", path, body=body), kind, maybe_done=True)

    async def patch(self, path: str, body: Mapping[str, Any], kind: type[T]) -> T:
        """Merge `body` into an object (RFC 7386); with a `metadata.resourceVersion` that is not the newest: 409."""
        return decode(await self._call("PATCH", path, body=body), kind)

    async def delete(self, path: str, *, uid: str = "", grace: int | None = None) -> None:
        """Delete an object; one that is gone, or whose name another uid has by now, is no error.

        Args:
            path: the object.
            uid: delete this object and no other of the same name.
            grace: seconds; None leaves it to the object, 0 removes a pod without waiting for its node.
        """
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        try:
            answer = await self._call("DELETE", path, body=options)
        except ApiError as error:
            if error.status == 404 or (error.status == 409 and uid):
                return
            raise
        # The answer is the object or a Status; a proxy's page would be neither.
        decode(answer, Status)

    async def list(self, path: str, kind: type[T], query: Mapping[str, str] | None = None) -> tuple[list[T], str]:
        """Read a whole collection, as it is now, and its resource version, from which a watch may go on."""
        found: list[T] = []
        page_query = {**(query or {}), "limit": str(PAGE)}
        while True:
            try:
                page = decode_page(await self._call("GET", path, page_query), kind)
            except Expired:
                if "continue" not in page_query:
                    raise
                # The next page belongs to a history that is gone by now; a list without pages cannot expire.
                found, page_query = [], dict(query or {})
                continue
            found += page.items
            if not page.continue_:
                return found, page.resource_version
            page_query["continue"] = page.continue_

    @asynccontextmanager
    async def watch(
        self, path: str, kind: type[T], query: Mapping[str, str] | None, resource_version: str
    ) -> AsyncIterator[AsyncIterator[WatchEvent[T] | Bookmark]]:
        """Follow a collection: once entered, the API server has accepted.

        The events end when the API server ends the watch, the connection breaks, or there is silence; go on
        from the last event's resource version.

        Raises:
            Expired: on entering or while reading: that version is too old.
        """
        seconds = random.randint(*WATCH_SECONDS)  # noqa: S311 - spreads load
        params = {**(query or {}), "watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        params["resourceVersion"] = resource_version
        limits = self._timeouts
        limit = httpx2.Timeout(limits.step, connect=limits.connect, read=limits.silence)
        response = await self._open(self._client.build_request("GET", path, params=params, timeout=limit))
        try:
            _notice_a_vanished_peer(response)
            async with aclosing(_events(response, msgspec.json.Decoder(kind))) as events:
                yield events
        finally:
            await response.aclose()

    async def close(self) -> None:
        """Close every connection; calls that are under way fail."""
        await self._client.aclose()

    async def _call(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None
    ) -> bytes:
        content, headers = None, None
        if body is not None:
            media = "application/merge-patch+json" if method == "PATCH" else "application/json"
            content, headers = msgspec.json.encode(body), {"Content-Type": media}
        request = self._client.build_request(method, path, params=query, content=content, headers=headers)
        with _explained(method):
            async with asyncio.timeout(self._timeouts.call):
                response = await self._send_patiently(request)
        if not response.is_success:
            raise failure(response.status_code, response.content, method)
        return response.content

    async def _open(self, request: httpx2.Request) -> httpx2.Response:
        """Send, and leave the answer's body to be read, unless it is an error's."""
        with _explained(request.method):
            async with asyncio.timeout(self._timeouts.call):
                response = await self._client.send(request, stream=True)
                if response.is_success:
                    return response
                await response.aread()
        raise failure(response.status_code, response.content, request.method)

    async def _send_patiently(self, request: httpx2.Request) -> httpx2.Response:
        """Send, and again while the API server is too busy to look at it (429): then it has done nothing."""
        for _ in range(BUSY_TRIES):
            response = await self._send(request)
            wait = _retry_after(response)
            if response.status_code != 429 or wait > BUSY_WAIT:
                return response
            await asyncio.sleep(wait * random.uniform(1, 1.2))  # noqa: S311 - spreads load
        return await self._send(request)

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        try:
            return await self._client.send(request)
        except _STALE:
            if request.method == "POST":
                raise
            return await self._client.send(request)


def _with_user(config: SingleConfig) -> SingleConfig:
    """A context may name no user (`kubectl proxy`), which lightkube does not expect."""
    return config if config.user is not None else config._replace(user=User())


@contextmanager
def _explained(method: str) -> Iterator[None]:
    """Errors of the transport in our words; the transport's own stay behind as the cause."""
    try:
        yield
    except _NEVER_SENT as error:
        raise ApiUnavailable("cannot be reached") from error
    except (TimeoutError, httpx2.TimeoutException) as error:
        raise ApiUnavailable("does not answer in time", maybe_done=method == "POST") from error
    except httpx2.RequestError as error:
        raise ApiUnavailable("broke the connection", maybe_done=method == "POST") from error
    except (LightkubeConfigError, OSError, LookupError, ValueError) as error:
        # A token file or an exec plugin; what it says may hold what it printed.
        raise ApiUnavailable(f"was not asked: the credentials cannot be read ({type(error).__name__})") from None


def _retry_after(response: httpx2.Response) -> float:
    """Seconds; one when the API server does not say."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else 1.0


def _notice_a_vanished_peer(response: httpx2.Response) -> None:
    connection = response.extensions["network_stream"].get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if (option := getattr(socket, name, None)) is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


async def _events(
    response: httpx2.Response, decoder: msgspec.json.Decoder[T]
) -> AsyncGenerator[WatchEvent[T] | Bookmark]:
    """One event for each whole line; ends with the connection, however that ends."""
    rest = b""
    try:
        async for chunk in response.aiter_raw():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield watch_event(line, decoder)
    except httpx2.TransportError:
        return
