"""Limits hold for all gateways of a namespace together, however their starts race."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from support.cluster import Namespace
from support.gateway import Gateway, StartGateway
from support.rest import assert_error
from support.wait import eventually

pytestmark = pytest.mark.cluster

STARTS = 10
LIMIT = 3


def race(gateways: list[Gateway], *usernames: str) -> list[requests.Response]:
    """All the starts at once, each at another gateway than the one before."""

    def start(gateway: Gateway, username: str) -> requests.Response:
        body = {"name": "python_kubernetes", "env": {"KERNEL_USERNAME": username}}
        return gateway.rest.post("/api/kernels", json=body)

    with ThreadPoolExecutor(len(usernames)) as pool:
        return list(pool.map(start, itertools.cycle(gateways), usernames))


def assert_started(answers: list[requests.Response], count: int, setting: str) -> set[str]:
    """Claims that so many started and that the others were told why not; returns their kernels' ids."""
    started = {answer.json()["id"] for answer in answers if answer.status_code == 201}
    for answer in answers:
        if answer.status_code != 201:
            assert_error(answer, 403, setting)
    assert len(started) == count, [answer.text for answer in answers]
    return started


def assert_only(namespace: Namespace, gateways: list[Gateway], kernel_ids: set[str]) -> None:
    """Claims that soon these kernels are all that there is, for the cluster and for every gateway."""
    secrets = {f"secret/kernel-{kernel_id}" for kernel_id in kernel_ids}
    eventually(lambda: {name for name in namespace.kernel_objects() if name.startswith("secret/")} == secrets)
    eventually(lambda: len(namespace.kernel_objects()) == 2 * len(kernel_ids))
    for gateway in gateways:
        eventually(lambda gateway=gateway: gateway.rest.kernel_ids() == kernel_ids)


def end_all(namespace: Namespace, gateway: Gateway, kernel_ids: set[str]) -> None:
    for kernel_id in kernel_ids:
        gateway.rest.shut_down(kernel_id)
    namespace.until_no_kernel_is_left()


def test_racing_starts_never_exceed_the_limit(start_outside: StartGateway, namespace: Namespace) -> None:
    gateways = [start_outside(EG_MAX_KERNELS=str(LIMIT)) for _ in range(2)]
    answers = race(gateways, *(f"user{number}" for number in range(STARTS)))
    started = assert_started(answers, LIMIT, "EG_MAX_KERNELS")
    assert_only(namespace, gateways, started)
    # A place that is free again is taken once.
    gateways[1].rest.shut_down(freed := started.pop())
    eventually(lambda: freed not in gateways[0].rest.kernel_ids())
    started |= assert_started(race(gateways, *["late"] * 4), 1, "EG_MAX_KERNELS")
    assert_only(namespace, gateways, started)
    end_all(namespace, gateways[0], started)


def test_racing_starts_never_exceed_a_users_limit(start_outside: StartGateway, namespace: Namespace) -> None:
    gateways = [start_outside(EG_MAX_KERNELS_PER_USER="2") for _ in range(2)]
    answers = race(gateways, *["alice", "alice", "bob", "bob"] * 2, "alice", "alice")
    by_user = {"alice": answers[0:2] + answers[4:6] + answers[8:], "bob": answers[2:4] + answers[6:8]}
    started = {user: assert_started(each, 2, "EG_MAX_KERNELS_PER_USER") for user, each in by_user.items()}
    everything = started["alice"] | started["bob"]
    assert_only(namespace, gateways, everything)
    end_all(namespace, gateways[1], everything)
