"""The script of a kernel's container, under the shells that are installed here, with folders of a test's own."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil

import enterprise_gateway
from enterprise_gateway.core import pods

SCRIPT = Path(enterprise_gateway.__file__).parent / "backends" / "kubernetes" / pods.SUPERVISOR_FILE
SHELLS = {
    name: command
    for name, command in {"dash": ("dash",), "busybox": ("busybox", "sh"), "bash": ("bash", "--posix")}.items()
    if shutil.which(command[0])
}
DEADLINE = 30.0


def supervisor_command(root: Path, shell: Sequence[str]) -> list[str]:
    """What runs the script with its folders below `root`; the kernel's command comes behind it."""
    script = SCRIPT.read_text()
    for path in (pods.SHARED_FOLDER, pods.SECRET_FOLDER, "/sys/fs/cgroup"):
        (root / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
        script = script.replace(path, str(root / path.lstrip("/")))
    file = root / pods.SUPERVISOR_FILE
    file.write_text(script.replace("/bin/sh -c", f"{shlex.join(shell)} -c"))
    return [*shell, str(file)]


def end_session(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads its session, and whatever has descended from it; stopped, it starts nothing new."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGSTOP)
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(DEADLINE)
