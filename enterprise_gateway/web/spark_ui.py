"""The Spark UI of a kernel in a browser: HTTP through a tunnel that the kernel's agent opens to the UI's port.

Browsers can send no token, so the address itself is the credential: it holds a capability for this one kernel's UI.
What answers is a process of the kernel's user, and its pages come from the gateway's own origin. So they are
sandboxed: their scripts have an origin of their own, and nothing of the gateway's (docs/adr/0019).
"""

from __future__ import annotations

import asyncio
import hmac
from http import HTTPStatus
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from multidict import CIMultiDict

from enterprise_gateway.core import agents
from enterprise_gateway.core.records import ObservedKernel, Phase
from enterprise_gateway.errors import (
    InvalidRequest,
    KernelNotFound,
    KernelUnresponsive,
    ProtocolError,
    ResourceNotFound,
)
from enterprise_gateway.kernels.reach import Address
from enterprise_gateway.kernels.registry import Registry
from enterprise_gateway.web.dial import Upstream, dial
from enterprise_gateway.web.identity import CAPABILITY, PRINCIPAL
from enterprise_gateway.wire import http1
from enterprise_gateway.wire.http1 import ResponseHead

HEAD_SECONDS = 30.0
"""How long the UI may take to begin an answer."""
SILENCE_SECONDS = 60.0
"""How long it may pause in the middle of one."""
BLOCK = 64 * 1024

_SENT = (hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.ACCEPT_LANGUAGE)
"""Of the browser's headers; no credential is among them."""
_KEPT = (hdrs.CONTENT_TYPE, hdrs.CONTENT_ENCODING, hdrs.CONTENT_DISPOSITION)
"""Of the UI's headers; no cookie and no policy is among them."""
_OWN = {
    # Whoever has the address may read what is there; pages have no origin of which that could be said.
    "Access-Control-Allow-Origin": "*",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "sandbox allow-downloads allow-forms allow-popups allow-scripts",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_PERMITTED = {"Access-Control-Allow-Headers": "X-Requested-With", "Access-Control-Max-Age": "3600"}


class SparkUiRoute:
    """Handles what is below `/api/kernels/{kernel_id}/spark-ui`."""

    def __init__(self, registry: Registry, base_url: str) -> None:
        """`base_url` is the one that browsers see."""
        self._registry = registry
        self._base = base_url.rstrip("/")

    async def show_way(self, request: web.Request) -> web.Response:
        """GET /api/kernels/{id}/spark-ui: on to the address that needs no credential, for who may see the kernel."""
        observed = self._registry.alive(request[PRINCIPAL], request.match_info["kernel_id"])
        location = self._base + self._registry.spark_ui_path(observed.record)
        return web.Response(status=HTTPStatus.FOUND, headers={"Location": location, "Cache-Control": "no-store"})

    async def relay(self, request: web.Request) -> web.StreamResponse:
        """GET /api/kernels/{id}/spark-ui/~{capability}/{path}: what the UI has there."""
        if "token" in request.query:
            raise InvalidRequest("A token is not needed here, and the kernel would see it")
        observed, path = self._opened(request)
        prefix = self._base + path.rstrip("/")
        sent = [(name, request.headers[name]) for name in _SENT if name in request.headers]
        # Spark puts the context in front of its links. HTTP/1.0 has no framing but the length and the end.
        headers = [("Host", "localhost"), ("X-Forwarded-Context", prefix), *sent]
        head = http1.encode_request(request.method, _target(request), headers, "HTTP/1.0")
        upstream = await _tunnel(self._registry.reachable(observed))
        try:
            return await _exchange(request, upstream, head, prefix)
        finally:
            upstream.transport.abort()

    async def permit(self, request: web.Request) -> web.StreamResponse:
        """OPTIONS, which a browser asks before a script of the UI may ask the UI: to it, they are of two origins."""
        response = web.Response(status=HTTPStatus.NO_CONTENT, headers=_OWN | _PERMITTED)
        await response.prepare(request)  # or the operator's word about other pages would be added
        return response

    def _opened(self, request: web.Request) -> tuple[ObservedKernel, str]:
        """The kernel that the address opens, and the path of its UI; a wrong one looks like no kernel at all."""
        kernel_id = request.match_info["kernel_id"]
        observed = self._registry.lookup(kernel_id)
        if observed is None:
            raise KernelNotFound(kernel_id)
        path = self._registry.spark_ui_path(observed.record)
        given = f"/api/kernels/{kernel_id}/spark-ui/~{request.match_info[CAPABILITY]}/"
        if not hmac.compare_digest(path.encode(), given.encode("utf-8", "surrogatepass")):
            raise KernelNotFound(kernel_id)
        if observed.phase is Phase.ENDED:
            raise KernelNotFound(kernel_id, observed.reason)
        return observed, path


def _target(request: web.Request) -> str:
    """What is behind the capability, byte for byte."""
    below = request.rel_url.raw_path.partition("/spark-ui/")[2]
    query = request.rel_url.raw_query_string
    return "/" + below.partition("/")[2] + (f"?{query}" if query else "")


async def _tunnel(address: Address) -> Upstream:
    """Raises ResourceNotFound and KernelUnresponsive, with words for who looks at the page."""
    head = http1.encode_request("GET", agents.SPARK_UI_PATH, [("Host", "agent"), address.authorization])
    upstream = await dial(address, head)
    if upstream.response.status == HTTPStatus.SWITCHING_PROTOCOLS:
        return upstream
    upstream.transport.abort()
    if upstream.response.status == HTTPStatus.SERVICE_UNAVAILABLE:
        raise KernelUnresponsive("Spark is not running in this kernel; a cell that uses it starts it")
    raise ResourceNotFound("This kernel's Spark UI cannot be seen through the gateway: it is not in a pod of its own")


async def _exchange(request: web.Request, upstream: Upstream, head: bytes, prefix: str) -> web.StreamResponse:
    reader = _reader(upstream)
    upstream.transport.write(head)
    try:
        async with asyncio.timeout(HEAD_SECONDS):
            answer = http1.parse_response(await reader.readuntil(b"\r\n\r\n"))
        response = _response(answer, prefix)
    except (OSError, EOFError, asyncio.LimitOverrunError, ProtocolError) as error:
        raise KernelUnresponsive(f"The Spark UI gave no proper answer: {str(error) or 'it took too long'}") from None
    await response.prepare(request)
    if request.method != hdrs.METH_HEAD and answer.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
        try:
            await _copy(reader, response)
        except (OSError, EOFError):  # the client must not take what has come for all
            if request.transport is not None:
                request.transport.abort()
    return response


def _reader(upstream: Upstream) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=http1.MAX_HEAD)
    protocol = asyncio.StreamReaderProtocol(reader)
    upstream.transport.set_protocol(protocol)
    protocol.connection_made(upstream.transport)
    reader.feed_data(upstream.rest)
    upstream.transport.resume_reading()
    return reader


