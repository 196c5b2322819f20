"""What the cluster says of a kernel's pod, as the state of the kernel in it.

Pure: a pod, the events about it and the time go in, an observation comes out, the same in every replica. It never
raises and ends nothing for lack of data. It refuses to know how pods are read, and what is done about one that fails.

Sources, best first: the report that the agent left in its container's status; the end that a gateway wrote on the pod;
what ended the whole pod; what kubelet says of the containers; for a pod that does not run yet, `startup`.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence

import msgspec

from enterprise_gateway.backends.kubernetes import wording
from enterprise_gateway.backends.kubernetes.objects import (
    AGENT_CONTAINER,
    Condition,
    ContainerState,
    Event,
    Pod,
    Terminated,
)
from enterprise_gateway.backends.kubernetes.startup import (
    Start,
    StartPatience,
    first_seen,
    in_order,
    is_race,
    outlook,
)
from enterprise_gateway.core.records import EndReport, Phase, ProgressEvent

__all__ = ["END_ANNOTATION", "Observation", "StartPatience", "observe"]

END_ANNOTATION = "enterprise-gateway/end"
"""On a pod: the `EndReport` (JSON) of whoever saw first that it fails, and ended it in the same request."""

_NO_STEPS = frozenset({"BackOff", "Killing"})
"""Events that are no steps of a start."""

_POD_ENDS = {
    "Evicted": "its pod was evicted",
    "NodeLost": "its node was lost",
    "Terminated": "its node was shut down",
    "NodeShutdown": "its node was shut down",
    "Shutdown": "its node was shut down",
    "Preempting": "its pod was preempted",
    "Preempted": "its pod was preempted",
    "DeadlineExceeded": "its pod was stopped",
}
"""`status.reason` of a pod, in words."""
_DISRUPTIONS = {
    "EvictionByEvictionAPI": "its pod was evicted",
    "PreemptionByScheduler": "its pod was preempted",
    "DeletionByTaintManager": "its node was lost or emptied",
    "DeletionByPodGC": "its node is gone",
    "TerminationByKubelet": "its pod was ended by its node",
}
"""Reasons of the condition `DisruptionTarget`, in words."""
_STOPPED = frozenset({0, -signal.SIGKILL, -signal.SIGTERM, None})
"""Exit codes that stopping a pod causes by itself."""


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a kernel from outside."""

    phase: Phase
    """RUNNING once both containers run."""
    host: str = ""
    """The pod's address; empty until it is known."""
    reason: str = ""
    """Why it ended or cannot start."""
    ended: float = 0.0
    """Unix seconds."""
    exit_code: int | None = None
    """Negative: the signal that ended it."""
    log_tail: str = ""
    progress: tuple[ProgressEvent, ...] = ()
    """Oldest first."""
    failing: bool = False
    """The pod is not over, but its kernel cannot work: whoever sees it first must end the pod. `phase` is ENDED."""
    recheck: float | None = None
    """Unix seconds when time alone may change this answer."""


class _End(msgspec.Struct, frozen=True):
    report: EndReport
    failing: bool = False


def observe(pod: Pod, events: Sequence[Event], deadline: float, now: float, rules: StartPatience) -> Observation:
    """The state of the kernel in `pod`.

    Args:
        pod: As the cluster has it.
        events: Those about the pod, in any order, perhaps none, perhaps of an earlier pod of the same name.
        deadline: Unix seconds by which its containers should all run.
        now: Unix seconds.
        rules: For how long a start that makes progress may take.
    """
    mine = in_order(pod, events)
    seen = Observation(phase=Phase.STARTING, host=pod.status.pod_ip, progress=_progress(pod, mine))
    end = _end(pod, now)
    if end is not None:
        return _ended(seen, end)
    if _state(pod, pod.kernel_container).running and _state(pod, AGENT_CONTAINER).running:
        return msgspec.structs.replace(seen, phase=Phase.RUNNING)
    if pod.status.phase not in ("", "Pending", "Running"):
        return seen  # Unknown: its node is silent, which may pass.
    hope = outlook(Start(pod=pod, events=mine, deadline=deadline, patience=rules, now=now))
    if hope.failure:
        return _ended(seen, _End(EndReport(reason=hope.failure, time=now), failing=True))
    return msgspec.structs.replace(seen, recheck=hope.recheck)


def _ended(seen: Observation, end: _End) -> Observation:
    report = end.report
    return msgspec.structs.replace(
        seen,
        phase=Phase.ENDED,
        reason=report.reason,
        ended=report.time,
        exit_code=report.exit_code,
        log_tail=report.log_tail,
        failing=end.failing,
    )


def _progress(pod: Pod, events: Sequence[Event]) -> tuple[ProgressEvent, ...]:
    told: dict[tuple[str, str], ProgressEvent] = {}
    time = 0.0
    for event in events:
        bare = event.reason == "Failed" and " " not in event.message.removeprefix("Error: ")
        if not event.reason or event.reason in _NO_STEPS or bare or is_race(pod, event):
            continue
        shorten = wording.schedulers_words if event.reason == "FailedScheduling" else wording.shortened
        message = shorten(event.message)
        time = max(time, first_seen(event))
        told.setdefault((event.reason, message), ProgressEvent(time, event.reason, message))
    return tuple(told.values())


def _state(pod: Pod, container: str) -> ContainerState:
    return next((s.state for s in pod.status.container_statuses if s.name == container), ContainerState())


