"""A Kubernetes cluster as an administrator sees it: by kubectl, with the rights of KUBECONFIG.

Nothing here imports the product or a Kubernetes client. Each test works in a namespace of its own, which enforces
Pod Security `restricted`, and which is deleted afterwards with all that is in it.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from support.wait import eventually

COMMAND_DEADLINE = 120.0
"""Seconds one kubectl may take."""
CLEAN_DEADLINE = 60.0
"""Seconds until what was deleted is gone."""

KERNELS = "app=enterprise-gateway,component=kernel"
"""Selects the kernels' pods."""

Object = dict[str, Any]


class KubectlError(Exception):
    """kubectl says no."""


def kubectl(*args: str, stdin: str | None = None) -> str:
    """Runs kubectl and returns what it prints.

    Raises:
        KubectlError: with what it says instead.
    """
    done = subprocess.run(
        ["kubectl", *args],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=COMMAND_DEADLINE,
        check=False,
    )
    if done.returncode != 0:
        raise KubectlError(f"kubectl {' '.join(args)}: {done.stderr.strip()}")
    return done.stdout


def kubeconfig() -> str:
    """The file that says which cluster the tests may use; there is no default, so that none is used by accident."""
    path = os.environ.get("KUBECONFIG", "")
    assert path, "KUBECONFIG must name the cluster that these tests may use"
    return path


def node_address() -> str:
    """Where NodePorts are, and where pods find programs of this machine: the cluster's node is this machine."""
    server = kubectl("config", "view", "--minify", "--output", "jsonpath={.clusters[0].cluster.server}")
    return str(urlsplit(server).hostname)


class Namespace:
    """A fresh namespace; `labels` are added to those of Pod Security."""

    def __init__(self, labels: Mapping[str, str] | None = None) -> None:
        self.name = f"eg-test-{secrets.token_hex(4)}"
        self._labels = {"pod-security.kubernetes.io/enforce": "restricted", **(labels or {})}

    def __enter__(self) -> Self:
        manifest = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": self.name, "labels": self._labels},
        }
        kubectl("apply", "--filename", "-", stdin=json.dumps(manifest))
        # The cluster makes it a moment after the namespace, and takes no pod before.
        eventually(lambda: "default" in self.names("serviceaccounts"), CLEAN_DEADLINE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Its end takes a while and matters to nobody: names are never used again.
        kubectl("delete", "namespace", self.name, "--wait=false")

    def __repr__(self) -> str:
        return f"<Namespace {self.name}>"

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        """kubectl in this namespace."""
        return kubectl("--namespace", self.name, *args, stdin=stdin)

    def apply(self, *objects: Object) -> None:
        """Creates or changes objects."""
        self.kubectl(
            "apply", "--filename", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        )

    def get(self, kind: str, name: str) -> Object:
        """One object."""
        return dict(json.loads(self.kubectl("get", kind, name, "--output=json")))

    def list(self, kind: str, selector: str = "") -> list[Object]:
        """All objects of a kind that a selector selects."""
        found = json.loads(self.kubectl("get", kind, "--output=json", f"--selector={selector}"))
        return list(found["items"])

    def names(self, kind: str, selector: str = "") -> set[str]:
        """The names of all objects of a kind that a selector selects."""
        return {found["metadata"]["name"] for found in self.list(kind, selector)}

    def kernel_pod(self, kernel_id: str) -> Object:
        """The one pod of a kernel."""
        (pod,) = self.list("pods", f"{KERNELS},kernel_id={kernel_id}")
        return pod

    def kernel_objects(self) -> set[str]:
        """Everything that kernels left in the namespace, as `kind/name`."""
        pods = {f"pod/{name}" for name in self.names("pods", KERNELS)}
        return pods | {f"secret/{name}" for name in self.names("secrets") if name != "enterprise-gateway"}

    def until_no_kernel_is_left(self) -> None:
        """Waits until pods and Secrets of kernels are gone."""
        end = time.monotonic() + CLEAN_DEADLINE
        while left := self.kernel_objects():
            assert time.monotonic() < end, f"left of kernels after {CLEAN_DEADLINE:g} s: {left}"
            time.sleep(0.2)

    def logs(self, pod: str, container: str = "") -> str:
        """What a container, or the pod's only one, wrote so far."""
        return self.kubectl("logs", pod, *([f"--container={container}"] if container else []))

    def execute(self, pod: str, *command: str, container: str = "") -> str:
        """Runs a command in a container and returns what it prints."""
        where = [f"--container={container}"] if container else []
        return self.kubectl("exec", pod, *where, "--", *command)
