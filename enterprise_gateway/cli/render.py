"""Kernels as people read them in a terminal. Pure: the time and the width are arguments.

Names and output come from strangers: nothing but printable characters gets into a table or an explanation, so no
escape sequence of theirs reaches the terminal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from enterprise_gateway.kernels.models import KernelHistory

SHORTEST_ID = 8
NARROWEST = 6
GAP = "  "
LAST_LINES = 20
"""How much of a dead kernel's output an explanation shows."""
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))


class _Column(NamedTuple):
    title: str
    cells: list[str]
    shrinks: bool = False

    @property
    def width(self) -> int:
        return max(map(len, [self.title, *self.cells]))


def table(histories: Sequence[KernelHistory], now: float, width: int) -> str:
    """One line for each kernel, at most `width` characters as far as names can be cut."""
    kernels = [history.kernel for history in histories]
    columns = [
        _Column("KERNEL", short_ids([kernel.id for kernel in kernels])),
        _Column("SPEC", [_printable(kernel.name) for kernel in kernels], shrinks=True),
        _Column("OWNER", [_printable(history.owner) for history in histories], shrinks=True),
        _Column("USER", [_printable(history.username) for history in histories], shrinks=True),
        _Column("STATE", [_printable(kernel.execution_state) for kernel in kernels]),
        _Column("CONNS", [str(kernel.connections) for kernel in kernels]),
        _Column("ACTIVE", [f"{_since(kernel.last_activity, now)} ago" for kernel in kernels]),
        _Column("AGE", [_since(history.created, now) for history in histories]),
    ]
    widths = _fit(columns, width - len(GAP) * (len(columns) - 1))
    rows = zip(*([column.title, *column.cells] for column in columns), strict=True)
    lines = (
        GAP.join(_cut(cell, width).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return "\n".join(lines)


def explanation(history: KernelHistory, now: float) -> str:
    """Everything known of one kernel."""
    return "\n".join([*_facts(history, now), *_progress(history), *_last_output(history)])


def short_ids(ids: Sequence[str]) -> list[str]:
    """The ids, cut so that each can still be told from the others."""
    length = SHORTEST_ID
    while len({kernel_id[:length] for kernel_id in ids}) < len(set(ids)):
        length += 1
    return [kernel_id[:length] for kernel_id in ids]


def _facts(history: KernelHistory, now: float) -> Iterator[str]:
    kernel = history.kernel
    dead = kernel.execution_state == "dead"
    facts = {
        "Kernel": kernel.id,
        "Spec": kernel.name,
        "Owner": history.owner,
        "User": history.username,
        "Backend": history.backend,
        "State": kernel.execution_state,
        "Why" if dead else "Last trouble": kernel.reason,
        "Created": _moment(history.created, now),
        "Ended": _moment(history.ended, now) if history.ended else "nobody knows when" if dead else "",
        "Last activity": "" if dead else _moment(kernel.last_activity, now),
        "Connections": "" if dead else str(kernel.connections),
    }
    return (f"{f'{name}:':<15}{_printable(value)}" for name, value in facts.items() if value)


def _progress(history: KernelHistory) -> Iterator[str]:
    if history.progress:
        yield "Progress:"
    for event in history.progress:
        at = datetime.fromisoformat(event.time)
        yield f"  {at:%H:%M:%S}  {_printable(f'{event.reason}  {event.message}'.rstrip())}"


def _last_output(history: KernelHistory) -> Iterator[str]:
    lines = history.log_tail.strip().splitlines()
    if lines:
        yield "Last output:"
    for line in lines[-LAST_LINES:]:
        yield f"  {_printable(line.expandtabs())}".rstrip()


def _fit(columns: Sequence[_Column], width: int) -> list[int]:
    """The columns' widths; the widest of those that may shrink give way first."""
    widths = [column.width for column in columns]
    flexible = [index for index, column in enumerate(columns) if column.shrinks]
    while sum(widths) > width:
        widest = max(flexible, key=lambda index: widths[index])
        if widths[widest] <= NARROWEST:
            break
        widths[widest] -= 1
    return widths


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def _moment(time: str, now: float) -> str:
    return f"{datetime.fromisoformat(time):%Y-%m-%d %H:%M:%S} UTC ({_since(time, now)} ago)"


def _since(time: str, now: float) -> str:
    """How long ago `time` was, in the largest unit that fits: `45s`, `3m`, `2h`, `9d`."""
    seconds = max(0, int((datetime.fromtimestamp(now, UTC) - datetime.fromisoformat(time)).total_seconds()))
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
