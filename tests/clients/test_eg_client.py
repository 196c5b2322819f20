"""Enterprise Gateway's own client library and its scenarios, with a local kernel."""

from __future__ import annotations

from support.eg_client import live
from support.gateway import StartGateway


def test_the_scenarios_of_eg_hold_with_its_own_client(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    live(gateway.url, gateway.token, "python3", "python").assert_scenarios()
