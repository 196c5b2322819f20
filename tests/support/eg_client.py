"""Enterprise Gateway's client library, run against a gateway, and the scenarios it is there for, in each language."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

LIBRARY = Path(sys.prefix) / "share" / "enterprise-gateway-3"
"""Where the development environment has it: apart, because its package is called like ours."""
PROGRAM = Path(__file__).with_name("run_eg_client.py")
DEADLINE = 420.0
"""Seconds a kernel's life may take, with Spark's start and a JVM's restart in it."""
LAUNCH_TIMEOUT = "180"
"""What the library is told to ask for its kernels, in seconds: its 40 are too few for a JVM on a busy machine."""


@dataclass(frozen=True)
class Cells:
    """Cells that say the same in each language, and what a library sees of those that end with an error."""

    hello: str
    """Prints `Hello World`."""
    host: str
    """Prints the host's name."""
    scope: str
    """Prints 42, which a function makes of a variable of its cell."""
    define: str
    """Sets kept to 41."""
    use: str
    """Prints kept + 1."""
    slow: str
    """Prints `begin`, sleeps for long, prints `end`."""
    interrupted: str
    """In what the library makes of an interrupted cell."""
    unknown: str
    """In what it makes of a variable that nobody has set."""
    spark_id: str
    """Prints the application's id, as the next print Spark's version, master and deploy mode."""
    spark_version: str
    spark_master: str
    spark_mode: str


PYTHON = Cells(
    hello="print('Hello World')",
    host="import socket; print(socket.gethostname())",
    scope="number = 20\ndef scope():\n    return number + 22\nprint(scope())",
    define="kept = 41",
    use="print(kept + 1)",
    slow="import time; print('begin', flush=True); time.sleep(600); print('end')",
    interrupted="KeyboardInterrupt",
    unknown="NameError",
    spark_id="print(sc.applicationId)",
    spark_version="print(sc.version)",
    spark_master="print(sc.master)",
    spark_mode="print(sc.getConf().get('spark.submit.deployMode'))",
)
R = Cells(
    hello=r'cat("Hello World\n")',
    host='cat(Sys.info()[["nodename"]])',
    scope="number <- 20\nscope <- function() number + 22\ncat(scope())",
    define="kept <- 41",
    use="cat(kept + 1)",
    slow=r'cat("begin\n"); Sys.sleep(600); cat("end\n")',
    interrupted="begin",
    unknown="object 'kept' not found",
    spark_id="cat(sc$applicationId)",
    spark_version="cat(sc$version)",
    spark_master="cat(sc$master)",
    spark_mode='cat(sc$getConf()$get("spark.submit.deployMode"))',
)
SCALA = Cells(
    hello='println("Hello World")',
    host="println(java.net.InetAddress.getLocalHost.getHostName)",
    scope="val number = 20\ndef scope() = number + 22\nprintln(scope())",
    define="var kept = 41",
    use="println(kept + 1)",
    slow='println("begin"); Thread.sleep(600000); println("end")',
    interrupted="InterruptedException",
    unknown="not found: value kept",
    spark_id="println(sc.applicationId)",
    spark_version="println(sc.version)",
    spark_master="println(sc.master)",
    spark_mode='println(sc.getConf.get("spark.submit.deployMode"))',
)


@dataclass(frozen=True)
class Life:
    """What the library saw of a kernel's life: of each step its text, and whether that was an error."""

    kernel_id: str
    cells: Cells
    steps: dict[str, tuple[str, bool]]

    def printed(self, step: str) -> str:
        """What a step that worked printed."""
        text, failed = self.steps[step]
        assert not failed, f"{step}: {text}"
        return text.strip()

    def says_42(self, step: str) -> bool:
        """Whether a step that worked printed it; Toree tells in other lines what a cell has defined."""
        return "42" in self.printed(step).splitlines()


class Scenarios:
    """What EG's client library is there for; the fixture `life` of the module that has them runs it."""

    def test_hello_world_is_printed(self, life: Life) -> None:
        assert life.printed("hello") == "Hello World"

    def test_a_function_sees_the_variables_of_its_cell(self, life: Life) -> None:
        assert life.says_42("scope"), life.steps

    def test_an_interrupt_ends_a_long_sleep_and_keeps_what_was_defined(self, life: Life) -> None:
        text, _ = life.steps["interrupted"]
        assert life.cells.interrupted in text
        assert "end" not in text.splitlines()
        assert life.says_42("kept"), life.steps

    def test_a_restart_forgets_what_was_defined(self, life: Life) -> None:
        text, failed = life.steps["lost"]
        assert failed
        assert life.cells.unknown in text


def live(url: str, token: str, spec: str, cells: Cells, *, spark: bool = False, **env: str) -> Life:
    """A kernel's life in the library's hands; its requests have no header, so the token is in the path."""
    run = {name: code for name, code in dataclasses.asdict(cells).items() if spark or not name.startswith("spark_")}
    address = f"{urlsplit(url).netloc}{urlsplit(url).path}/t/{token}"
    done = subprocess.run(
        [sys.executable, "-P", str(PROGRAM), address, spec, json.dumps({"env": env, "cells": run})],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(LIBRARY), "KERNEL_LAUNCH_TIMEOUT": LAUNCH_TIMEOUT},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    steps = json.loads(done.stdout)
    return Life(steps.pop("id"), cells, {name: (text, failed) for name, (text, failed) in steps.items()})
