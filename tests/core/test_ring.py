"""The ring against a model that keeps everything in one list and counts by looking."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from enterprise_gateway.core.ring import ITEM_OVERHEAD, RESERVE_SHARE, Gap, Ring

LIMIT = 4000
"""A dozen small items, and one essential item in the reserve; a bigger reserve has a test of its own."""
WIDE = 40 * (ITEM_OVERHEAD + 10)


@dataclass
class Item:
    seq: int
    size: int
    essential: bool
    place: str = "main"
    """`main`, `reserve` or `lost`."""
    taken: bool = False


class Model:
    """Every item ever appended that the client has not acknowledged, and where it is."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.items: list[Item] = []
        self.seq = 0

    def of(self, place: str, *, taken: bool | None = None) -> list[Item]:
        return [item for item in self.items if item.place == place and taken in (None, item.taken)]

    @property
    def held(self) -> list[Item]:
        return self.of("reserve") + self.of("main")

    @property
    def waiting(self) -> list[Item]:
        return self.of("reserve", taken=False) + self.of("main", taken=False)

    def append(self, size: int, essential: bool) -> None:
        self.seq += 1
        self.items.append(Item(self.seq, size + ITEM_OVERHEAD, essential))
        while total(main := self.of("main")) > self.limit and len(main) > 1:
            oldest = main[0]
            fits = total([*self.of("reserve"), oldest]) <= self.limit // RESERVE_SHARE
            oldest.place = "reserve" if oldest.essential and fits else "lost"

    def take(self, budget: int) -> list[int]:
        taken = []
        for item in self.waiting:
            if budget <= 0:
                break
            item.taken = True
            budget -= item.size
            taken.append(item.seq)
        return taken

    def take_gap(self) -> list[Item]:
        lost = self.of("lost", taken=False)
        for item in lost:
            item.taken = True
        return lost

    def acknowledge(self, seq: int) -> None:
        self.items = [item for item in self.items if not (item.taken and item.seq <= seq)]

    def rewind(self) -> None:
        for item in self.items:
            item.taken = False


def total(items: list[Item]) -> int:
    return sum(item.size for item in items)


class RingMachine(RuleBasedStateMachine):
    """Any interleaving of what a session does with its ring."""

    limit = LIMIT

    def __init__(self) -> None:
        super().__init__()
        self.ring: Ring[int] = Ring(self.limit)
        self.model = Model(self.limit)
        self.pings: list[int] = []
        """What the client may acknowledge: the payloads of the PINGs it was sent."""
        self.estimated = False
        """Whether the client acknowledged a part of what was dropped, so that the gap's bytes are an estimate."""

    @rule(size=st.integers(0, LIMIT + 500), essential=st.booleans())
    def append(self, size, essential):
        self.model.append(size, essential)
        self.ring.append(self.model.seq, size, essential=essential)

    @rule(count=st.integers(1, 60), size=st.integers(0, 20), essential=st.booleans())
    def append_many(self, count, size, essential):
        for _ in range(count):
            self.append(size, essential)

    @rule(budget=st.integers(1, LIMIT))
    def send(self, budget):
        """What a session does: the gap, then items, then a PING."""
        self.check_gap(self.ring.take_gap())
        assert list(self.ring.take(budget)) == self.model.take(budget)
        self.pings.append(self.ring.taken_seq)

    @precondition(lambda self: self.pings)
    @rule(data=st.data())
    def acknowledge(self, data):
        seq = data.draw(st.sampled_from(self.pings))
        lost = self.model.of("lost", taken=True)
        self.estimated |= any(item.seq <= seq for item in lost) and any(item.seq > seq for item in lost)
        self.model.acknowledge(seq)
        self.ring.acknowledge(seq)

    @rule()
    def rewind(self):
        self.pings.clear()
        self.model.rewind()
        self.ring.rewind()

    def check_gap(self, gap: Gap[int] | None) -> None:
        lost = self.model.take_gap()
        assert (gap.items if gap else 0) == len(lost)
        if gap is not None:
            essential = [item.seq for item in lost if item.essential]
            assert gap.essential == (essential[-1] if essential else None)
            assert self.estimated or gap.size == total(lost)

    @invariant()
    def sizes_never_drift(self):
        assert self.ring.size == total(self.model.held)

    @invariant()
    def it_is_bounded_but_for_the_newest_item(self):
        newest = self.model.held[-1].size if self.model.held else 0
        assert self.ring.size <= max(self.limit, newest) + self.limit // RESERVE_SHARE

    @invariant()
    def what_it_says_of_itself_is_true(self):
        model = self.model
        assert self.ring.last_seq == model.seq
        assert self.ring.pending == bool(model.waiting or model.of("lost", taken=False))
        assert self.ring.settled == (not self.ring.pending and not model.held)
        assert self.ring.taken_seq == (model.waiting[0].seq - 1 if model.waiting else model.seq)

    def teardown(self):
        """A client that comes back and reads to the end is told of every item exactly once, in order."""
        self.rewind()
        self.check_gap(self.ring.take_gap())
        assert list(self.ring.take(1 << 40)) == sorted(item.seq for item in self.model.held)


