"""Starts whose pod is made by spark-submit: as whole as any other, whatever spark-submit does."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from backend_parts import Replica, new_id, pod_of, run_pod, until, view
from fakes.api_server import FakeApi

from enterprise_gateway.backends.kubernetes.submitter import Submitter
from enterprise_gateway.core.records import KernelRecord, Phase
from enterprise_gateway.errors import LimitReached, StartFailed

QUOTA = 'pods "x" is forbidden: exceeded quota: kernels'
SUBMIT = """\
#!{python}
import json, os, re, sys, time, urllib.request
from pathlib import Path

folder = Path({folder!r})
settings = dict(pair.split("=", 1) for word, pair in zip(sys.argv, sys.argv[1:]) if word == "--conf")
with open(folder / "calls", "a") as calls:
    print(os.getpid(), json.dumps(sys.argv), file=calls)
pod = json.loads(Path(settings["spark.kubernetes.driver.podTemplateFile"]).read_text())
pod["metadata"]["name"] = settings["spark.kubernetes.driver.pod.name"]
pod["spec"]["containers"][0]["args"] = ["driver", "--properties-file", "x", sys.argv[-1]]


def make():
    url = {server!r} + "/api/v1/namespaces/" + settings["spark.kubernetes.namespace"] + "/pods"
    headers = {{"Authorization": "Bearer a-token", "Content-Type": "application/json"}}
    urllib.request.urlopen(urllib.request.Request(url, json.dumps(pod).encode(), headers))


