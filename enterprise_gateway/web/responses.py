"""Bodies and errors as clients read them; the one table from errors to HTTP statuses."""

from __future__ import annotations

import hashlib
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from enterprise_gateway import errors

T = TypeVar("T")

_STATUS: dict[type[errors.GatewayError], HTTPStatus] = {
    errors.InvalidRequest: HTTPStatus.BAD_REQUEST,
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.LimitReached: HTTPStatus.FORBIDDEN,
    errors.KernelNotFound: HTTPStatus.NOT_FOUND,
    errors.KernelSpecNotFound: HTTPStatus.NOT_FOUND,
    errors.SessionNotFound: HTTPStatus.NOT_FOUND,
    errors.ResourceNotFound: HTTPStatus.NOT_FOUND,
    errors.KernelConflict: HTTPStatus.CONFLICT,
    errors.StartFailed: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.KernelUnresponsive: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.NotReady: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.BackendUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ConfigError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.ProtocolError: HTTPStatus.BAD_REQUEST,
}


def status_of(error: errors.GatewayError) -> HTTPStatus:
    """The status of an error; every type in `errors` has one."""
    return _STATUS[type(error)]


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON body."""
    return web.Response(
        body=msgspec.json.encode(value), status=status, headers=headers, content_type="application/json"
    )


def tagged_response(request: web.Request, value: Any) -> web.Response:
    """A JSON body with its ETag; 304 where the client has it already."""
    body = msgspec.json.encode(value)
    etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    if etag in request.headers.get("If-None-Match", ""):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers={"Etag": etag})
    return web.Response(body=body, headers={"Etag": etag}, content_type="application/json")


def error_response(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """`{"reason", "message"}`, as EG's clients read it."""
    body = {"reason": HTTPStatus(status).phrase, "message": message}
    return json_response(body, status, headers)


def from_error(error: errors.GatewayError) -> web.Response:
    """The response to an error of ours."""
    headers = {}
    if isinstance(error, errors.NotReady | errors.BackendUnavailable):
        headers["Retry-After"] = str(error.retry_after)
    elif isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return error_response(status_of(error), error.message, headers)


async def read_json(request: web.Request, kind: type[T]) -> T:
    """The request's body as `kind`; no body at all counts as `{}`.

    Raises:
        InvalidRequest: names the field that is wrong, or says that it is not JSON.
    """
    body = await request.read() or b"{}"
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise errors.InvalidRequest(_field_error(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise errors.InvalidRequest(f"Invalid JSON in body of request: {error}") from None


def _field_error(text: str) -> str:
    """Msgspec's "Expected `str`, got `int` - at `$.name`" with the field first."""
    problem, _, place = text.partition(" - at `$")
    field = place.rstrip("`").lstrip(".")
    problem = problem.replace("`", "").replace(" | null", "")
    return f"'{field}': {problem[:1].lower()}{problem[1:]}" if field else f"Body of request: {problem}"
