"""What every request goes through: identity, origin, errors, CORS, one log line, metrics."""

from __future__ import annotations

import functools
import logging
import re
import time
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware
from multidict import CIMultiDict
from prometheus_client import Counter, Histogram

from enterprise_gateway.errors import GatewayError
from enterprise_gateway.web import metrics
from enterprise_gateway.web.identity import CAPABILITY, PRINCIPAL, Guard, client_address
from enterprise_gateway.web.responses import error_response, from_error

log = logging.getLogger("enterprise_gateway.access")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

PUBLIC = ("/api/swagger.json", "/api/swagger.yaml")
"""Ends of routes that need no credential."""
CLIENT_GONE = 499
"""Counted and logged for a client that did not wait for its answer; nobody receives it. (nginx's number.)"""
_CREDENTIALS = re.compile(r"(?<=/t/)[^/]+|(?<=/spark-ui/)[^/]+")


def make_middleware(guard: Guard, cors: dict[str, str], *, trust_xheaders: bool) -> Middleware:
    """The one middleware; `cors` holds the headers of every response."""
    common = CIMultiDict({"X-Content-Type-Options": "nosniff", **cors})

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.perf_counter()
        try:
            response = await _respond(request, handler, guard)
        except GatewayError as error:
            response = from_error(error)
        if not response.prepared:
            response.headers.update(common)
        seconds = time.perf_counter() - began
        _account(request, response, client_address(request, trust_xheaders=trust_xheaders), seconds)
        return response

    return middleware


async def _respond(request: web.Request, handler: Handler, guard: Guard) -> web.StreamResponse:
    if request.method == "OPTIONS" and CAPABILITY not in request.match_info:
        return web.Response()
    try:
        _admit(request, guard)
        return await handler(request)
    except web.HTTPException as error:
        return _from_aiohttp(request.method, error)
    except GatewayError:
        raise
    except Exception as error:
        if isinstance(error, ConnectionError) and (request.transport is None or request.transport.is_closing()):
            return web.Response(status=CLIENT_GONE, reason="Client Closed Request")
        log.exception("Request failed: %s %s", request.method, _loggable_path(request))
        return error_response(500, "The gateway failed to handle this request; its log has the details")


def _admit(request: web.Request, guard: Guard) -> None:
    """Find the principal behind a request, where its route needs one. Raises as `Guard.admit`."""
    route = _route(request).rstrip("/")
    if request.match_info.http_exception is not None or route.endswith(PUBLIC):
        return
    if CAPABILITY in request.match_info:
        guard.check_connection(request)
    else:
        request[PRINCIPAL] = guard.admit(request)


def _from_aiohttp(method: str, error: web.HTTPException) -> web.Response:
    match error:
        case web.HTTPNotFound():
            return error_response(404, "There is no such resource; the interface is described at /api/swagger.json")
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            message = f"{method} is not possible here; possible are {allowed}"
            return error_response(405, message, {"Allow": allowed})
        case web.HTTPRequestEntityTooLarge():
            return error_response(413, "The request's body is too large; its operator can set EG_MAX_BODY_SIZE")
        case _:
            return error_response(error.status, error.text or error.reason)


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "none"


def _loggable_path(request: web.Request) -> str:
    """The path as it was sent, without a credential in it, whether or not there is such a route."""
    return _CREDENTIALS.sub("********", request.rel_url.raw_path)


def _account(request: web.Request, response: web.StreamResponse, address: str, seconds: float) -> None:
    """Count and log a request; the credential in its path is not written, and its query never is."""
    name = _route(request)
    # A client may make up as many methods as it likes; each would be a time series.
    method = request.method if request.method in hdrs.METH_ALL else "other"
    count, duration = _metrics(name, method, response.status)
    count.inc()
    duration.observe(seconds)
    if not log.isEnabledFor(logging.INFO):
        return
    match = request.match_info
    extra: dict[str, object] = {}
    if "kernel_id" in match:
        extra["kernel_id"] = match["kernel_id"]
    principal = request.get(PRINCIPAL)
    if principal is not None:
        extra["principal"] = principal.name
    log.info(
        "%d %s %s (%s) %.2f ms",
        response.status,
        request.method,
        _loggable_path(request),
        address,
        seconds * 1e3,
        extra=extra,
    )


@functools.cache
def _metrics(route: str, method: str, status: int) -> tuple[Counter, Histogram]:
    return metrics.REQUESTS.labels(route, method, status), metrics.REQUEST_SECONDS.labels(route)
