"""Bodies and errors as clients read them; the one table from errors to HTTP statuses."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar

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
    errors.GatewayError: HTTPStatus.INTERNAL_SERVER_ERROR,
}


def status_of(error: errors.GatewayError) -> HTTPStatus:
    """The status of an error; every type in `errors` has one, and what a backend derives from those has its base's."""
    return next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON body."""
    return web.Response(
        body=msgspec.json.encode(value), status=status, headers=headers, content_type="application/json"
    )


class Tagged(NamedTuple):
    """An encoded JSON body and its ETag."""

    body: bytes
    etag: str

    @classmethod
    def of(cls, value: Any) -> Tagged:
        """Encode `value`."""
        body = msgspec.json.encode(value)
        return cls(body, f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"')

    def response(self, request: web.Request) -> web.Response:
        """The body with its ETag; 304 where the client has it already."""
        if self.etag in request.headers.get("If-None-Match", ""):
            return web.Response(status=HTTPStatus.NOT_MODIFIED, headers={"Etag": self.etag})
        return web.Response(body=self.body, headers={"Etag": self.etag}, content_type="application/json")


def tagged_response(request: web.Request, value: Any) -> web.Response:
    """A JSON body with its ETag."""
    return Tagged.of(value).response(request)


class LastAnswers:
    """The last list each principal was sent, so that one that has not changed is not encoded again.

    Lists hold the same objects as long as nothing has changed, which makes the comparison quick.
    """

    LIMIT = 1024
    """Principals; beyond, the one that was first here is forgotten."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[Sequence[Any], Tagged]] = {}

    def response(self, request: web.Request, principal: str, values: Sequence[Any]) -> web.Response:
        """The response with `values`, as `tagged_response` makes it."""
        last = self._last.get(principal)
        if last is None or last[0] != values:
            if len(self._last) >= self.LIMIT:
                del self._last[next(iter(self._last))]
            last = self._last[principal] = (values, Tagged.of(values))
        return last[1].response(request)


def error_response(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """`{"reason", "message"}`, as EG's clients read it."""
    body = {"reason": HTTPStatus(status).phrase, "message": message}
    return json_response(body, status, headers)


def from_error(error: errors.GatewayError) -> web.Response:
    """The response to an error of ours."""
    headers = {}
    if isinstance(error, errors.NotReady | errors.BackendUnavailable | errors.KernelUnresponsive):
        headers["Retry-After"] = str(error.retry_after)
    elif isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return error_response(status_of(error), error.message, headers)


async def read_json(request: web.Request, kind: type[T]) -> T:
    """The request's body as `kind`; no body at all counts as `{}`.

    Raises:
        InvalidRequest: names the field that is wrong, or says that it is not JSON.
    """
    try:
        body = await request.read() or b"{}"
    except web.RequestPayloadError:
        raise errors.InvalidRequest("The body of the request is not encoded as its headers say") from None
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
