"""Clients that try the same start again, or give up, and gateways killed in the middle: one kernel or none."""

from __future__ import annotations

import json
import random
import socket
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import psutil
import pytest
import requests
from support.channels import Channels
from support.gateway import Gateway
from support.specs import NULL
from support.wait import eventually

ROUNDS = 8
CLIENTS = 6
DEADLINE = 60.0
AGENT = "enterprise_gateway.agent.nursery"


@pytest.fixture(scope="module")
def mortal() -> Iterator[Gateway]:
    with Gateway(kernelspecs={"null": NULL}) as gateway:
        yield gateway.start()


def body_of(kernel_id: str) -> dict[str, object]:
    return {"name": "null", "env": {"KERNEL_ID": kernel_id}}


def persist(gateway: Gateway, kernel_id: str) -> None:
    """Asks for the start until it is confirmed, as a client with retries does."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        try:
            answer = gateway.rest.post("/api/kernels", json=body_of(kernel_id))
        except requests.ConnectionError:
            time.sleep(0.05)
            continue
        if answer.status_code == 201 and answer.json()["execution_state"] != "starting":
            assert answer.json()["id"] == kernel_id
            return
        # 500 is the kernel of a try that a killed gateway left half done: the next try begins anew.
        assert answer.status_code in {201, 500, 503}, answer.text
    raise AssertionError(f"{kernel_id} did not start within {DEADLINE:g} s")


def give_up(gateway: Gateway, kernel_id: str, patience: float) -> None:
    """Asks for the start and hangs up after `patience` seconds."""
    address = urlsplit(gateway.url)
    content = json.dumps(body_of(kernel_id))
    head = f"POST /api/kernels HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: token {gateway.token}\r\n"
    try:
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n{content}".encode())
            time.sleep(patience)
    except OSError:
        return


def kill_and_start(gateway: Gateway, delay: float) -> None:
    time.sleep(delay)
    gateway.kill()
    gateway.start()


def agents_and_kernels(gateway: Gateway) -> tuple[int, int]:
    """How many processes of each kind live, the gateway's warm parent of agents not counted."""
    agents = kernels = 0
    for process in gateway.processes():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        agents += AGENT in words
        kernels += "null_kernel.py" in " ".join(words)
    return agents - 1, kernels


def claim_one_kernel_and_end_it(gateway: Gateway, kernel_id: str) -> None:
    eventually(lambda: gateway.rest.kernel_ids() == {kernel_id})
    eventually(lambda: agents_and_kernels(gateway) == (1, 1))
    with Channels.of(gateway, kernel_id) as client:
        assert client.execute("nothing").reply["status"] == "ok"
    gateway.rest.shut_down(kernel_id)
    eventually(lambda: agents_and_kernels(gateway) == (0, 0))


def test_many_tries_of_one_start_make_one_kernel_whoever_gives_up(mortal: Gateway) -> None:
    kernel_id = str(uuid.uuid4())
    with ThreadPoolExecutor(2 * CLIENTS) as pool:
        tries = [pool.submit(give_up, mortal, kernel_id, 0.02 * number) for number in range(CLIENTS)]
        tries += [pool.submit(persist, mortal, kernel_id) for _ in range(CLIENTS)]
        for each in tries:
            each.result(DEADLINE)
    claim_one_kernel_and_end_it(mortal, kernel_id)


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_tries_go_on_over_a_gateway_killed_in_the_middle_of_the_start(mortal: Gateway, seed: int) -> None:
    moments = random.Random(seed)
    kernel_id = str(uuid.uuid4())
    with ThreadPoolExecutor(CLIENTS + 3) as pool:
        tries = [pool.submit(give_up, mortal, kernel_id, moments.uniform(0, 0.2)) for _ in range(2)]
        tries += [pool.submit(persist, mortal, kernel_id) for _ in range(CLIENTS)]
        tries.append(pool.submit(kill_and_start, mortal, moments.uniform(0, 0.15)))
        for each in tries:
            each.result(DEADLINE)
    claim_one_kernel_and_end_it(mortal, kernel_id)


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_a_start_whose_client_and_gateway_are_both_gone_is_a_kernel_or_nothing(mortal: Gateway, seed: int) -> None:
    moments = random.Random(1000 + seed)
    kernel_id = str(uuid.uuid4())
    with ThreadPoolExecutor(2) as pool:
        tries = [
            pool.submit(give_up, mortal, kernel_id, 0.2),
            pool.submit(kill_and_start, mortal, moments.uniform(0, 0.03)),
        ]
        for each in tries:
            each.result(DEADLINE)

    def settled() -> bool:
        listed = mortal.rest.kernel_ids()
        return listed <= {kernel_id} and agents_and_kernels(mortal) == (len(listed), len(listed))

    eventually(settled)

    def deleted() -> bool:
        # Always right, whether it is there, half there or not there.
        assert mortal.rest.delete(f"/api/kernels/{kernel_id}").status_code in {204, 404}
        return agents_and_kernels(mortal) == (0, 0) and not mortal.rest.kernel_ids()

    eventually(deleted)
    assert not (mortal.state_dir / "kernels" / kernel_id).exists()
