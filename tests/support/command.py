"""The command line beside a gateway: run as its own process, on the gateway's state folder or against its URL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from support.gateway import Gateway

DEADLINE = 60.0
"""Seconds a command may take."""


class Done(subprocess.CompletedProcess[str]):
    """What a command said and ended with; `str` in assertions shows all of it."""

    @property
    def json(self) -> Any:
        assert self.returncode == 0, self.stderr
        return json.loads(self.stdout)


def run(gateway: Gateway, *arguments: str, **environ: str) -> Done:
    """Run a command as the user who started `gateway`, on its state folder unless the arguments say otherwise."""
    done = subprocess.run(
        [sys.executable, "-m", "enterprise_gateway", *arguments],
        env={
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(gateway.home),
            "EG_STATE_DIR": str(gateway.state_dir),
            **environ,
        },
        cwd=gateway.home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Done(done.args, done.returncode, done.stdout, done.stderr)


def run_remotely(gateway: Gateway, *arguments: str) -> Done:
    """Run a command against the gateway's URL, with a state folder that has nothing in it."""
    nowhere = str(gateway.home / "nowhere")
    return run(gateway, *arguments, "--url", gateway.url, EG_AUTH_TOKEN=gateway.token, EG_STATE_DIR=nowhere)
