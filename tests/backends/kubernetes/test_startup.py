"""Which starts go on and which fail: real pods (`captured`), and what no cluster of one node shows."""

from __future__ import annotations

import datetime

import pytest
from msgspec.structs import replace
from observed_pods import (
    BEGIN,
    LAUNCH_TIMEOUT,
    PATIENCE,
    RUNS,
    captured,
    event,
    pending,
    seen,
    stamp,
    unschedulable,
    waiting,
)

from enterprise_gateway.backends.kubernetes.objects import Metadata, Pod
from enterprise_gateway.backends.kubernetes.observe import observe
from enterprise_gateway.core.records import Phase


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


def test_a_silent_node_ends_nothing():
    pod = pending()
    unknown = replace(pod, status=replace(pod.status, phase="Unknown", reason="NodeLost"))
    assert seen(unknown, at=10_000).phase is Phase.STARTING


def test_nothing_known_is_a_start_that_has_its_time():
    now = observe(Pod(metadata=Metadata()), [], BEGIN, BEGIN - 1, PATIENCE)
    assert (now.phase, now.recheck) == (Phase.STARTING, BEGIN)
