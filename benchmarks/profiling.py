"""One measurement with the gateway and an agent under py-spy, a sampling profiler that needs no cooperation.

py-spy is installed from PyPI when it is missing. It has to be allowed to trace processes.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmarks.bench import NULL, Bench
from benchmarks.rows import MEASUREMENTS, ON_FLEET

SAMPLES_PER_SECOND = 500
SHOWN = 25
WAITING = ("epoll_wait", "epoll_pwait")
"""Functions in which nothing is spent; py-spy takes a loop in C for a busy one."""


def profile(bench: Bench, name: str) -> str:
    """Where the gateway and one agent spend their time during a measurement, by function."""
    if name in ON_FLEET:
        bench.fleet.grow(1)
        gateway, peer = bench.fleet.gateway, bench.fleet.peers(1)[0]
    else:
        gateway, peer = bench.gateway, bench.peer(NULL, "v1")
    pids = {"gateway": gateway.pid, "agent": bench.agent_of(peer)}
    return during(lambda: MEASUREMENTS[name](bench), pids, bench.folder)


def during(work: Callable[[], object], pids: dict[str, int], folder: Path, *, native: bool = True) -> str:
    """Where the processes `pids` spend their time while `work` is done, by function; C functions too if `native`."""
    outputs = {part: folder / f"{part}.folded" for part in pids}
    profilers = [record(pid, outputs[part], native) for part, pid in pids.items()]
    try:
        work()
    finally:
        for profiler in profilers:
            profiler.send_signal(signal.SIGINT)
            profiler.wait()
    return "\n\n".join(f"{part}\n{top(output)}" for part, output in outputs.items())


def record(pid: int, output: Path, native: bool) -> subprocess.Popen[bytes]:
    command = [py_spy(), "record", "--pid", str(pid), "--rate", str(SAMPLES_PER_SECOND)]
    command += ["--format", "raw", "--output", str(output), "--duration", "3600", "--nolineno"]
    # Without C functions a loop that waits looks busy, but it does not hold the interpreter's lock.
    command += ["--native"] if native else ["--gil"]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def py_spy() -> str:
    """Path of the profiler, installed now if it is not there."""
    path = Path(sysconfig.get_path("scripts")) / "py-spy"
    if not path.exists():
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "py-spy"], check=True)
    return str(path)


def top(folded: Path) -> str:
    """The functions that were running, not waiting for another; each line of the file is `a;b;c COUNT`."""
    own: Counter[str] = Counter()
    for line in folded.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        function = stack.rpartition(";")[2]
        if not function.startswith(WAITING):
            own[function] += int(count)
    total = own.total() or 1
    return "\n".join(f"{count / total:6.1%}  {function}" for function, count in own.most_common(SHOWN))
