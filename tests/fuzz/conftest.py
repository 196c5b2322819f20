"""What every attack of this folder is made on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzz_target import Target
from hostile_frames import MAX_MESSAGE
from support.gateway import Gateway
from support.rest import answer_of

ECHO_KERNEL = [sys.executable, str(Path(__file__).parents[1] / "fakes" / "kernel.py"), "-f", "{connection_file}"]


@pytest.fixture(scope="package")
def target() -> Iterator[Target]:
    settings = {
        "EG_MAX_KERNELS": "1",
        "EG_MAX_MESSAGE_SIZE": str(MAX_MESSAGE),
        "JUPYTER_PREFER_ENV_PATH": "0",  # our python3, not the environment's
    }
    with Gateway(kernelspecs={"python3": {"argv": ECHO_KERNEL}}, **settings) as gateway:
        gateway.start()
        body = {"path": "attacked.ipynb", "type": "notebook", "kernel": {"name": "python3"}}
        session = answer_of(gateway.rest.post("/api/sessions", json=body))
        yield Target(gateway, session["kernel"]["id"], session["id"])
