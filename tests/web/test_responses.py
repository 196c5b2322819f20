"""Errors as clients get them: one status each, one shape, and the headers that tell a client what to do next."""

from __future__ import annotations

import inspect

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from enterprise_gateway import errors
from enterprise_gateway.web.responses import from_error, json_response, status_of, tagged_response

TYPES = [
    each
    for _, each in inspect.getmembers(errors, inspect.isclass)
    if issubclass(each, errors.GatewayError) and each is not errors.GatewayError
]
RETRIED = (errors.NotReady, errors.BackendUnavailable, errors.KernelUnresponsive)


def make(kind: type[errors.GatewayError]) -> errors.GatewayError:
    return kind("some words")


@pytest.mark.parametrize("kind", TYPES)
def test_every_error_has_a_status_and_one_shape(kind: type[errors.GatewayError]) -> None:
    answer = from_error(make(kind))
    assert answer.status == status_of(make(kind)) >= 400
    body = msgspec.json.decode(answer.body)
    assert body.keys() == {"reason", "message"}
    assert body["message"].endswith("some words")


@pytest.mark.parametrize("kind", [each for each in TYPES if each is not errors.KernelNotFound])
def test_every_error_has_words_of_its_own(kind: type[errors.GatewayError]) -> None:
    assert kind().message not in {"", errors.GatewayError().message}


@pytest.mark.parametrize("kind", TYPES)
def test_a_client_is_told_when_to_ask_again_where_asking_again_helps(kind: type[errors.GatewayError]) -> None:
    retry_after = from_error(make(kind)).headers.get("Retry-After")
    assert (retry_after is not None) == issubclass(kind, RETRIED)
    if retry_after is not None:
        assert status_of(make(kind)) == 503
        assert int(retry_after) > 0


def test_an_unauthenticated_client_is_told_how_to_authenticate() -> None:
    assert from_error(errors.Unauthenticated()).headers["WWW-Authenticate"] == "Bearer"


def test_a_kernel_that_ended_says_why_in_its_404() -> None:
    body = msgspec.json.decode(from_error(errors.KernelNotFound("an-id", "it was culled")).body)
    assert body == {"reason": "Not Found", "message": "Kernel does not exist: an-id (it was culled)"}


def ask(etag: str | None = None) -> web.Request:
    return make_mocked_request("GET", "/", headers={} if etag is None else {"If-None-Match": etag})


def test_a_tag_changes_with_the_body_and_with_nothing_else() -> None:
    first, same, other = (tagged_response(ask(), value) for value in ([1], [1], [2]))
    assert first.headers["Etag"] == same.headers["Etag"] != other.headers["Etag"]


@pytest.mark.parametrize("form", ["{}", "W/{}", '"0", {}'])
def test_a_known_body_is_not_sent_again(form: str) -> None:
    etag = tagged_response(ask(), [1]).headers["Etag"]
    again = tagged_response(ask(form.format(etag)), [1])
    assert (again.status, again.body) == (304, None)


def test_a_changed_body_is_sent() -> None:
    etag = tagged_response(ask(), [1]).headers["Etag"]
    assert tagged_response(ask(etag), [2]).body == b"[2]"


def test_json_is_labelled_as_such() -> None:
    assert json_response({}).headers["Content-Type"].startswith("application/json")


def test_what_a_backend_derives_from_an_error_has_that_errors_status_and_patience() -> None:
    class ClusterAway(errors.BackendUnavailable):
        pass

    class Odd(errors.GatewayError):
        pass

    assert from_error(ClusterAway("away")).status == 503
    assert from_error(ClusterAway("away")).headers["Retry-After"]
    assert status_of(Odd("odd")) == 500
