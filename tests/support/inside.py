"""What can be seen from inside of containers: which ports are reached, and where a secret can be read.

The programs run by the `python3` of the container itself, so its rights, its files and its network are what counts.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from support.cluster import Namespace

STRANGER_IMAGE = "localhost/kernel-py:dev"
"""Any with python3; this one is there."""
STRANGER_DEADLINE = 60
"""Seconds a stranger's pod may take until it is ready."""

REACH = """
import concurrent.futures, json, socket, sys

def reach(target):
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
    except TimeoutError:
        return "dropped"
    except ConnectionRefusedError:
        return "refused"
    except OSError as error:
        return str(error)
    return "open"

targets = sys.argv[1:]
with concurrent.futures.ThreadPoolExecutor(len(targets)) as pool:
    print(json.dumps(dict(zip(targets, pool.map(reach, targets)))))
"""
"""Prints for each `host:port` whether a TCP connection is `open`, `refused` by its host, or `dropped` on the way."""

FIND = """
import json, os, pathlib, sys

needles = {name: backwards[::-1].encode() for name, backwards in json.loads(sys.argv[1]).items()}
# Folders that a pod may mount something below; all else is the image, which knows no secret.
folders = ["/etc", "/run", "/var", "/tmp", "/home", "/root", "/dev/shm"]
files = [pathlib.Path(folder, file) for top in folders for folder, _, files in os.walk(top) for file in files]
processes = [each for each in pathlib.Path("/proc").iterdir() if each.name.isdigit() and each.name != str(os.getpid())]
found = {name: set() for name in needles}
for path in [*files, *(process / what for process in processes for what in ("environ", "cmdline"))]:
    try:
        content = path.read_bytes() if path.is_file() else b""
    except OSError:
        continue
    for name, needle in needles.items():
        if needle in content:
            found[name].add(path.name)
print(json.dumps({name: sorted(places) for name, places in found.items() if places}))
"""
"""Prints which texts are in which files, by name: in a mounted folder, or the `environ` or `cmdline` of a process.

The texts come backwards, so that the command line of the search itself does not hold them.
"""


def reached_here(targets: Iterable[str]) -> dict[str, str]:
    """What a program on the node finds at each `host:port`: the node is let in everywhere."""
    done = subprocess.run([sys.executable, "-c", REACH, *targets], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def reached_from(namespace: Namespace, pod: str, targets: Iterable[str], container: str = "") -> dict[str, str]:
    """What a program in a pod finds at each `host:port`."""
    return dict(json.loads(namespace.execute(pod, "python3", "-c", REACH, *targets, container=container)))


def readable(namespace: Namespace, pod: str, texts: Mapping[str, str], container: str = "") -> dict[str, list[str]]:
    """Names of the files in which a program in a container can read each text; texts it cannot read are left out."""
    backwards = json.dumps({name: text[::-1] for name, text in texts.items()})
    return dict(json.loads(namespace.execute(pod, "python3", "-c", FIND, backwards, container=container)))


class Stranger:
    """Somebody else's pod, with python3 and the rights that Pod Security `restricted` leaves."""

    def __init__(self, namespace: Namespace, program: str = "", **env: str) -> None:
        """`program` is Python; without one the pod only waits."""
        self.namespace = namespace
        self.name = "stranger"
        self._program = program or "import signal; signal.pause()"
        self._env = env

    def __enter__(self) -> Self:
        self.namespace.apply(stranger_pod(self.name, self._program, self._env))
        self.namespace.kubectl("wait", "--for=condition=Ready", f"pod/{self.name}", f"--timeout={STRANGER_DEADLINE}s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.namespace.kubectl("delete", "pod", self.name, "--grace-period=0", "--force")

    @property
    def address(self) -> str:
        return str(self.namespace.get("pod", self.name)["status"]["podIP"])

    @property
    def log(self) -> str:
        return self.namespace.logs(self.name)

    def reached(self, targets: Iterable[str]) -> dict[str, str]:
        """What it finds at each `host:port`."""
        return reached_from(self.namespace, self.name, targets)


def stranger_pod(name: str, program: str, env: Mapping[str, str]) -> dict[str, Any]:
    """A pod that passes Pod Security `restricted` and carries none of the gateway's labels."""
    container = {
        "name": name,
        "image": STRANGER_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", program],
        "env": [{"name": key, "value": value} for key, value in env.items()],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsUser": 1000, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": security,
            "containers": [container],
        },
    }
