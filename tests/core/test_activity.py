from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from enterprise_gateway.core.activity import Activity


def test_a_new_kernel_is_starting():
    activity = Activity(5.0)
    assert (activity.execution_state, activity.busy, activity.last_activity) == ("starting", False, 5.0)


def test_an_idle_on_control_does_not_hide_the_cell_that_still_runs():
    activity = Activity(0.0)
    activity.status("busy", "cell")
    activity.status("busy", "kernel-info")
    activity.status("idle", "kernel-info")
    assert activity.execution_state == "busy"
    activity.status("idle", "cell")
    assert activity.execution_state == "idle"


def test_a_status_for_no_request_is_taken_as_it_is():
    activity = Activity(0.0)
    activity.status("starting", "")
    assert activity.execution_state == "starting"
    activity.status("idle", "never seen")
    assert activity.execution_state == "idle"


def test_what_a_dead_process_was_doing_is_forgotten():
    activity = Activity(0.0)
    activity.status("busy", "cell")
    activity.reset("restarting")
    assert (activity.execution_state, activity.busy) == ("restarting", False)


def test_it_knows_which_requests_a_dying_kernel_leaves_unfinished():
    activity = Activity(0.0)
    for request in ("first", "second"):
        activity.status("busy", request, request.encode())
    activity.status("idle", "first")
    assert activity.unfinished == {"second": b"second"}
    activity.reset("dead")
    assert activity.unfinished == {}


def test_touching_moves_the_time_of_the_last_activity():
    activity = Activity(1.0)
    activity.touch(2.0)
    assert activity.last_activity == 2.0


def test_requests_whose_idle_never_comes_cost_bounded_memory_and_the_newest_count():
    activity = Activity(0.0)
    for number in range(2 * Activity.MAX_TRACKED):
        activity.status("busy", f"lost-{number}")
    activity.status("busy", "cell")
    for number in range(Activity.MAX_TRACKED, 2 * Activity.MAX_TRACKED):
        activity.status("idle", f"lost-{number}")
    assert activity.busy
    activity.status("idle", "cell")
    assert not activity.busy


@given(st.lists(st.tuples(st.sampled_from(["busy", "idle"]), st.sampled_from("abc")), min_size=1))
def test_it_is_busy_exactly_while_a_request_has_been_begun_and_not_ended(messages):
    activity = Activity(0.0)
    running = set()
    for state, request in messages:
        activity.status(state, request)
        (running.add if state == "busy" else running.discard)(request)
        assert activity.busy == bool(running)
        assert (activity.execution_state == "busy") == bool(running)
