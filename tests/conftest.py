"""Fixtures every test may use: a gateway shared by the cheap tests, and gateways of a test's own."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from support.gateway import Gateway, StartGateway

# A shell ignores SIGINT for what it runs in the background, and every kernel of these tests would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def gateway() -> Iterator[Gateway]:
    """One gateway with a token, for tests that end the kernels they start and nothing else."""
    with Gateway() as shared:
        yield shared.start()


@pytest.fixture
def start_gateway() -> Iterator[StartGateway]:
    """Starts gateways of the test's own, with settings of its own; a test may kill them."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(Gateway(**settings)).start()


@pytest.fixture(scope="module")
def kernel_id(gateway: Gateway) -> Iterator[str]:
    """A kernel on the shared gateway that the tests of one module share."""
    kernel_id = gateway.rest.start_kernel()
    yield kernel_id
    gateway.rest.shut_down(kernel_id)
