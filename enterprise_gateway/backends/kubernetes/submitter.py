"""Runs spark-submit, which makes a driver's pod and ends: a JVM for some seconds, of which a few may run at a time.

Knows nothing of what its words mean (`spark_submit`), and nothing of the pod that comes of it. One event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from enterprise_gateway.backends.kubernetes.spark_submit import (
    DRIVER_FILE,
    EXECUTOR_FILE,
    EXECUTOR_POD,
    Submission,
    failure_in_words,
)
from enterprise_gateway.core.exits import describe_exit
from enterprise_gateway.errors import StartFailed

log = logging.getLogger(__name__)

AT_ONCE = 4
"""Each takes some 300 MiB and a core for about four seconds; the others wait."""
OUTPUT_BYTES = 64 * 1024


class Submitter:
    """Runs them."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._room = asyncio.Semaphore(at_once)

    async def submit(self, submission: Submission, pod: Mapping[str, Any], public_key: str, seconds: float) -> None:
        """Have Spark make `pod`; returns when spark-submit has ended well. Cancelled, it ends it.

        Args:
            submission: what is run.
            pod: the template of the driver's pod.
            public_key: of the launcher in the driver, if there is one.
            seconds: that it may take, the wait for its turn included.

        Raises:
            StartFailed: it failed; the pod may be there all the same.
        """
        try:
            async with asyncio.timeout(seconds), self._room:
                with tempfile.TemporaryDirectory(prefix="spark-submit-") as folder:
                    await asyncio.to_thread(_write_files, Path(folder), pod)
                    await _run(submission.argv(folder, public_key), submission.env, folder)
        except TimeoutError:
            raise StartFailed(f"spark-submit did not end within {seconds:.0f} s") from None

    def __repr__(self) -> str:
        return f"<Submitter {self._room!r}>"


def _write_files(folder: Path, pod: Mapping[str, Any]) -> None:
    (folder / DRIVER_FILE).write_text(json.dumps(pod))
    (folder / EXECUTOR_FILE).write_text(json.dumps(EXECUTOR_POD))


async def _run(argv: list[str], env: dict[str, str], folder: str) -> None:
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=env,
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise StartFailed(
            f"{argv[0]} cannot be run beside the gateway: {error.strerror or error}. SPARK_HOME in env of the kernel "
            "spec must name a Spark there, as the image enterprise-gateway-spark has it"
        ) from None
    try:
        output = await _last_output(process)
        code = await process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    log.debug("spark-submit said: %s", output)
    if code:
        log.warning("spark-submit ended with %s: %s", describe_exit(code), output)
        raise StartFailed(f"spark-submit ended with {describe_exit(code)}: {failure_in_words(output)}")


async def _last_output(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None  # noqa: S101 - it was asked for
    kept = b""
    while data := await process.stdout.read(8192):
        kept = (kept + data)[-OUTPUT_BYTES:]
    return kept.decode(errors="replace")
