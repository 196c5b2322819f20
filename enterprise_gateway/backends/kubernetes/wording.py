"""What parts of Kubernetes say, in words for a person in a notebook: short, on one line, without what is said twice.

Pure. It decides nothing: `observe` and `startup` do.
"""

from __future__ import annotations

import datetime
import functools
import re
import signal

from enterprise_gateway.backends.kubernetes.objects import Pod, Terminated
from enterprise_gateway.core.exits import describe_exit

LONGEST = 600
"""Characters of a message that a person is shown."""

NEVER_RAN = frozenset({"StartError", "ContainerCannotRun", "ContainerStatusUnknown"})
"""Reasons of a container that ended without running; its exit code is kubelet's own."""

_WRAPPING = re.compile(
    r"(?:Error: )?(?:ErrImagePull|ImagePullBackOff): "
    r"|Back-off pulling image \"[^\"]*\": "
    r"|[Ff]ailed to (?:pull and unpack image|pull image|resolve reference|resolve image) \"[^\"]*\": "
    r"|failed to do request: "
    r"|rpc error: code = \w+ desc = "
    r"|(?:Error: )?failed to (?:create|start) (?:containerd|shim) task: "
    r"|OCI runtime create failed: "
    r"|runc create failed: "
    r"|unable to start container process: "
    r"|Error: "
)
"""What each layer puts before the message of the layer below it."""
_PLACE = re.compile(r" \(pod: \"[^\"]*\", container: [^)]*\)$")
_FOR_SCHEDULERS = re.compile(r",? ?(?:no new claims to deallocate, ?)?preemption: .*", re.DOTALL)


@functools.lru_cache(maxsize=4096)
def unix(timestamp: str | None) -> float:
    """Unix seconds of an RFC 3339 `timestamp`; 0 when there is none that can be read."""
    try:
        moment = datetime.datetime.fromisoformat(timestamp or "")
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return max(0.0, moment.timestamp())


def shortened(message: str) -> str:
    """`message` on one line, not longer than a person reads."""
    line = " ".join(message.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def innermost(message: str) -> str:
    """`message` without the names of the layers that it came through."""
    line = " ".join(message.split())
    while match := _WRAPPING.match(line):
        line = line[match.end() :]
    return shortened(_PLACE.sub("", line.removesuffix(": unknown")))


def schedulers_words(message: str) -> str:
    """Why the scheduler found no node, without what it thought about preempting others."""
    return shortened(_FOR_SCHEDULERS.sub("", message).rstrip(". "))


def with_detail(text: str, detail: str) -> str:
    """`text: detail`, or the text alone."""
    return f"{text}: {detail}" if detail else text


def exit_code(end: Terminated) -> int | None:
    """As Python's `returncode`: a negative number is a signal. None when nothing ran that could have had one."""
    if end.reason in NEVER_RAN:
        return None
    if end.signal > 0:
        return -end.signal
    # What sh and container runtimes make of a signal.
    return 128 - end.exit_code if 128 < end.exit_code <= 128 + 64 else end.exit_code


def how_it_ended(pod: Pod, container: str, end: Terminated) -> str:
    """`exit code 3`, `signal 9 (SIGKILL)`, `out of memory, its limit is 2Gi`."""
    code = exit_code(end)
    if code is None:
        return innermost(end.message) or end.reason
    if end.reason != "OOMKilled":
        return describe_exit(code)
    if code == -signal.SIGKILL:
        return out_of_memory(pod, container)
    # A runtime says so of every container in which any process was ever killed for memory.
    return f"{describe_exit(code)}; a process in its container ran {out_of_memory(pod, container)}"


def out_of_memory(pod: Pod, container: str) -> str:
    """`out of memory`, with the limit that was asked for."""
    limit = next((str(c.resources.limits.get("memory", "")) for c in pod.spec.containers if c.name == container), "")
    return f"out of memory, its limit is {limit}" if limit else "out of memory"