{behaviour}
"""
FAILS = f"""print('KubernetesClientException: Message: {QUOTA}. Received status: Status(code=403)')\nsys.exit(1)"""
NEVER_ENDS = "while True: time.sleep(60)"


class Spark:
    """A spark-submit that makes the pod of its template with the fake API server, and does what a test tells it."""

    def __init__(self, fake: FakeApi, folder: Path) -> None:
        self._fake = fake
        self._folder = folder
        self._script = folder / "spark-submit"
        self.does("make()")

    def does(self, behaviour: str) -> None:
        text = SUBMIT.format(
            python=sys.executable, folder=str(self._folder), server=self._fake.server, behaviour=behaviour
        )
        self._script.write_text(text)
        self._script.chmod(0o755)

    @property
    def argv(self) -> tuple[str, ...]:
        options = ("--deploy-mode", "cluster", "--master", "k8s://here")
        return (str(self._script), *options, "local:///kernel.py", "{connection_file}")

    @property
    def pids(self) -> list[int]:
        calls = self._folder / "calls"
        return [int(line.split()[0]) for line in calls.read_text().splitlines()] if calls.exists() else []

    @property
    def running(self) -> list[int]:
        return [pid for pid in self.pids if _is_alive(pid)]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def spark(fake: FakeApi, tmp_path: Path) -> Spark:
    return Spark(fake, tmp_path)


def start(replica: Replica, spark: Spark, kernel_id: str, **changes: Any) -> Any:
    return replica.start(kernel_id, argv=spark.argv, **changes)


async def is_left(fake: FakeApi) -> bool:
    await until(lambda: not fake.pods)
    return bool(fake.secrets)


async def test_the_pod_that_spark_makes_is_the_kernels_and_gets_its_secret(
    fake: FakeApi, one: Replica, other: Replica, spark: Spark
) -> None:
    kernel_id = new_id()
    assert await start(one, spark, kernel_id)
    pod = fake.pods[pod_of(kernel_id)]
    [owner] = fake.secrets[f"kernel-{kernel_id}"]["metadata"]["ownerReferences"]
    assert owner["uid"] == pod["metadata"]["uid"]
    kernel = pod["spec"]["containers"][0]
    assert kernel["command"][-1] == "/opt/entrypoint.sh"
    assert kernel["args"][-1] == "/run/enterprise-gateway/connection.json"
    run_pod(fake, pod_of(kernel_id))
    await until(lambda: view(one) == view(other) == {kernel_id: (Phase.RUNNING, "")})
    assert not spark.running


async def test_the_secret_is_there_before_spark_submit_has_ended(fake: FakeApi, one: Replica, spark: Spark) -> None:
    spark.does("make()\nwhile not (folder / 'go on').exists(): time.sleep(0.01)")
    kernel_id = new_id()
    starting = asyncio.create_task(start(one, spark, kernel_id))
    await until(lambda: fake.secrets)
    assert not starting.done()
    (spark._folder / "go on").touch()
    assert await starting


async def test_a_refusal_is_told_in_the_api_servers_words(fake: FakeApi, one: Replica, spark: Spark) -> None:
    spark.does(FAILS)
    with pytest.raises(StartFailed) as failure:
        await start(one, spark, new_id())
    assert failure.value.message == f"spark-submit ended with exit code 1: {QUOTA}"
    assert not fake.pods


async def test_a_failure_after_the_pod_was_made_takes_the_pod_back(fake: FakeApi, one: Replica, spark: Spark) -> None:
    spark.does(f"make()\n{FAILS}")
    with pytest.raises(StartFailed, match="exceeded quota"):
        await start(one, spark, new_id())
    assert not await is_left(fake)
    assert view(one) == {}


async def test_a_spark_submit_that_never_ends_is_ended_at_the_starts_deadline(one: Replica, spark: Spark) -> None:
    spark.does(NEVER_ENDS)
    with pytest.raises(StartFailed, match="spark-submit did not end within"):
        await start(one, spark, new_id(), deadline=time.time() + 1.0)
    assert spark.pids
    await until(lambda: not spark.running)


async def test_a_start_that_is_cancelled_ends_spark_submit_and_takes_back_what_comes_of_it(
    fake: FakeApi, one: Replica, spark: Spark
) -> None:
    spark.does(f"make()\n{NEVER_ENDS}")
    starting = asyncio.create_task(start(one, spark, new_id()))
    await until(lambda: fake.secrets)
    starting.cancel()
    await asyncio.wait({starting})
    assert not await is_left(fake)
    await until(lambda: not spark.running)


async def test_a_pod_that_comes_after_its_start_was_given_up_is_taken_back(
    fake: FakeApi, one: Replica, spark: Spark
) -> None:
    spark.does("make()")
    fake.silent = True
    starting = asyncio.create_task(start(one, spark, new_id()))
    await until(lambda: fake.pods and not spark.running)
    starting.cancel()
    await asyncio.wait({starting})
    fake.silent = False
    fake.wake_watches()
    await until(lambda: not fake.pods)


async def test_a_pod_over_the_limit_is_taken_back_and_spark_submit_ended(
    fake: FakeApi, one: Replica, spark: Spark
) -> None:
    def admit(_: Iterable[KernelRecord]) -> None:
        raise LimitReached("no more")

    spark.does(f"make()\n{NEVER_ENDS}")
    with pytest.raises(LimitReached):
        await start(one, spark, new_id(), admit=admit)
    assert not await is_left(fake)
    await until(lambda: not spark.running)


async def test_of_two_replicas_that_start_one_kernel_only_one_has_it(
    fake: FakeApi, one: Replica, other: Replica, spark: Spark
) -> None:
    kernel_id = new_id()
    outcomes = await asyncio.gather(*(start(each, spark, kernel_id) for each in (one, other)), return_exceptions=True)
    assert outcomes.count(True) == 1
    assert len(fake.pods) == len(fake.secrets) == 1


async def test_a_spark_that_is_not_there_is_named(one: Replica) -> None:
    argv = ("/nowhere/spark-submit", "--deploy-mode", "cluster", "--master", "k8s://here", "local:///kernel.py")
    with pytest.raises(StartFailed, match=r"/nowhere/spark-submit cannot be run beside the gateway: No such file"):
        await one.start(new_id(), argv=argv)


async def test_no_more_run_at_a_time_than_there_is_room_for(fake: FakeApi, one: Replica, spark: Spark) -> None:
    one._starts._submitter = Submitter(at_once=1)
    spark.does("(folder / 'inside').mkdir()\nmake()\ntime.sleep(0.1)\n(folder / 'inside').rmdir()")
    kernels = [new_id() for _ in range(3)]
    assert await asyncio.gather(*(start(one, spark, kernel_id) for kernel_id in kernels)) == [True] * 3
    assert len(fake.pods) == 3


async def test_a_spark_submit_that_was_killed_is_told_so(one: Replica, spark: Spark) -> None:
    spark.does(f"os.kill(os.getpid(), {signal.SIGKILL:d})")
    with pytest.raises(StartFailed, match=r"spark-submit ended with .*SIGKILL"):
        await start(one, spark, new_id())
