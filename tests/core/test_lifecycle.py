from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enterprise_gateway.core.lifecycle import GiveUp, KernelState, Restart, RestartPolicy, may_become


def test_the_end_is_final():
    assert not any(may_become(KernelState.ENDED, state) for state in KernelState)


@pytest.mark.parametrize("state", set(KernelState) - {KernelState.ENDED})
def test_every_living_kernel_may_end_and_be_restarted(state):
    assert may_become(state, KernelState.ENDED)
    assert may_become(state, KernelState.RESTARTING)


def test_nothing_becomes_starting_again():
    assert not any(may_become(state, KernelState.STARTING) for state in KernelState)


def test_the_first_restart_is_immediate_and_the_next_ones_wait_longer_each():
    policy = RestartPolicy(limit=6)
    decisions = [policy.decide(attempts, 1.0) for attempts in range(6)]
    assert decisions == [
        Restart(delay, attempt, 6) for attempt, delay in enumerate([0.0, 0.5, 1.0, 2.0, 4.0, 4.0], start=1)
    ]


def test_a_kernel_that_keeps_dying_is_given_up_with_the_number_of_its_deaths():
    decision = RestartPolicy(limit=5).decide(5, 1.0)
    assert decision == GiveUp("it died 6 times in a row")


def test_a_stable_life_begins_a_new_count():
    assert RestartPolicy(limit=5, stable=10.0).decide(5, 10.0) == Restart(0.0, 1, 5)


@pytest.mark.parametrize("policy", [RestartPolicy(enabled=False), RestartPolicy(limit=0)])
def test_a_policy_without_restarts_gives_up_at_once(policy):
    assert isinstance(policy.decide(0, 0.0), GiveUp)
    assert isinstance(policy.decide(0, 1e9), GiveUp)


@given(limit=st.integers(0, 20), lives=st.lists(st.floats(0, 9.9), min_size=21, max_size=40))
def test_short_lives_are_restarted_exactly_as_often_as_the_limit_says(limit, lives):
    policy = RestartPolicy(limit=limit)
    attempts = restarts = 0
    for lived in lives:
        decision = policy.decide(attempts, lived)
        if isinstance(decision, GiveUp):
            break
        restarts += 1
        attempts = decision.attempt
    assert restarts == limit
