from __future__ import annotations

import socket

import pytest

from enterprise_gateway.backends.local.ports import DEFAULT_RANGE, free_ports
from enterprise_gateway.config.ports import PortRange
from enterprise_gateway.errors import StartFailed


@pytest.fixture
def narrow() -> PortRange:
    """Six ports that are free now."""
    while True:
        lower = free_ports(1, PortRange(20_000, 30_000), ())[0]
        chosen = PortRange(lower, lower + 5)
        try:
            if len(free_ports(6, chosen, ())) == 6:
                return chosen
        except StartFailed:
            continue


def test_the_ports_are_different_and_in_the_range(narrow):
    assert sorted(free_ports(6, narrow, ())) == list(range(narrow.lower, narrow.upper + 1))


def test_without_a_range_they_are_below_those_of_outgoing_connections():
    ports = free_ports(50, PortRange(), ())
    assert len(set(ports)) == 50
    assert all(DEFAULT_RANGE.lower <= port <= DEFAULT_RANGE.upper < 32_768 for port in ports)


def test_a_port_of_another_kernel_is_not_given_even_before_that_listens(narrow):
    taken = {narrow.lower, narrow.lower + 2}
    assert taken.isdisjoint(free_ports(4, narrow, taken))


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_somebody_listens_on_is_not_given(narrow, host):
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of an earlier test may linger
        server.bind((host, narrow.lower + 1))
        server.listen()
        assert narrow.lower + 1 not in free_ports(5, narrow, ())


def test_a_range_without_enough_free_ports_is_named(narrow):
    with pytest.raises(StartFailed, match=str(narrow)):
        free_ports(6, narrow, {narrow.lower})


def test_two_kernels_do_not_get_the_same_ports_by_design():
    assert len({tuple(free_ports(5, PortRange(), ())) for _ in range(20)}) > 1
