"""The kernel specs that come with the gateway, on a gateway without a cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.channels import Channels
from support.gateway import Gateway
from support.rest import answer_of, assert_error

SPECS = {
    file.parent.name: json.loads(file.read_text())
    for file in (Path(__file__).parents[2] / "etc" / "kernelspecs").glob("*/kernel.json")
}
LOCAL = "python_local"
IN_PODS = sorted(SPECS.keys() - {LOCAL})


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway(kernelspecs=SPECS) as gateway:
        yield gateway.start()


def test_all_of_them_are_listed(gateway: Gateway) -> None:
    assert {name.lower() for name in SPECS} <= answer_of(gateway.rest.get("/api/kernelspecs"))["kernelspecs"].keys()


def test_the_local_one_runs_beside_the_gateway(gateway: Gateway) -> None:
    kernel_id = gateway.rest.start_kernel(LOCAL)
    with Channels.of(gateway, kernel_id) as channels:
        pid = int(channels.execute("import os; print(os.getpid())").text)
    assert pid in [process.pid for process in gateway.processes()]
    gateway.rest.shut_down(kernel_id)


@pytest.mark.parametrize("name", IN_PODS)
def test_those_for_pods_are_refused_in_words(gateway: Gateway, name: str) -> None:
    answer = gateway.rest.post("/api/kernels", json={"name": name.lower()})
    assert_error(answer, 500, name.lower(), "which this gateway does not offer; it has: local")
