"""A gateway outside of the cluster, with kernels in it."""

from __future__ import annotations

import pytest
from support.channels import Channels
from support.cluster import Namespace
from support.gateway import Gateway

pytestmark = pytest.mark.cluster


def test_a_cell_runs_in_a_pod_of_the_namespace_and_nothing_is_left_of_it(
    outside: Gateway, namespace: Namespace
) -> None:
    kernel_id = outside.rest.start_kernel("python_kubernetes")
    with Channels.of(outside, kernel_id) as channels:
        assert channels.execute("print(6 * 7)").text == "42\n"
    assert namespace.kernel_pod(kernel_id)
    outside.rest.shut_down(kernel_id)
    namespace.until_no_kernel_is_left()


def test_a_gateway_that_comes_back_finds_the_kernel_it_left(outside: Gateway) -> None:
    kernel_id = outside.rest.start_kernel("python_kubernetes")
    with Channels.of(outside, kernel_id) as channels:
        channels.execute("kept = 1")
    outside.kill()
    outside.start()
    with Channels.of(outside, kernel_id) as channels:
        assert channels.execute("print(kept)").text == "1\n"
    outside.rest.shut_down(kernel_id)
