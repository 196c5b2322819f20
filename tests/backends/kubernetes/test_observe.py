"""Real pods as kubelet and the scheduler left them (`captured`), and what no cluster of one node shows."""

from __future__ import annotations

import datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

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
from enterprise_gateway.backends.kubernetes.observe import END_ANNOTATION, Observation, StartPatience, observe
from enterprise_gateway.core.records import EndReport, Phase

FOLDER = Path(__file__).parent / "captured"
PATIENCE = StartPatience()
BEGIN = 1_700_000_000.0
"""Unix seconds of the creation of pods that were not captured."""
LAUNCH_TIMEOUT = 60.0


class Captured(msgspec.Struct):
    pod: Pod
    events: list[Event]

    @property
    def created(self) -> float:
        return datetime.datetime.fromisoformat(self.pod.metadata.creation_timestamp).timestamp()

    def at(self, seconds: float) -> Observation:
        """As it is seen so long after its creation."""
        return observe(self.pod, self.events, self.created + LAUNCH_TIMEOUT, self.created + seconds, PATIENCE)


def captured(name: str) -> Captured:
    return msgspec.json.decode((FOLDER / f"{name}.json").read_bytes(), type=Captured)


def stamp(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(BEGIN + seconds, datetime.UTC).isoformat()


def event(
    reason: str, message: str = "", first: float = 0.0, last: float | None = None, type_: str = "Normal"
) -> Event:
    return Event(
        metadata=Metadata(name=f"pod.{int(first * 1e9):016x}"),
        reason=reason,
        message=message,
        type=type_,
        first_timestamp=stamp(first),
        last_timestamp=stamp(first if last is None else last),
    )


def pending(
    kernel: ContainerState | None = None, agent: ContainerState | None = None, *conditions: Condition, ip: str = ""
) -> Pod:
    """A pod on its node."""
    creating = ContainerState(waiting=Waiting(reason="ContainerCreating"))
    pod = captured("success").pod
    statuses = (
        ContainerStatus(name="agent", state=agent or creating),
        ContainerStatus(name="kernel", state=kernel or creating),
    )
    return replace(
        pod,
        metadata=Metadata(name="pod", creation_timestamp=stamp(0), labels={"kernel_id": "k1"}),
        status=PodStatus(phase="Pending", conditions=conditions, container_statuses=statuses, pod_ip=ip),
    )


def unschedulable(since: float = 0.0) -> Pod:
    condition = Condition(
        type="PodScheduled",
        status="False",
        reason="Unschedulable",
        message="0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: 0/1 nodes are available",
        last_transition_time=stamp(since),
    )
    return Pod(
        metadata=Metadata(name="pod", creation_timestamp=stamp(0)),
        status=PodStatus(phase="Pending", conditions=(condition,)),
    )


def seen(pod: Pod, *events: Event, at: float, patience: StartPatience = PATIENCE) -> Observation:
    return observe(pod, events, BEGIN + LAUNCH_TIMEOUT, BEGIN + at, patience)


def waiting(reason: str, message: str = "") -> ContainerState:
    return ContainerState(waiting=Waiting(reason=reason, message=message))


def terminated(exit_code: int, reason: str = "Error", message: str = "", at: float = 30.0) -> ContainerState:
    end = Terminated(exit_code=exit_code, reason=reason, message=message, finished_at=stamp(at))
    return ContainerState(terminated=end)


RUNS = ContainerState(running=Running())
REPORT = EndReport(reason="told to end", time=BEGIN + 40, exit_code=None, log_tail="last")


def left(report: EndReport) -> str:
    return msgspec.json.encode(report).decode()


# What the cluster really said.


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
    ("name", "words"),
    [
        (
            "image-missing",
            (
                'the image "localhost/nothing:1" of its kernel container cannot be used: '
                'Head "http://localhost/v2/nothing/manifests/1": dial tcp 127.0.0.1:80: connect: connection refused'
            ),
        ),
        (
            "image-invalid",
            (
                'the image "UPPER/case" of its kernel container cannot be used: failed to parse image reference '
                '"UPPER/case:latest": invalid reference format: repository name must be lowercase'
            ),
        ),
        (
            "image-never",
            (
                'the image "localhost/nothing:1" of its kernel container cannot be used: '
                'Container image "localhost/nothing:1" is not present with pull policy of Never'
            ),
        ),
        (
            "no-command",
            'the kernel could not be started: exec: "/no/such/thing": stat /no/such/thing: no such file or directory',
        ),
    ],
)
def test_a_start_that_cannot_work_fails_at_once_and_says_why(name: str, words: str):
    now = captured(name).at(3)
    assert (now.phase, now.failing, now.reason) == (Phase.ENDED, True, words)


