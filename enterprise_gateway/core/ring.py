"""What one session has not acknowledged yet: a bounded queue that never forgets what it dropped.

Items enter at the back, are taken for sending from the front, and leave when they are acknowledged. A new
connection *rewinds*: everything taken but not acknowledged is to be sent again, in order. When the bound is
reached the oldest items are dropped and counted; essential ones (replies, status) are kept back in a small
reserve of their own, because a front end that misses an idle or a reply waits for ever.

Pure: no clock, no I/O; not thread-safe.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import Generic, NamedTuple, TypeVar

import msgspec

T = TypeVar("T")

ITEM_OVERHEAD = 256
"""Bytes charged for each item beside its own size: the objects that hold it."""
RESERVE_SHARE = 8
"""Essential items that would be dropped may fill one part in this many of the limit."""


class Gap(NamedTuple, Generic[T]):
    """What was dropped before it could be sent."""

    items: int
    size: int
    """Bytes, overhead included; an estimate where the client has acknowledged a part of what was dropped."""
    essential: T | None
    """The last essential item among them, if even the reserve was full."""


class _Entry(msgspec.Struct, Generic[T], gc=False):
    seq: int
    item: T
    size: int
    essential: bool


class _Losses(Generic[T]):
    __slots__ = ("essential", "items", "last_seq", "size")

    def __init__(self) -> None:
        self.items = 0
        self.size = 0
        self.last_seq = 0
        self.essential: _Entry[T] | None = None

    def add(self, entry: _Entry[T]) -> None:
        self.items += 1
        self.size += entry.size
        self.last_seq = entry.seq
        if entry.essential:
            self.essential = entry

    def merge(self, other: _Losses[T]) -> None:
        self.items += other.items
        self.size += other.size
        self.last_seq = max(self.last_seq, other.last_seq)
        if self.essential is None or (other.essential is not None and other.essential.seq > self.essential.seq):
            self.essential = other.essential

    def acknowledge(self, seq: int, items_left: int) -> None:
        """The client had everything up to `seq` before it was dropped; `items_left` came later, if that many did."""
        if items_left < self.items:
            self.size = self.size * items_left // self.items
            self.items = items_left
        if self.essential is not None and self.essential.seq <= seq:
            self.essential = None


class Ring(Generic[T]):
    """Items of one session with sequence numbers from 1, bounded to `limit` bytes."""

    __slots__ = (
        "_lost_sent",
        "_lost_unsent",
        "_reserve_sent",
        "_reserve_size",
        "_reserve_unsent",
        "_sent",
        "_seq",
        "_size",
        "_unsent",
        "limit",
    )

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._seq = 0
        self._size = 0
        self._reserve_size = 0
        self._sent: deque[_Entry[T]] = deque()
        self._unsent: deque[_Entry[T]] = deque()
        self._reserve_sent: deque[_Entry[T]] = deque()
        self._reserve_unsent: deque[_Entry[T]] = deque()
        self._lost_sent: _Losses[T] = _Losses()
        self._lost_unsent: _Losses[T] = _Losses()

    @property
    def last_seq(self) -> int:
        """The sequence number of the newest item; 0 before the first."""
        return self._seq

    @property
    def size(self) -> int:
        """Bytes held, overhead included."""
        return self._size + self._reserve_size

    @property
    def pending(self) -> bool:
        """Whether there is something to send."""
        return bool(self._unsent or self._reserve_unsent or self._lost_unsent.items)

    @property
    def settled(self) -> bool:
        """Whether everything was sent and acknowledged."""
        return not (self.pending or self._sent or self._reserve_sent)

    def append(self, item: T, size: int, *, essential: bool) -> None:
        """Put `item` of `size` bytes at the back; drop the oldest ones where the bound requires it."""
        self._seq += 1
        size += ITEM_OVERHEAD
        self._unsent.append(_Entry(self._seq, item, size, essential))
        self._size += size
        while self._size > self.limit and (len(self._unsent) > 1 or self._sent):
            self._drop_oldest()

    def take(self, budget: int) -> Iterator[T]:
        """Items to send now, oldest first, until `budget` bytes are exceeded; at least one if any is there."""
        for waiting, sent in ((self._reserve_unsent, self._reserve_sent), (self._unsent, self._sent)):
            while waiting and budget > 0:
                entry = waiting.popleft()
                sent.append(entry)
                budget -= entry.size
                yield entry.item

    @property
    def taken_seq(self) -> int:
        """The sequence number of the newest item taken: what a client acknowledges next."""
        waiting = self._reserve_unsent or self._unsent
        return waiting[0].seq - 1 if waiting else self._seq

    def take_gap(self) -> Gap[T] | None:
        """What was lost before everything still here, for the caller to tell before it takes more.

        Like an item it is told again after a rewind, unless the client has acknowledged what came behind it.
        """
        lost = self._lost_unsent
        if not lost.items:
            return None
        self._lost_unsent = _Losses()
        self._lost_sent.merge(lost)
        return Gap(lost.items, lost.size, lost.essential.item if lost.essential else None)

    def acknowledge(self, seq: int) -> None:
        """Forget everything taken up to `seq`."""
        self._reserve_size -= _forget(self._reserve_sent, seq)
        self._size -= _forget(self._sent, seq)
        lost = self._lost_sent
        if lost.items:
            # Whatever lies in between and is not in the reserve was dropped.
            between = max(lost.last_seq - seq, 0)
            kept = sum(seq < entry.seq < lost.last_seq for entry in chain(self._reserve_sent, self._reserve_unsent))
            lost.acknowledge(seq, between - kept)

    def rewind(self) -> None:
        """Make everything taken but not acknowledged wait for sending again."""
        self._unsent.extendleft(reversed(self._sent))
        self._sent.clear()
        self._reserve_unsent.extendleft(reversed(self._reserve_sent))
        self._reserve_sent.clear()
        self._lost_unsent.merge(self._lost_sent)
        self._lost_sent = _Losses()

    def _drop_oldest(self) -> None:
        queue, reserve, lost = (
            (self._sent, self._reserve_sent, self._lost_sent)
            if self._sent
            else (self._unsent, self._reserve_unsent, self._lost_unsent)
        )
        entry = queue.popleft()
        self._size -= entry.size
        if entry.essential and self._reserve_size + entry.size <= self.limit // RESERVE_SHARE:
            reserve.append(entry)
            self._reserve_size += entry.size
        else:
            lost.add(entry)

    def __repr__(self) -> str:
        return f"<Ring {len(self._unsent)} unsent, {len(self._sent)} sent, {self.size} of {self.limit} bytes>"


def _forget(queue: deque[_Entry[T]], seq: int) -> int:
    size = 0
    while queue and queue[0].seq <= seq:
        size += queue.popleft().size
    return size
