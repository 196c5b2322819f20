from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enterprise_gateway.core.culling import CullPolicy, Usage, cull_reason, seconds_to_next_check

NOW = 1_000_000.0
DAY = 86_400.0


def usage(
    *, age: float = 10.0, idle: float = 0.0, gateway: float = 0.0, connections: int = 0, busy: bool = False
) -> Usage:
    return Usage(
        started=NOW - age,
        last_activity=NOW - idle,
        last_gateway=NOW - gateway,
        connections=connections,
        busy=busy,
    )


def test_without_rules_nothing_is_culled():
    assert not CullPolicy().enabled
    assert cull_reason(CullPolicy(), usage(age=1e9, idle=1e9, gateway=1e9), NOW) is None


@pytest.mark.parametrize("policy", [CullPolicy(idle_timeout=1), CullPolicy(max_age=1), CullPolicy(orphan_timeout=1)])
def test_any_rule_switches_culling_on(policy):
    assert policy.enabled


def test_a_kernel_is_idle_from_the_very_second_of_its_limit():
    policy = CullPolicy(idle_timeout=600)
    assert cull_reason(policy, usage(idle=599), NOW) is None
    reason = cull_reason(policy, usage(idle=600), NOW)
    assert reason == "it was idle for 600 s (the limit is 600 s)"


def test_a_busy_or_connected_kernel_is_culled_only_where_that_is_said():
    idle = usage(idle=700, connections=1, busy=True)
    for connected in (False, True):
        for busy in (False, True):
            policy = CullPolicy(idle_timeout=600, cull_connected=connected, cull_busy=busy)
            assert (cull_reason(policy, idle, NOW) is not None) == (connected and busy)


def test_the_maximum_age_asks_nothing_else():
    reason = cull_reason(CullPolicy(max_age=100), usage(age=100, connections=3, busy=True), NOW)
    assert reason == "it reached its maximum age of 100 s"


def test_an_orphan_has_neither_a_gateway_nor_activity():
    policy = CullPolicy(orphan_timeout=DAY)
    assert cull_reason(policy, usage(idle=DAY, gateway=DAY), NOW) == "no gateway and no activity for 86400 s"
    assert cull_reason(policy, usage(idle=DAY, gateway=DAY - 1), NOW) is None
    assert cull_reason(policy, usage(idle=DAY - 1, gateway=DAY), NOW) is None


def test_a_computation_is_no_orphan_however_long_it_takes():
    assert cull_reason(CullPolicy(orphan_timeout=DAY), usage(idle=9 * DAY, gateway=9 * DAY, busy=True), NOW) is None


seconds = st.integers(0, 500)


@given(
    policy=st.builds(CullPolicy, seconds, st.booleans(), st.booleans(), seconds, seconds),
    kernel=st.builds(usage, age=seconds, idle=seconds, gateway=seconds, connections=st.integers(0, 1)),
)
def test_between_two_checks_no_verdict_is_missed(policy, kernel):
    pause = seconds_to_next_check(policy, kernel, NOW)
    assert 1.0 <= pause <= 60.0
    if cull_reason(policy, kernel, NOW) is None:
        assert cull_reason(policy, kernel, NOW + pause - 1.0) is None


def test_the_next_check_comes_when_the_verdict_does():
    assert seconds_to_next_check(CullPolicy(idle_timeout=600), usage(idle=580), NOW) == 20.0