class WideRingMachine(RingMachine):
    """A reserve that holds several items."""

    limit = WIDE


TestRing = RingMachine.TestCase
TestWideRing = WideRingMachine.TestCase
TestRing.settings = TestWideRing.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_below_the_bound_nothing_is_lost():
    count = 15
    ring: Ring[int] = Ring(count * (ITEM_OVERHEAD + 10))
    for number in range(count):
        ring.append(number, 10, essential=False)
    assert ring.take_gap() is None
    assert list(ring.take(1 << 20)) == list(range(count))


def test_an_item_larger_than_the_bound_is_kept_while_it_is_the_newest():
    ring: Ring[str] = Ring(1000)
    ring.append("large", 5000, essential=False)
    assert list(ring.take(1)) == ["large"]
    ring.append("next", 1, essential=False)
    ring.rewind()
    assert ring.take_gap() == Gap(1, 5000 + ITEM_OVERHEAD, None)
    assert list(ring.take(1 << 20)) == ["next"]


def test_a_reply_survives_a_flood_of_output():
    ring: Ring[str] = Ring(100_000)
    ring.append("reply", 50, essential=True)
    for _ in range(1000):
        ring.append("output", 1000, essential=False)
    assert next(ring.take(1)) == "reply"
    gap = ring.take_gap()
    assert gap is not None
    assert gap.essential is None


def test_a_falsy_item_is_an_item():
    ring: Ring[int] = Ring(300)
    ring.append(0, 200, essential=True)
    ring.append(1, 200, essential=False)
    assert ring.take_gap() == Gap(1, 200 + ITEM_OVERHEAD, 0)


def test_a_gap_that_was_told_to_a_connection_that_broke_is_told_again():
    ring: Ring[int] = Ring(1000)
    for number in range(10):
        ring.append(number, 0, essential=False)
    told = ring.take_gap()
    assert told is not None
    assert told.items == 7
    assert list(ring.take(1 << 20)) == [7, 8, 9]
    ring.rewind()
    assert ring.take_gap() == told
    list(ring.take(1 << 20))
    ring.acknowledge(ring.taken_seq)
    ring.rewind()
    assert ring.take_gap() is None


def test_what_the_client_acknowledged_after_it_was_dropped_is_no_loss():
    ring: Ring[int] = Ring(3 * ITEM_OVERHEAD)
    for number in range(1, 4):
        ring.append(number, 0, essential=False)
    assert list(ring.take(1 << 20)) == [1, 2, 3]
    for number in range(4, 7):
        ring.append(number, 0, essential=False)  # 1, 2 and 3 are dropped, though they were on their way
    ring.acknowledge(2)
    ring.rewind()
    gap = ring.take_gap()
    assert gap is not None
    assert gap.items == 1
