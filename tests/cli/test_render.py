"""What a terminal shows of kernels."""

from __future__ import annotations

import pytest

from enterprise_gateway.cli.render import explanation, short_ids, table
from enterprise_gateway.core.timestamps import utc
from enterprise_gateway.kernels.models import KernelHistory, KernelModel, Progress

NOW = 1_800_000_000.0
IDS = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(3)]


def history(kernel_id: str = IDS[0], **changes: object) -> KernelHistory:
    kernel = {"name": "python3", "execution_state": "idle", "connections": 1, "last_activity": utc(NOW - 5)}
    model = KernelModel(id=kernel_id, **kernel | {name: changes.pop(name) for name in [*changes] if name in FIELDS})
    whole = {"owner": "ann", "username": "ann", "backend": "local", "created": utc(NOW - 90), "ended": None}
    return KernelHistory(kernel=model, **{**whole, "log_tail": "", "progress": [], **changes})


FIELDS = {*KernelModel.__struct_fields__} - {"progress"}


def test_names_give_way_until_80_columns_are_enough() -> None:
    long = [history(each, name="n" * 60, owner="o" * 40, username="u" * 50) for each in IDS]
    lines = table(long, NOW, 80).splitlines()
    assert max(map(len, lines)) == 80
    assert "n…" in lines[1]
    assert "o…" in lines[1]
    assert "u…" in lines[1]


def test_nothing_is_cut_where_there_is_room() -> None:
    assert table([history(name="n" * 60)], NOW, 200).splitlines()[1].split() == [
        IDS[0][:8], "n" * 60, "ann", "ann", "idle", "1", "5s", "ago", "1m",
    ]  # fmt: skip


def test_short_ids_are_8_characters_or_as_many_as_it_takes() -> None:
    assert short_ids(IDS) == ["00000000", "00000001", "00000002"]
    assert short_ids(["aaaaaaaa-1", "aaaaaaaa-2"]) == ["aaaaaaaa-1", "aaaaaaaa-2"]


@pytest.mark.parametrize(
    ("age", "shown"), [(0, "0s"), (59, "59s"), (60, "1m"), (7200, "2h"), (9 * 86400, "9d"), (-3, "0s")]
)
def test_ages_are_told_in_the_largest_unit_that_fits(age: float, shown: str) -> None:
    assert table([history(created=utc(NOW - age))], NOW, 80).endswith(f"  {shown}")


def test_an_explanation_tells_the_end_the_progress_and_the_last_output() -> None:
    dead = history(
        execution_state="dead",
        reason="out of memory",
        ended=utc(NOW),
        log_tail="\n".join(f"line {number}" for number in range(100)),
        progress=[Progress(utc(NOW), "Pulled", "image x")],
    )
    assert explanation(dead, NOW).splitlines() == [
        f"Kernel:        {IDS[0]}",
        "Spec:          python3",
        "Owner:         ann",
        "User:          ann",
        "Backend:       local",
        "State:         dead",
        "Why:           out of memory",
        "Created:       2027-01-15 07:58:30 UTC (1m ago)",
        "Ended:         2027-01-15 08:00:00 UTC (0s ago)",
        "Progress:",
        "  08:00:00  Pulled  image x",
        "Last output:",
        *(f"  line {number}" for number in range(80, 100)),
    ]


def test_no_escape_sequence_of_a_stranger_reaches_the_terminal() -> None:
    hostile = "\x1b]0;title\x07\x9b31m"
    shown = table([history(name=hostile, username=hostile)], NOW, 200)
    shown += explanation(history(reason=hostile, log_tail=hostile, owner=hostile), NOW)
    assert all(character.isprintable() or character == "\n" for character in shown)
