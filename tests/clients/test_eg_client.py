"""Enterprise Gateway's own client library and its scenarios, with a local kernel."""

from __future__ import annotations

import socket

import pytest
from support.eg_client import PYTHON, Life, Scenarios, live
from support.gateway import Gateway
from support.rest import assert_error


@pytest.fixture(scope="module")
def life(gateway: Gateway) -> Life:
    return live(gateway.url, gateway.token, "python3", PYTHON)


class TestScenarios(Scenarios):
    """Those of any kernel."""


def test_it_runs_where_the_gateway_is(life: Life) -> None:
    assert life.printed("host") == socket.gethostname()


def test_it_ends_the_kernel_it_started(gateway: Gateway, life: Life) -> None:
    assert_error(gateway.rest.get(f"/api/kernels/{life.kernel_id}"), 404, life.kernel_id)