@pytest.mark.parametrize("name", ["secret-volume-first", "secret-env-first"])
def test_a_pod_that_is_quicker_than_its_secret_is_just_starting(name: str):
    now = captured(name).at(3)
    assert (now.phase, now.failing) == (Phase.STARTING, False)
    assert [step for step in now.progress if "not found" in step.message] == []


@pytest.mark.parametrize("name", ["secret-volume", "secret-env"])
def test_a_secret_that_never_came_is_the_end_of_the_start(name: str):
    now = captured(name).at(25)
    assert (now.phase, now.failing) == (Phase.ENDED, True)
    assert now.reason == "its Secret was never made: the gateway that started it must have ended half-way"


@pytest.mark.parametrize("name", ["late-vol-0", "late-env-3"])
def test_a_late_secret_leaves_no_trace_on_a_running_kernel(name: str):
    assert captured(name).at(20).phase is Phase.RUNNING


def test_a_container_that_can_never_be_made_fails_when_kubelet_has_tried_twice():
    start = captured("runs-as-root")
    assert start.at(30).reason == (
        "its kernel container cannot be made: container has runAsNonRoot and image will run as root"
    )
    once = start.events = [replace(e, last_timestamp=e.first_timestamp) for e in start.events]
    first = next(e for e in once if e.reason == "Failed").first_timestamp
    assert start.at(8).phase is Phase.STARTING
    assert start.at(8).recheck == datetime.datetime.fromisoformat(first or "").timestamp() + 30


def test_no_node_fails_after_its_grace_with_the_schedulers_words():
    start = captured("unschedulable")
    early = start.at(5)
    assert (early.phase, early.recheck) == (Phase.STARTING, start.created + PATIENCE.unschedulable)
    late = start.at(16)
    assert (late.phase, late.failing) == (Phase.ENDED, True)
    assert late.reason == "no node can take its pod: 0/1 nodes are available: 1 Insufficient cpu"


def test_a_claim_that_does_not_exist_is_named():
    assert 'persistentvolumeclaim "none" not found' in captured("claim-missing").at(16).reason


def test_a_volume_that_cannot_be_mounted_is_progress_until_the_deadline_quotes_it():
    start = captured("volume-missing")
    now = start.at(40)
    assert (now.phase, now.recheck) == (Phase.STARTING, start.created + LAUNCH_TIMEOUT)
    assert now.progress[-1].reason == "FailedMount"
    assert start.at(60).reason == (
        'its pod did not start within 60 seconds: FailedMount: MountVolume.SetUp failed for volume "s" : '
        "hostPath type check failed: /nonexistent-dir is not a directory"
    )


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


# Images.


@pytest.mark.parametrize(
    "message",
    [
        (
            'Back-off pulling image "localhost/debian-python:12": ErrImagePull: rpc error: code = NotFound desc = '
            'failed to pull and unpack image "localhost/debian-python:12": no such image'
        ),
        'Back-off pulling image "localhost/debian-python:12"',
        "",
    ],
)
def test_a_pull_that_is_put_off_names_the_failure_before_it(message: str):
    failed = 'Failed to pull image "localhost/debian-python:12": rpc error: code = NotFound desc = no such image'
    now = seen(pending(kernel=waiting("ImagePullBackOff", message)), event("Failed", failed, 2), at=5)
    assert now.reason == 'the image "localhost/debian-python:12" of its kernel container cannot be used: no such image'


def test_a_message_without_end_is_cut():
    now = seen(pending(kernel=waiting("ErrImagePull", "x" * 5000)), at=5)
    assert len(now.reason) < 1000
    assert now.reason.endswith("…")


def test_an_image_that_is_being_pulled_puts_the_deadline_off():
    pulling = event("Pulling", 'Pulling image "localhost/debian-python:12"', 2)
    now = seen(pending(), pulling, at=300)
    assert (now.phase, now.recheck) == (Phase.STARTING, BEGIN + PATIENCE.slow_start)
    late = seen(pending(), pulling, at=PATIENCE.slow_start)
    assert late.reason == (
        'its pod did not start within 900 seconds: Pulling: Pulling image "localhost/debian-python:12"'
    )


def test_a_start_has_time_left_when_its_long_pull_is_done():
    events = [
        event("Pulling", 'Pulling image "localhost/debian-python:12"', 2),
        event("Pulled", 'Successfully pulled image "localhost/debian-python:12" in 5m', 302),
    ]
    assert seen(pending(), *events, at=310).recheck == BEGIN + 332
    assert seen(pending(), *events, at=332).failing


