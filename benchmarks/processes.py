"""What a process costs, read from outside: CPU time, private memory, file descriptors. Linux."""

from __future__ import annotations

from pathlib import Path

import psutil

NANOSECONDS = 1e9
MIB = 1 << 20


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads that still run; /proc/…/stat would count in steps of 10 ms."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / NANOSECONDS


def private_memory(pid: int) -> float:
    """MiB that nobody else shares (USS); what would be free again if the process ended."""
    return float(psutil.Process(pid).memory_full_info().uss / MIB)


def open_files(pid: int) -> int:
    return psutil.Process(pid).num_fds()


def parent(pid: int) -> int:
    return psutil.Process(pid).ppid()


def end_all(marker: str) -> None:
    """Kill every process whose command line or environment mentions `marker`, and wait for their end."""
    mine = psutil.Process().pid
    marked = [process for process in psutil.process_iter() if process.pid != mine and mentions(process, marker)]
    for process in marked:
        process.kill()
    psutil.wait_procs(marked, timeout=10)


def mentions(process: psutil.Process, text: str) -> bool:
    try:
        return any(text in part for part in (*process.cmdline(), *process.environ().values()))
    except psutil.Error:
        return False


def in_cgroup(marker: str) -> list[int]:
    """The processes in control groups whose path mentions `marker`, as a container's does its id."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker in (folder / "cgroup").read_text():
                found.append(int(folder.name))
        except OSError:  # it has ended meanwhile
            continue
    return found
