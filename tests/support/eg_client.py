"""Enterprise Gateway's client library, run against a gateway: its three scenarios in each language."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

LIBRARY = Path(sys.prefix) / "share" / "enterprise-gateway-3"
"""Where the development environment has it: apart, because its package is called like ours."""
PROGRAM = Path(__file__).with_name("run_eg_client.py")
DEADLINE = 300.0

CELLS = {
    "python": {
        "hello": "print('Hello', 'World')",
        "host": "import socket; print(socket.gethostname())",
        "set": "kept = 41",
        "get": "print(kept + 1)",
        "slow": "import time\ndef slow():\n    inner = 1\n    time.sleep(120)\nslow()",
    },
    "r": {
        "hello": "cat('Hello', 'World')",
        "host": "cat(Sys.info()[['nodename']])",
        "set": "kept <- 41",
        "get": "cat(kept + 1)",
        "slow": "Sys.sleep(120)",
    },
    "scala": {
        "hello": 'println("Hello " + "World")',
        "host": "println(java.net.InetAddress.getLocalHost.getHostName)",
        "set": "var kept = 41",
        "get": "println(kept + 1)",
        "slow": "Thread.sleep(120000)",
    },
}
SPARK_CELLS = {
    "python": {
        "spark_id": "print(sc.applicationId)",
        "spark_version": "print(spark.version)",
        "spark_master": "print(sc.master)",
        "spark_mode": "print(sc.getConf().get('spark.submit.deployMode'))",
    },
    "r": {
        "spark_id": "cat(sc$applicationId)",
        "spark_version": "cat(spark$version)",
        "spark_master": "cat(sc$master)",
        "spark_mode": "cat(sc$getConf()$get('spark.submit.deployMode'))",
    },
    "scala": {
        "spark_id": "println(sc.applicationId)",
        "spark_version": "println(spark.version)",
        "spark_master": "println(sc.master)",
        "spark_mode": 'println(sc.getConf.get("spark.submit.deployMode"))',
    },
}


class Report:
    """What the library saw of a kernel's life: by step, its text and whether it was an error."""

    def __init__(self, steps: dict[str, Any]) -> None:
        self._steps = steps
        self.state: str = steps["state"]

    def text(self, step: str) -> str:
        """What a step that worked printed."""
        text, failed = self._steps[step]
        assert not failed, f"{step}: {text}"
        return str(text).strip()

    def failed(self, step: str) -> bool:
        return bool(self._steps[step][1])

    def assert_scenarios(self) -> None:
        """Hello world; an interrupt keeps state; a restart clears it."""
        assert "Hello World" in self.text("hello")
        assert self.text("host")
        assert self.failed("interrupted") or self.text("interrupted") == ""
        assert "42" in self.text("kept")
        assert self.failed("cleared")
        assert self.state in ("idle", "busy")

    def assert_spark(self, version: str) -> None:
        """The application's id, Spark's version, master and deploy mode."""
        assert "spark-" in self.text("spark_id")
        assert version in self.text("spark_version")
        assert "k8s://" in self.text("spark_master")
        assert "client" in self.text("spark_mode")


def live(url: str, token: str, spec: str, language: str, *, spark: bool = False, **env: str) -> Report:
    """A kernel's life in the library's hands; its requests have no header, so the token is in the path."""
    cells = CELLS[language] | (SPARK_CELLS[language] if spark else {})
    address = f"{urlsplit(url).netloc}{urlsplit(url).path}/t/{token}"
    done = subprocess.run(
        [sys.executable, "-P", str(PROGRAM), address, spec, json.dumps({"env": env, "cells": cells})],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(LIBRARY)},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Report(json.loads(done.stdout))