def _end(pod: Pod, now: float) -> _End | None:
    """How the kernel ended; None while nothing says that it did."""
    kernel = _state(pod, pod.kernel_container).terminated
    agent = _state(pod, AGENT_CONTAINER).terminated
    over = pod.status.phase in ("Succeeded", "Failed")
    going = over or pod.metadata.deletion_timestamp is not None
    report = _decoded(agent.message if agent else "")
    recorded = _decoded(pod.metadata.annotations.get(END_ANNOTATION, ""))
    # An agent that was stopped with its pod only knows that it was told to end.
    if recorded is not None and (report is None or recorded.time <= report.time):
        return _End(_with_log(recorded, kernel))
    if report is not None:
        return _End(_enriched(report, pod, kernel), failing=kernel is None and not going)
    if going:
        return _End(_pods_end(pod, kernel, agent, now))
    if kernel is not None and (agent is None or _time(kernel, 0.0) <= _time(agent, now)):
        agent_runs = _state(pod, AGENT_CONTAINER).running is not None
        hopeless = kernel.reason in wording.NEVER_RAN or not agent_runs
        return _End(_kernels_end(pod, kernel, now), failing=hopeless and agent is None)
    if agent is not None:
        return _End(_agents_end(pod, agent, now), failing=True)
    return None


def _decoded(text: str) -> EndReport | None:
    if not text:
        return None
    try:
        report = msgspec.json.decode(text, type=EndReport)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
    return report if report.reason else None


def _enriched(report: EndReport, pod: Pod, kernel: Terminated | None) -> EndReport:
    """The agent's report, with what only the cluster knows."""
    report = _with_log(report, kernel)
    if kernel is not None and kernel.reason == "OOMKilled" and report.exit_code == -signal.SIGKILL:
        memory = wording.out_of_memory(pod, pod.kernel_container)
        return msgspec.structs.replace(report, reason=f"{report.reason}: {memory}")
    if report.exit_code not in _STOPPED:
        return report
    disruption = _disruption(pod)
    if pod.status.phase == "Failed" and pod.status.reason:
        return msgspec.structs.replace(report, reason=_pod_words(pod))
    if disruption is not None and int(_since(disruption)) <= report.time:
        return msgspec.structs.replace(report, reason=_disruption_words(disruption))
    return report


def _with_log(report: EndReport, kernel: Terminated | None) -> EndReport:
    """Kubelet knows a container's last output; it may tell it after somebody else has told of the end."""
    return report if report.log_tail else msgspec.structs.replace(report, log_tail=_log_tail(kernel))


def _since(condition: Condition) -> float:
    return wording.unix(condition.last_transition_time)


def _pods_end(pod: Pod, kernel: Terminated | None, agent: Terminated | None, now: float) -> EndReport:
    """The pod is over or is being deleted: because of the kernel, or the kernel because of it?"""
    if kernel is not None and (kernel.reason == "OOMKilled" or wording.exit_code(kernel) not in _STOPPED):
        return _kernels_end(pod, kernel, now)
    cause = _cause(pod)
    if not cause and kernel is not None:
        return _kernels_end(pod, kernel, now)
    if not cause and agent is not None:
        return _agents_end(pod, agent, now)
    if not cause:
        cause = wording.with_detail(f"its pod ended ({pod.status.phase})", wording.shortened(pod.status.message))
    return EndReport(reason=cause, time=_pods_time(pod, kernel, now), log_tail=_log_tail(kernel))


def _cause(pod: Pod) -> str:
    if pod.status.reason:
        return _pod_words(pod)
    disruption = _disruption(pod)
    if disruption is not None:
        return _disruption_words(disruption)
    return "its pod was deleted" if pod.metadata.deletion_timestamp is not None else ""


def _pod_words(pod: Pod) -> str:
    words = _POD_ENDS.get(pod.status.reason, f"its pod failed ({pod.status.reason})")
    return wording.with_detail(words, wording.shortened(pod.status.message))


def _disruption(pod: Pod) -> Condition | None:
    return next((c for c in pod.status.conditions if c.type == "DisruptionTarget" and c.status == "True"), None)


def _disruption_words(condition: Condition) -> str:
    words = _DISRUPTIONS.get(condition.reason, f"its pod was disrupted ({condition.reason})")
    return wording.with_detail(words, wording.shortened(condition.message))


def _kernels_end(pod: Pod, kernel: Terminated, now: float) -> EndReport:
    code = wording.exit_code(kernel)
    words = wording.how_it_ended(pod, pod.kernel_container, kernel)
    reason = f"the kernel ended ({words})" if code is not None else f"the kernel could not be started: {words}"
    return EndReport(reason=reason, time=_time(kernel, now), exit_code=code, log_tail=_log_tail(kernel))


def _agents_end(pod: Pod, agent: Terminated, now: float) -> EndReport:
    words = wording.how_it_ended(pod, AGENT_CONTAINER, agent)
    last_line = agent.message.strip().rpartition("\n")[2]
    if wording.exit_code(agent) is None:
        last_line = ""
    reason = wording.with_detail(f"its agent ended ({words})", wording.shortened(last_line))
    return EndReport(reason=reason, time=_time(agent, now))


def _log_tail(kernel: Terminated | None) -> str:
    return kernel.message if kernel is not None and kernel.reason not in wording.NEVER_RAN else ""


def _time(end: Terminated, now: float) -> float:
    return wording.unix(end.finished_at) or now


def _pods_time(pod: Pod, kernel: Terminated | None, now: float) -> float:
    """When the pod ended, as near as its status says."""
    if kernel is not None and kernel.finished_at:
        return _time(kernel, now)
    if pod.metadata.deletion_timestamp is not None:
        return min(now, wording.unix(pod.metadata.deletion_timestamp) or now)
    return max(map(_since, pod.status.conditions), default=0.0) or now
