"""The machine of the cluster's node, which is this one: what only its administrator can do to it."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import signal
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from support.cluster import kubectl
from support.wait import eventually

COMMAND_DEADLINE = 180.0
"""Seconds until a part of the cluster is up again."""
PROBE_DEADLINE = 110.0
PROBE_IMAGE = "localhost/kernel-py:dev"
"""Any that is there."""


def kill_container(pod: dict[str, Any], container: str) -> None:
    """SIGKILL to a container's first process, which takes all others with it."""
    os.kill(node_pid(pod, container), signal.SIGKILL)


def kill_in_container(pod: dict[str, Any], container: str, pid: int) -> None:
    """SIGKILL to a process whose number, as its container sees it, is `pid`."""
    os.kill(node_pid(pod, container, pid), signal.SIGKILL)


def restarts(pod: dict[str, Any]) -> int:
    """How often kubelet has restarted the container of a pod that has one."""
    (status,) = pod["status"]["containerStatuses"]
    return int(status["restartCount"])


def node_pid(pod: dict[str, Any], container: str, pid: int = 1) -> int:
    """What the node calls a process that its container calls `pid`.

    Raises:
        LookupError: there is none.
    """
    (status,) = (each for each in pod["status"]["containerStatuses"] if each["name"] == container)
    container_id = status["containerID"].rpartition("/")[2]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if container_id in (process / "cgroup").read_text() and _innermost(process) == pid:
                return int(process.name)
        except (FileNotFoundError, ProcessLookupError):
            continue
    raise LookupError(f"no process {pid} of {container} in {pod['metadata']['name']} on this machine")


def _innermost(process: Path) -> int:
    lines = (process / "status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("NSpid:")).split()[-1])


def node_was_heard() -> datetime:
    """When the node last said that it lives; one that is silent for 40 s loses the replicas' addresses."""
    leases = json.loads(kubectl("--namespace", "kube-node-lease", "get", "leases", "--output", "json"))["items"]
    return min(datetime.fromisoformat(lease["spec"]["renewTime"]) for lease in leases)


def until_pods_run() -> None:
    """Waits until scheduler and kubelet do their work: after an outage each looks again within a minute or two."""
    name = f"probe-{secrets.token_hex(4)}"
    in_default = ("--namespace", "default")
    options = ("--restart=Never", "--image-pull-policy=IfNotPresent", "--command", "--", "true")
    kubectl("run", name, *in_default, f"--image={PROBE_IMAGE}", *options)
    try:
        ended = "--for=jsonpath={.status.phase}=Succeeded"
        kubectl("wait", f"pod/{name}", *in_default, ended, f"--timeout={PROBE_DEADLINE:g}s")
    finally:
        kubectl("delete", "pod", name, *in_default, "--wait=false")


class Control:
    """Stops and starts the cluster's parts by a command: `COMMAND stop PART`, `COMMAND up`, `COMMAND restart PART`."""

    def __init__(self, command: str) -> None:
        self._command = shlex.split(command)

    @classmethod
    def from_environment(cls) -> Control | None:
        """That of CLUSTER_COMMAND; None where it is not set."""
        command = os.environ.get("CLUSTER_COMMAND", "")
        return cls(command) if command else None

    def stop(self, part: str) -> None:
        self._run("stop", part)

    def up(self) -> None:
        """Starts all that does not run, and waits until it serves and has heard of its node again."""
        self._run("up")
        began = datetime.now(UTC)
        eventually(lambda: node_was_heard() > began, COMMAND_DEADLINE)

    def restart(self, part: str) -> None:
        self._run("restart", part)

    def _run(self, *words: str) -> None:
        done = subprocess.run(
            [*self._command, *words], capture_output=True, text=True, timeout=COMMAND_DEADLINE, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stderr}"
