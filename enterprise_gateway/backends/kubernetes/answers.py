"""What the Kubernetes API server's answers mean: objects, pages, errors, lines of a watch. Bytes in, structs out.

Knows no connection, no loop and no clock; which fields of an object matter is the caller's struct's business.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, NamedTuple, TypeVar

import msgspec

from enterprise_gateway.backends.kubernetes.objects import ListMetadata, Status
from enterprise_gateway.errors import BackendUnavailable, GatewayError

T = TypeVar("T")


class ApiError(GatewayError):
    """The API server understood and refused (4xx), or ended a watch with an error."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        self.status = status
        self.reason = reason
        """One word of Kubernetes': NotFound, AlreadyExists, Conflict, Forbidden, Invalid…"""
        super().__init__(message or f"The Kubernetes API server answered {status} {reason}".rstrip())


class Expired(ApiError):
    """The history since a resource version is gone (410): list again."""


class ApiUnavailable(BackendUnavailable):
    """The Kubernetes API server cannot be reached, is overloaded, or answers nonsense."""

    def __init__(self, problem: str, *, maybe_done: bool = False, answered: bool = False) -> None:
        super().__init__(f"The Kubernetes API server {problem}")
        self.maybe_done = maybe_done
        """Whether the object of a create may exist all the same."""
        self.answered = answered
        """Whether it answered, if with an error of its own: what was asked may be the reason."""


class EventType(enum.StrEnum):
    """What a line of a watch says; callers see the first three."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"
    ERROR = "ERROR"


class WatchEvent(NamedTuple, Generic[T]):
    """Something happened to an object; of a deleted one this is the last state, with the version of its deletion."""

    type: EventType
    object: T


class Bookmark(NamedTuple):
    """Everything up to this version has been told."""

    resource_version: str


class _Line(msgspec.Struct):
    type: EventType
    object: msgspec.Raw


class _Mark(msgspec.Struct):
    """A bookmark's object: all its fields but one are empty, and null where no real object's could be."""

    metadata: ListMetadata


class _Page(msgspec.Struct):
    metadata: ListMetadata
    items: list[msgspec.Raw]


class Page(NamedTuple, Generic[T]):
    """A part of a list."""

    items: list[T]
    resource_version: str
    continue_: str
    """What to ask the next page with; empty in the last one."""


def decode(answer: bytes, kind: type[T], *, maybe_done: bool = False) -> T:
    """Read an object.

    Raises:
        ApiUnavailable: it is none; with `maybe_done` as given.
    """
    with _sensible(maybe_done=maybe_done):
        return msgspec.json.decode(answer, type=kind)


def decode_page(answer: bytes, kind: type[T]) -> Page[T]:
    """Read a part of a list.

    Raises:
        ApiUnavailable: it is none.
    """
    decoder = msgspec.json.Decoder(kind)
    with _sensible():
        page = msgspec.json.decode(answer, type=_Page)
        items = [decoder.decode(item) for item in page.items]
    return Page(items, page.metadata.resource_version, page.metadata.continue_)


@contextmanager
def _sensible(*, maybe_done: bool = False) -> Iterator[None]:
    try:
        yield
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        problem = "answers what is not a Kubernetes object"
        raise ApiUnavailable(problem, maybe_done=maybe_done, answered=True) from error


def failure(code: int, body: bytes, method: str) -> GatewayError:
    """The error that an answer other than 2xx stands for."""
    if code == 429:
        return ApiUnavailable("is overloaded (429)")
    try:
        status = msgspec.json.decode(body, type=Status)
    except (msgspec.DecodeError, UnicodeDecodeError):
        status = Status()
    if code >= 500:
        problem = f"failed ({code}" + (f": {status.message[:500]})" if status.message else ")")
        return ApiUnavailable(problem, maybe_done=method == "POST", answered=code == 500)
    if status.code != code:
        return ApiUnavailable(f"answers {code} without Kubernetes' reason; something else may listen at its address")
    return _refusal(status)


def _refusal(status: Status) -> ApiError:
    error = Expired if status.code == 410 else ApiError
    return error(status.code, status.reason, status.message)


def watch_event(line: bytes, decoder: msgspec.json.Decoder[T]) -> WatchEvent[T] | Bookmark:
    """Read a line of a watch.

    Raises:
        Expired: it says that the watch began too far back.
        ApiError: it says that the watch has failed.
        ApiUnavailable: it is none.
    """
    with _sensible():
        event = _LINE.decode(line)
        match event.type:
            case EventType.ERROR:
                raise _refusal(msgspec.json.decode(event.object, type=Status))
            case EventType.BOOKMARK:
                return Bookmark(msgspec.json.decode(event.object, type=_Mark).metadata.resource_version)
            case _:
                return WatchEvent(event.type, decoder.decode(event.object))


_LINE = msgspec.json.Decoder(_Line)
