"""The operator's rules for starts, as decisions without a side."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.served import RULES, new_record

from enterprise_gateway.core.principals import Principal
from enterprise_gateway.errors import Forbidden, InvalidRequest, LimitReached
from enterprise_gateway.kernels.policy import check_limits, username_for, working_directory

ANN, HUB = Principal("ann"), Principal("hub", speaks_for_others=True)


@pytest.mark.parametrize(
    ("principal", "env", "username"),
    [
        (ANN, {}, "ann"),
        (ANN, {"KERNEL_USERNAME": ""}, "ann"),
        (ANN, {"KERNEL_USERNAME": "ann"}, "ann"),
        (HUB, {"KERNEL_USERNAME": "carol"}, "carol"),
        (HUB, {}, "hub"),
    ],
)
def test_a_kernel_runs_under_the_principals_name_or_one_it_speaks_for(
    principal: Principal, env: dict[str, str], username: str
) -> None:
    assert username_for(principal, env) == username


def test_a_name_that_is_not_ones_own_is_refused() -> None:
    with pytest.raises(Forbidden, match="'carol'"):
        username_for(ANN, {"KERNEL_USERNAME": "carol"})


@pytest.mark.parametrize(
    ("max_kernels", "per_user", "own", "others", "allowed"),
    [
        (None, -1, 100, 100, True),
        (3, -1, 1, 1, True),
        (3, -1, 0, 3, False),
        (0, -1, 0, 0, False),
        (None, 2, 1, 50, True),
        (None, 2, 2, 0, False),
        (None, 0, 0, 0, False),
        (3, 2, 2, 0, False),
        (2, 2, 1, 1, False),
    ],
)
def test_limits_count_everybody_and_the_user(
    max_kernels: int | None, per_user: int, own: int, others: int, *, allowed: bool
) -> None:
    rules = msgspec.structs.replace(RULES, max_kernels=max_kernels, max_kernels_per_user=per_user)
    records = [new_record(owner="ann") for _ in range(own)] + [new_record(owner="ben") for _ in range(others)]
    if allowed:
        check_limits(rules, "ann", records)
        return
    with pytest.raises(LimitReached, match=r"^Resource Limit: .*shut one down first$"):
        check_limits(rules, "ann", records)


@pytest.mark.parametrize("path", ["..", "a/../..", "/..", "a/..", "a\0b"])
def test_a_path_out_of_the_root_is_refused(path: str) -> None:
    with pytest.raises(InvalidRequest, match="'path'"):
        working_directory(path)


@given(st.text())
def test_a_path_that_is_taken_never_leaves_the_root(path: str) -> None:
    try:
        relative = working_directory(path)
    except InvalidRequest:
        return
    assert not relative.is_absolute()
    assert ".." not in relative.parts