# Nodes.


def test_a_node_that_is_being_added_puts_everything_off():
    added = event("TriggeredScaleUp", "pod triggered scale-up: [{pool 1->2}]", 9)
    now = seen(unschedulable(), added, at=200)
    assert (now.phase, now.recheck) == (Phase.STARTING, BEGIN + PATIENCE.slow_start)
    late = seen(unschedulable(), added, at=PATIENCE.slow_start)
    assert "Insufficient nvidia.com/gpu; pod triggered scale-up" in late.reason


def test_an_autoscaler_that_will_not_help_ends_the_waiting():
    refused = event("NotTriggerScaleUp", "pod didn't trigger scale-up: 1 max node group size reached", 9)
    now = seen(unschedulable(), refused, at=10)
    assert now.failing
    assert now.reason.endswith("1 Insufficient nvidia.com/gpu; " + refused.message)
    later = event("TriggeredScaleUp", "pod triggered scale-up", 12)
    assert seen(unschedulable(), refused, later, at=20).phase is Phase.STARTING


def test_a_pod_that_got_a_late_node_has_time_to_start_there():
    events = [event("TriggeredScaleUp", "pod triggered scale-up", 9), event("Scheduled", "on node2", 100)]
    assert seen(pending(), *events, at=110).recheck == BEGIN + 130


# Volumes, networks.


def test_a_missing_secret_is_forgotten_when_the_pod_went_on():
    missing = event("FailedMount", 'MountVolume.SetUp failed for volume "s" : secret "kernel-k1" not found', 0, 7)
    assert seen(pending(), missing, at=10).failing
    assert not seen(pending(), missing, event("FailedCreatePodSandBox", "no network", 9), at=10).failing
    assert not seen(pending(ip="10.0.0.1"), missing, at=10).failing


def test_the_deadline_quotes_the_last_trouble():
    events = [
        event("Scheduled", "on node1", 1),
        event("FailedCreatePodSandBox", "plugin type=bridge failed", 2, 58, "Warning"),
        event("FailedMount", "timed out", 3, 4, "Warning"),
    ]
    now = seen(pending(), *events, at=60)
    assert now.reason == "its pod did not start within 60 seconds: FailedCreatePodSandBox: plugin type=bridge failed"


def test_without_events_the_deadline_says_what_the_containers_do():
    now = seen(pending(agent=RUNS), at=60)
    assert now.reason == "its pod did not start within 60 seconds: kernel container: ContainerCreating"


def test_a_pod_that_no_scheduler_saw_says_so():
    pod = Pod(metadata=Metadata(name="pod", creation_timestamp=stamp(0)))
    assert seen(pod, at=60).reason == "its pod did not start within 60 seconds: no scheduler has looked for a node"


def test_events_of_an_earlier_pod_of_that_name_are_not_its_own():
    start = captured("success")
    old = replace(event("FailedMount", "old"), involved_object=ObjectReference(uid="another"))
    start.events.append(old)
    assert "old" not in [step.message for step in start.at(5).progress]


# Ends.


def test_the_end_that_a_gateway_wrote_wins_over_an_agent_that_was_then_stopped():
    written = EndReport(reason="the image cannot be used", time=BEGIN + 39)
    pod = pending(agent=terminated(0, "Completed", left(REPORT)))
    pod = replace(pod, metadata=replace(pod.metadata, annotations={END_ANNOTATION: left(written)}))
    now = seen(pod, at=50)
    assert (now.phase, now.reason, now.failing) == (Phase.ENDED, "the image cannot be used", False)


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


def test_a_kernel_that_died_is_not_blamed_on_the_deletion_that_followed():
    pod = pending(kernel=terminated(3), agent=RUNS)
    pod = replace(pod, metadata=replace(pod.metadata, deletion_timestamp=stamp(50)))
    assert seen(pod, at=49).reason == "the kernel ended (exit code 3)"


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


def test_a_silent_node_ends_nothing():
    pod = pending()
    unknown = replace(pod, status=replace(pod.status, phase="Unknown", reason="NodeLost"))
    assert seen(unknown, at=10_000).phase is Phase.STARTING


def test_nothing_known_is_a_start_that_has_its_time():
    now = observe(Pod(metadata=Metadata()), [], BEGIN, BEGIN - 1, PATIENCE)
    assert (now.phase, now.recheck) == (Phase.STARTING, BEGIN)


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