def _response(answer: ResponseHead, prefix: str) -> web.StreamResponse:
    if answer.status < HTTPStatus.OK:
        raise ProtocolError(f"its status is {answer.status}")
    headers = CIMultiDict({name: value for name in _KEPT if (value := answer.get(name)) is not None} | _OWN)
    location = answer.get(hdrs.LOCATION)
    if location is not None:
        headers[hdrs.LOCATION] = _below(prefix, location)
    response = web.StreamResponse(status=answer.status, headers=headers)
    length = http1.content_length(answer)
    if answer.get(hdrs.CONTENT_LENGTH) is not None:
        response.content_length = length
    return response


def _below(prefix: str, location: str) -> str:
    """A redirect of the UI's, which stays in the UI, wherever it wants to go."""
    try:
        _, _, path, query, _ = urlsplit(location)
    except ValueError:
        raise ProtocolError("its redirect has no address") from None
    path = "/" + path.removeprefix(prefix).lstrip("/")
    return prefix + path + (f"?{query}" if query else "")


async def _copy(reader: asyncio.StreamReader, response: web.StreamResponse) -> None:
    """Pass the body on, as fast as the browser takes it.

    Raises:
        EOFError, OSError: it is not complete, or the browser is gone.
    """
    left = response.content_length
    while left != 0:
        async with asyncio.timeout(SILENCE_SECONDS):
            data = await reader.read(BLOCK if left is None else min(BLOCK, left))
        if not data:
            if left is not None:
                raise EOFError
            return
        await response.write(data)
        left = None if left is None else left - len(data)
