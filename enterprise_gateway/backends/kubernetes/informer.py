"""A collection of Kubernetes objects, kept in memory and true to the API server: list once, then watch for ever.

In steady state nothing is asked: the watch brings what changes, and goes on from the last resource version it has told
of (bookmarks included) when it breaks, ends or falls silent. Only when that version is too old (410) or has become
doubtful is the collection listed again and compared with what is known. While the API server cannot be reached, what
was known last stays. What the objects mean is the handler's business.

One task, `run`; the handler is called in it, for one change after the other, and must not block.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Generic, Protocol, TypeVar

from enterprise_gateway.backends.kubernetes.answers import (
    ApiError,
    ApiUnavailable,
    Bookmark,
    EventType,
    Expired,
    WatchEvent,
)
from enterprise_gateway.backends.kubernetes.api import KubernetesApi
from enterprise_gateway.backends.kubernetes.objects import Metadata

log = logging.getLogger(__name__)

BACKOFF = (0.2, 2.0)
"""Seconds before the second try and before each of the later ones, halved at random."""
STEADY = 1.0
"""Seconds a watch must last to count as a success; an API server that ends each at once is not asked in a loop."""
STALE_LISTS = 5
"""Lists older than what is known that are put down to a server that lags; after them, the cluster itself went back."""
BREATH = 200
"""Changes of a list after which the event loop's other tasks have a turn."""


class KubernetesObject(Protocol):
    """Anything with metadata."""

    @property
    def metadata(self) -> Metadata:
        """Of the object."""


T = TypeVar("T", bound=KubernetesObject)


class Informer(Generic[T]):
    """The objects of one collection by name, and each change of them."""

    def __init__(
        self,
        api: KubernetesApi,
        path: str,
        kind: type[T],
        query: Mapping[str, str],
        on_change: Callable[[T | None, T | None], None],
    ) -> None:
        """Prepare; `run` does the work.

        Args:
            api: where to ask.
            path: of the collection, in one namespace.
            kind: the struct of one object.
            query: which of them: `labelSelector`, `fieldSelector`.
            on_change: called with (old, new) after `objects` has changed. Old is None for an object that is new here,
                new is None for one that is gone; old is then its last state. Another uid under the same name is a
                deletion and an addition.
        """
        self._api = api
        self._path = path
        self._kind = kind
        self._query = query
        self._on_change = on_change
        self._objects: dict[str, T] = {}
        self._version = ""
        """The newest resource version that was heard of."""
        self._doubtful = True
        """Whether a watch from `_version` might miss something."""
        self._stale_lists = 0
        self._failures = 0
        self._complaint: type[Exception] | None = None
        self._synced = asyncio.Event()
        self.in_contact = False
        """Whether the API server answered when it was last asked."""

    @property
    def objects(self) -> Mapping[str, T]:
        """By name; a live view."""
        return MappingProxyType(self._objects)

    @property
    def synced(self) -> bool:
        """Whether the collection has been read once; it stays true when contact is lost."""
        return self._synced.is_set()

    async def until_synced(self) -> None:
        """Wait for `synced`."""
        await self._synced.wait()

    async def run(self) -> None:
        """List and watch until cancelled."""
        while True:
            try:
                if self._doubtful:
                    await self._list()
                await self._watch()
            except Expired:
                self._doubtful = True
            except ApiError as error:
                self._doubtful = True
                self._lost(error)
            except ApiUnavailable as error:
                self._doubtful |= error.answered
                self._lost(error)
            if self._failures:
                first, longest = BACKOFF
                wait = min(longest, first * 2 ** min(self._failures - 1, 10))
                await asyncio.sleep(wait * random.uniform(0.5, 1))  # noqa: S311 - spreads load
            self._failures += 1

    async def _list(self) -> None:
        objects, version = await self._api.list(self._path, self._kind, self._query)
        if _older(version, self._version):
            self._stale_lists += 1
            if self._stale_lists <= STALE_LISTS:
                raise ApiUnavailable("answers with a state older than one it has already told")
            log.warning("The Kubernetes API server has gone back to an older state of %s", self._path)
        self._stale_lists = 0
        self._found()
        await self._compare({each.metadata.name: each for each in objects})
        self._version = version
        self._doubtful = False
        self._synced.set()

    async def _compare(self, listed: dict[str, T]) -> None:
        changes = 0
        for name in self._objects.keys() - listed.keys():
            self._remove(self._objects[name])
            changes += 1
        for new in listed.values():
            if self._put(new):
                changes += 1
                if changes % BREATH == 0:
                    await asyncio.sleep(0)

    async def _watch(self) -> None:
        clock = asyncio.get_running_loop().time
        async with self._api.watch(self._path, self._kind, self._query, self._version) as events:
            self._found()
            began = clock()
            async for event in events:
                self._apply(event)
            if clock() - began >= STEADY:
                self._failures = 0

    def _apply(self, event: WatchEvent[T] | Bookmark) -> None:
        version = event.resource_version if isinstance(event, Bookmark) else event.object.metadata.resource_version
        # A watch tells changes in the order of their versions; what is not newer was told before.
        if version == self._version or _older(version, self._version):
            return
        self._version = version
        if isinstance(event, Bookmark):
            return
        if event.type is not EventType.DELETED:
            self._put(event.object)
        elif event.object.metadata.name in self._objects:
            self._remove(event.object)

    def _put(self, new: T) -> bool:
        name = new.metadata.name
        old = self._objects.get(name)
        if old is not None and old.metadata.uid != new.metadata.uid:
            self._remove(old)
            old = None
        if old is not None and old.metadata.resource_version == new.metadata.resource_version:
            return False
        self._objects[name] = new
        self._tell(old, new)
        return True

    def _remove(self, last: T) -> None:
        del self._objects[last.metadata.name]
        self._tell(last, None)

    def _tell(self, old: T | None, new: T | None) -> None:
        try:
            self._on_change(old, new)
        except Exception:
            log.exception("A change of %s was not handled", self._path)

    def _lost(self, error: ApiError | ApiUnavailable) -> None:
        self.in_contact = False
        if self._complaint is not type(error):
            self._complaint = type(error)
            log.warning(
                "Lost track of %s: %s (%r); going on with what was known last", self._path, error, error.__cause__
            )

    def _found(self) -> None:
        self.in_contact = True
        if self._complaint is not None:
            self._complaint = None
            log.info("Back on track with %s", self._path)


def _older(version: str, than: str) -> bool:
    """Kubernetes' versions are numbers that grow with each write to the cluster; of others nobody knows."""
    return version.isdecimal() and than.isdecimal() and int(version) < int(than)
