"""What is said of kernels that run and that ended: real pods (`captured`), and what no cluster of one node shows."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from observed_pods import (
    BEGIN,
    FOLDER,
    PATIENCE,
    RUNS,
    Captured,
    captured,
    event,
    pending,
    seen,
    stamp,
    terminated,
)

from enterprise_gateway.backends.kubernetes.objects import (
    Condition,
    ContainerState,
    ContainerStatus,
    Event,
    Metadata,
    ObjectReference,
    Pod,
    PodStatus,
    Running,
    Terminated,
    Waiting,
)
from enterprise_gateway.backends.kubernetes.observe import END_ANNOTATION, observe
from enterprise_gateway.core.records import EndReport, Phase

REPORT = EndReport(reason="told to end", time=BEGIN + 40, exit_code=None, log_tail="last")


def left(report: EndReport) -> str:
    return msgspec.json.encode(report).decode()


def test_two_running_containers_are_a_running_kernel_at_the_pods_address():
    now = captured("success").at(5)
    assert (now.phase, now.reason, now.recheck, now.failing) == (Phase.RUNNING, "", None, False)
    assert now.host == captured("success").pod.status.pod_ip != ""


def test_progress_tells_each_step_once_in_order():
    start = captured("success")
    start.events = [*reversed(start.events), *start.events]
    progress = start.at(5).progress
    assert [step.reason for step in progress] == ["Scheduled", "Pulled", "Created", "Started", "Created", "Started"]
    assert progress[2].message == "Created container: kernel"
    assert [step.time for step in progress] == sorted(step.time for step in progress)


@pytest.mark.parametrize(
    ("name", "reason", "exit_code", "log_tail"),
    [
        ("exits-at-once", "the kernel ended (exit code 3)", 3, "cannot import x\none\n"),
        ("killed", "the kernel ended (signal 9 (SIGKILL))", -9, "Killed\n"),
        ("oom", "the kernel ended (out of memory, its limit is 32Mi)", -9, ""),
        ("oom-child", "the kernel ended (out of memory, its limit is 32Mi)", -9, "Killed\n"),
        (
            "oom-survivor",
            "the kernel ended (exit code 4; a process in its container ran out of memory, its limit is 32Mi)",
            4,
            "Killed\n",
        ),
    ],
)
def test_a_kernel_that_ended_beside_its_agent_has_ended(name: str, reason: str, exit_code: int, log_tail: str):
    end = captured(name)
    now = end.at(20)
    assert (now.phase, now.reason, now.exit_code, now.log_tail) == (Phase.ENDED, reason, exit_code, log_tail)
    assert now.failing is False, "the agent stays for its clients"
    assert now.ended <= end.created + 5


def test_a_pod_that_the_spark_operator_made_is_read_by_its_own_name_of_the_kernels_container():
    text = (FOLDER / "oom.json").read_text()
    made = msgspec.json.decode(text.replace('"name": "kernel"', '"name": "spark-kubernetes-driver"'), type=Captured)
    assert made.pod.kernel_container == "spark-kubernetes-driver"
    assert made.at(20) == captured("oom").at(20)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("agent-dies", "its agent ended (exit code 1)"),
        ("agent-oom", "its agent ended (out of memory, its limit is 32Mi)"),
    ],
)
def test_a_kernel_without_its_agent_must_be_ended(name: str, reason: str):
    now = captured(name).at(20)
    assert (now.phase, now.failing, now.reason, now.exit_code) == (Phase.ENDED, True, reason, None)


def test_the_agents_own_report_is_believed_first():
    now = captured("agent-report").at(20)
    assert (now.reason, now.ended, now.exit_code) == ("culled: idle for 3600 s", 1790000000.5, -15)
    assert (now.log_tail, now.failing) == ("bye\n", False)


@pytest.mark.parametrize("what", ["running", "image", "secret", "volume"])
def test_a_pod_stopped_by_its_deadline_has_ended_whatever_it_was_waiting_for(what: str):
    now = captured(f"deadline-exceeded-{what}").at(100)
    assert (now.phase, now.failing, now.exit_code) == (Phase.ENDED, False, None)
    assert now.reason == "its pod was stopped: Pod was active on the node longer than the specified deadline"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("deleted", "its pod was deleted"),
        ("evicted-by-api", "its pod was evicted: Eviction API: evicting"),
        (
            "evicted-by-kubelet",
            "its pod was evicted: Pod ephemeral local storage usage exceeds the total limit of containers 20Mi.",
        ),
    ],
)
def test_a_kernel_ends_with_its_pod(name: str, reason: str):
    now = captured(name).at(100)
    assert (now.phase, now.failing, now.reason, now.exit_code) == (Phase.ENDED, False, reason, None)


def test_events_of_an_earlier_pod_of_that_name_are_not_its_own():
    start = captured("success")
    old = replace(event("FailedMount", "old"), involved_object=ObjectReference(uid="another"))
    start.events.append(old)
    assert "old" not in [step.message for step in start.at(5).progress]


def test_the_end_that_a_gateway_wrote_wins_over_an_agent_that_was_then_stopped():
    written = EndReport(reason="the image cannot be used", time=BEGIN + 39)
    pod = pending(agent=terminated(0, "Completed", left(REPORT)))
    pod = replace(pod, metadata=replace(pod.metadata, annotations={END_ANNOTATION: left(written)}))
    now = seen(pod, at=50)
    assert (now.phase, now.reason, now.failing) == (Phase.ENDED, "the image cannot be used", False)


def test_a_container_whose_end_is_seen_after_its_agents_still_tells_its_last_output():
    report = EndReport(reason="it died", time=BEGIN + 39, exit_code=42)
    agent = terminated(0, "Completed", left(report))
    assert seen(pending(kernel=RUNS, agent=agent), at=50).failing, "a gateway puts this on record now"
    pod = pending(kernel=terminated(42, message="last line"), agent=agent)
    pod = replace(pod, metadata=replace(pod.metadata, annotations={END_ANNOTATION: left(report)}))
    now = seen(pod, at=51)
    assert (now.reason, now.exit_code, now.log_tail) == ("it died", 42, "last line")


def test_an_agent_that_knew_first_wins_over_the_end_that_a_gateway_wrote():
    pod = pending(kernel=terminated(1), agent=terminated(0, "Completed", left(REPORT)))
    written = left(EndReport(reason="its agent ended", time=REPORT.time + 5))
    pod = replace(pod, metadata=replace(pod.metadata, annotations={END_ANNOTATION: written}))
    assert seen(pod, at=50).reason == "told to end"


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("PreemptionByScheduler", "its pod was preempted: to make room"),
        ("DeletionByTaintManager", "its node was lost or emptied: to make room"),
        ("Novel", "its pod was disrupted (Novel): to make room"),
    ],
)
def test_a_disruption_explains_an_agent_that_was_told_to_end(reason: str, words: str):
    condition = Condition(
        type="DisruptionTarget", status="True", reason=reason, message="to make room", last_transition_time=stamp(39)
    )
    pod = pending(RUNS, terminated(0, "Completed", left(REPORT)), condition)
    now = seen(pod, at=50)
    assert (now.reason, now.ended, now.log_tail) == (words, REPORT.time, "last")
    own = replace(REPORT, exit_code=1, reason="the kernel died")
    assert seen(pending(RUNS, terminated(0, "Completed", left(own)), condition), at=50).reason == "the kernel died"


def test_a_report_of_a_kernel_killed_for_memory_says_so():
    report = replace(REPORT, exit_code=-9, reason="the kernel died (signal 9 (SIGKILL))")
    pod = pending(terminated(137, "OOMKilled"), terminated(0, "Completed", left(report)))
    assert seen(pod, at=50).reason == "the kernel died (signal 9 (SIGKILL)): out of memory"


def test_a_report_without_output_is_completed_by_the_containers():
    report = replace(REPORT, log_tail="")
    pod = pending(terminated(1, message="Traceback"), terminated(0, "Completed", left(report)))
    assert seen(pod, at=50).log_tail == "Traceback"


@pytest.mark.parametrize("text", ['{"a": 1}', "[]", "{", '{"reason": "", "time": 1}', '{"x":' + "[" * 4000])
def test_other_json_in_an_agents_last_words_is_just_text(text: str):
    now = seen(pending(kernel=RUNS, agent=terminated(1, message="Traceback\n" + text)), at=50)
    assert now.reason.startswith("its agent ended (exit code 1): ")
    assert seen(pending(kernel=RUNS, agent=terminated(1, message=text)), at=50).reason == (
        "its agent ended (exit code 1): " + (text if len(text) < 600 else text[:599] + "…")
    )


def test_the_kernel_is_blamed_when_it_ended_before_its_agent():
    assert seen(pending(terminated(1, at=30), terminated(1, at=31)), at=50).reason == "the kernel ended (exit code 1)"
    assert seen(pending(terminated(1, at=31), terminated(1, at=30)), at=50).reason == "its agent ended (exit code 1)"


@pytest.mark.parametrize(
    ("end", "words"),
    [(terminated(3), "exit code 3"), (terminated(137, "OOMKilled"), "out of memory")],
)
def test_the_deletion_that_followed_is_not_why_a_kernel_ended(end: ContainerState, words: str):
    pod = pending(kernel=end, agent=RUNS)
    pod = replace(pod, metadata=replace(pod.metadata, deletion_timestamp=stamp(50)))
    assert seen(pod, at=49).reason == f"the kernel ended ({words})"


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("NodeLost", "its node was lost: told"),
        ("Terminated", "its node was shut down: told"),
        ("OutOfcpu", "its pod failed (OutOfcpu): told"),
    ],
)
def test_a_failed_pod_says_what_its_node_says(reason: str, words: str):
    pod = pending()
    now = seen(replace(pod, status=replace(pod.status, phase="Failed", reason=reason, message="told")), at=50)
    assert (now.phase, now.reason, now.failing) == (Phase.ENDED, words, False)


# Whatever comes.

TIMES = st.sampled_from(
    [None, "", "nonsense", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", stamp(0), stamp(30), "2026-01-01"]
)
TEXTS = st.one_of(
    st.sampled_from(["", "Error: x", " ", left(REPORT), '{"reason": 1}', 'secret "kernel-k1" not found', "\ud800"]),
    st.text(max_size=30),
)
TERMINATED = st.builds(
    Terminated,
    exit_code=st.integers(-1, 300),
    signal=st.integers(-1, 70),
    reason=st.sampled_from(["", "Error", "OOMKilled", "StartError", "ContainerStatusUnknown"]),
    message=TEXTS,
    finished_at=TIMES,
)
WAITING = st.builds(
    Waiting,
    reason=st.sampled_from(["", "ContainerCreating", "ErrImagePull", "ImagePullBackOff", "CreateContainerConfigError"]),
    message=TEXTS,
)
STATES = st.builds(
    ContainerState,
    waiting=st.none() | WAITING,
    running=st.none() | st.just(Running()),
    terminated=st.none() | TERMINATED,
)
CONDITIONS = st.builds(
    Condition,
    type=st.sampled_from(["PodScheduled", "DisruptionTarget", "Ready"]),
    status=st.sampled_from(["", "True", "False", "Unknown"]),
    reason=st.sampled_from(["", "Unschedulable", "EvictionByEvictionAPI"]),
    message=TEXTS,
    last_transition_time=TIMES,
)
PODS = st.builds(
    Pod,
    metadata=st.builds(
        Metadata,
        uid=st.sampled_from(["", "u1"]),
        creation_timestamp=TIMES.map(lambda time: time or ""),
        deletion_timestamp=TIMES,
        labels=st.sampled_from([{}, {"kernel_id": "k1"}]),
        annotations=st.sampled_from([{}, {END_ANNOTATION: left(REPORT)}, {END_ANNOTATION: "\ud800"}]),
    ),
    spec=st.just(captured("oom").pod.spec),
    status=st.builds(
        PodStatus,
        phase=st.sampled_from(["", "Pending", "Running", "Succeeded", "Failed", "Unknown"]),
        reason=st.sampled_from(["", "Evicted", "DeadlineExceeded", "Novel"]),
        message=TEXTS,
        pod_ip=st.sampled_from(["", "10.0.0.1"]),
        start_time=TIMES,
        conditions=st.lists(CONDITIONS, max_size=2).map(tuple),
        container_statuses=st.lists(
            st.builds(ContainerStatus, name=st.sampled_from(["kernel", "agent", "other"]), state=STATES), max_size=3
        ).map(tuple),
    ),
)
EVENTS = st.builds(
    Event,
    metadata=st.builds(Metadata, name=TEXTS, creation_timestamp=TIMES.map(lambda time: time or "")),
    involved_object=st.builds(ObjectReference, uid=st.sampled_from(["", "u1", "u2"])),
    reason=st.sampled_from(["", "Scheduled", "Pulling", "Pulled", "Failed", "FailedMount", "TriggeredScaleUp"]),
    message=TEXTS,
    type=st.sampled_from(["", "Normal", "Warning"]),
    first_timestamp=TIMES,
    last_timestamp=TIMES,
    event_time=TIMES,
)


@given(
    pod=PODS,
    events=st.lists(EVENTS, max_size=4),
    deadline=st.floats(0, BEGIN * 2),
    now=st.floats(0, BEGIN * 2),
)
def test_whatever_the_cluster_says_there_is_an_answer(pod: Pod, events: list[Event], deadline: float, now: float):
    answer = observe(pod, events, deadline, now, PATIENCE)
    assert bool(answer.reason) == (answer.phase is Phase.ENDED)
    assert answer.phase is Phase.ENDED or not answer.failing
    assert answer.recheck is None or (answer.phase is Phase.STARTING and answer.recheck > now)
    assert answer == observe(pod, [*reversed(events), *events], deadline, now, PATIENCE)
