"""Two hundred kernels at once: all start, all are listed, all end, nothing is left."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from support.channels import Channels
from support.gateway import Gateway
from support.rest import answer_of
from support.specs import NULL
from support.wait import eventually

KERNELS = 200
AT_ONCE = 20
FDS_PER_KERNEL = 4


@pytest.fixture(scope="module")
def own_gateway() -> Iterator[Gateway]:
    with Gateway(kernelspecs={"null": NULL}) as gateway:
        yield gateway.start()


def execute_once(gateway: Gateway, kernel_id: str) -> str:
    with Channels.of(gateway, kernel_id) as client:
        return str(client.execute("nothing").reply["status"])


def test_two_hundred_kernels_start_twenty_at_a_time_answer_and_end(own_gateway: Gateway) -> None:
    rest = own_gateway.rest
    gateway = psutil.Process(own_gateway.pid)
    rest.shut_down(rest.start_kernel("null"))
    descriptors, processes = gateway.num_fds(), len(own_gateway.processes())
    with ThreadPoolExecutor(AT_ONCE) as pool:
        kernels = set(pool.map(lambda _: rest.start_kernel("null"), range(KERNELS)))
        assert len(kernels) == KERNELS
        assert rest.kernel_ids() == kernels
        assert {kernel["execution_state"] for kernel in answer_of(rest.get("/api/kernels"))} <= {"idle", "starting"}
        assert gateway.num_fds() - descriptors <= FDS_PER_KERNEL * KERNELS
        assert set(pool.map(lambda each: execute_once(own_gateway, each), kernels)) == {"ok"}
        list(pool.map(rest.shut_down, kernels))
    assert rest.kernel_ids() == set()
    assert list((own_gateway.state_dir / "kernels").iterdir()) == []
    eventually(lambda: len(own_gateway.processes()) == processes)
    eventually(lambda: gateway.num_fds() <= descriptors)
