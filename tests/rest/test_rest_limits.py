"""How many kernels, and whose."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from support.gateway import Gateway, StartGateway
from support.rest import Rest, answer_of, assert_error


@pytest.fixture(scope="module")
def limited() -> Iterator[Gateway]:
    settings = {
        "EG_MAX_KERNELS": "3",
        "EG_MAX_KERNELS_PER_USER": "2",
        "EG_AUTHORIZED_USERS": "ann,ben,mallory",
        "EG_UNAUTHORIZED_USERS": "mallory,root",
    }
    with Gateway(**settings) as gateway:
        yield gateway.start()


@pytest.fixture
def rest(limited: Gateway) -> Iterator[Rest]:
    yield limited.rest
    for kernel_id in limited.rest.kernel_ids():
        limited.rest.shut_down(kernel_id)


def start(rest: Rest, user: str) -> requests.Response:
    return rest.post("/api/kernels", json={"name": "python3", "env": {"KERNEL_USERNAME": user}})


def test_both_limits_refuse_with_a_403_and_let_in_again_after_a_delete(rest: Rest) -> None:
    first = start(rest, "ann")
    assert [first.status_code, start(rest, "ann").status_code] == [201, 201]
    assert_error(start(rest, "ann"), 403, "ann")
    assert start(rest, "ben").status_code == 201
    assert_error(start(rest, "ben"), 403, "3")
    rest.shut_down(first.json()["id"])
    assert start(rest, "ben").status_code == 201


def test_a_limit_counts_starts_in_flight(rest: Rest) -> None:
    with ThreadPoolExecutor(6) as pool:
        statuses = list(pool.map(lambda user: start(rest, user).status_code, ["ann", "ben"] * 3))
    assert sorted(statuses) == [201, 201, 201, 403, 403, 403]
    assert len(rest.kernel_ids()) == 3


def test_a_failed_start_does_not_count(rest: Rest) -> None:
    for _ in range(4):
        body = {"name": "fortran66", "env": {"KERNEL_USERNAME": "ann"}}
        assert rest.post("/api/kernels", json=body).status_code == 404
    assert start(rest, "ann").status_code == 201


def test_who_is_not_on_the_list_of_the_allowed_is_refused(rest: Rest) -> None:
    assert_error(start(rest, "carol"), 403, "carol")


def test_the_list_of_the_refused_wins(rest: Rest) -> None:
    assert_error(start(rest, "mallory"), 403, "mallory")


def test_lists_can_be_switched_off_and_one_kernel_stays_readable(start_gateway: StartGateway) -> None:
    rest = start_gateway(EG_LIST_KERNELS="False").rest
    kernel_id = rest.start_kernel()
    assert_error(rest.get("/api/kernels"), 403, "EG_LIST_KERNELS")
    assert_error(rest.get("/api/sessions"), 403, "EG_LIST_KERNELS")
    assert answer_of(rest.get(f"/api/kernels/{kernel_id}"))["id"] == kernel_id
