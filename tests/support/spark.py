"""Spark kernels in a deployment: small executors, cells and what they print, what belongs to a kernel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support.channels import Channels, ClosedByServerError, Execution
from support.cluster import Object
from support.deployed import Deployed
from support.rest import answer_of
from support.wait import eventually

SMALL = (
    "--conf spark.executor.memory=512m --conf spark.kubernetes.executor.request.cores=100m "
    "--conf spark.dynamicAllocation.executorIdleTimeout=300s --conf spark.dynamicAllocation.maxExecutors=2"
)
"""KERNEL_EXTRA_SPARK_OPTS with which two executors fit on a small node, and stay."""
SPARK_SECONDS = 180.0
"""What executors may take to come and go here."""
SHUFFLE = "print(spark.range(1000, numPartitions=4).repartition(4).selectExpr('sum(id)').first()[0])"
WAIT_FOR_EXECUTORS = """
import time
for _ in range(600):
    if len(sc._jsc.sc().statusTracker().getExecutorInfos()) == 3: break
    time.sleep(0.1)
"""
ENDLESS = """
import threading, time

def tell():
    while not sc.statusTracker().getActiveJobsIds(): time.sleep(0.05)
    print("a job runs", flush=True)

threading.Thread(target=tell).start()
sc.parallelize(range(2), 2).map(lambda _: time.sleep(600)).count()
"""
NO_JOBS = "import time\nwhile sc.statusTracker().getActiveJobsIds(): time.sleep(0.1)\nprint('none')"


def start(spark: Deployed, spec: str, options: str = SMALL, **env: str) -> str:
    """A kernel that is ready."""
    kernel_id = spark.rest.start_kernel(spec, env={"KERNEL_EXTRA_SPARK_OPTS": options, **env})
    eventually(lambda: state(spark, kernel_id) != "starting", SPARK_SECONDS)
    return kernel_id


def state(spark: Deployed, kernel_id: str) -> str:
    return str(answer_of(spark.rest.get(f"/api/kernels/{kernel_id}"))["execution_state"])


def run(spark: Deployed, kernel_id: str, code: str) -> Execution:
    """A cell's run, to its end."""
    with Channels.of(spark, kernel_id, deadline=SPARK_SECONDS) as channels:
        return channels.execute(code)


def result(execution: Execution) -> str:
    """What a cell that worked printed on stdout."""
    assert execution.reply["status"] == "ok", execution.reply
    printed = [m["content"]["text"] for m in execution.of("stream") if m["content"]["name"] == "stdout"]
    return "".join(printed).strip()


def interrupted(spark: Deployed, kernel_id: str) -> dict[str, Any]:
    """The reply of a cell whose job would never end and was interrupted while it ran."""
    with Channels.of(spark, kernel_id, deadline=SPARK_SECONDS) as channels:
        request = channels.send_code(ENDLESS)
        channels.recv_until(lambda message: "a job runs" in message["content"].get("text", ""))
        assert spark.rest.post(f"/api/kernels/{kernel_id}/interrupt").status_code == 204
        return channels.recv_execution(request).reply


def assert_restarts_in_place(spark: Deployed, kernel_id: str) -> None:
    """A restart clears state, keeps the pod, and gets new executors."""
    result(run(spark, kernel_id, "kept = 1"))
    uid = spark.namespace.kernel_pod(kernel_id)["metadata"]["uid"]
    answer_of(spark.rest.post(f"/api/kernels/{kernel_id}/restart"))
    assert run(spark, kernel_id, "kept").reply["ename"] == "NameError"
    assert result(run(spark, kernel_id, f"{WAIT_FOR_EXECUTORS}\n{SHUFFLE}")) == "499500"
    assert spark.namespace.kernel_pod(kernel_id)["metadata"]["uid"] == uid


def result_after_a_gateways_death(spark: Deployed, kernel_id: str, code: str) -> str:
    """What a cell printed for a client that comes back, although all replicas were killed while the cell ran."""
    channels = Channels.of(spark, kernel_id, session_id="stays")
    request = channels.send_code(code)
    eventually(lambda: state(spark, kernel_id) == "busy")
    for name in spark.replicas():
        spark.kill_replica(name)
    with pytest.raises((ClosedByServerError, OSError)):
        channels.recv_execution(request)
    channels.drop()
    spark.until_rolled_out()
    with eventually(lambda: _reconnected(spark, kernel_id)) as again:
        return "".join(message["content"].get("text", "") for message in _until_reply(again, request))


def _reconnected(spark: Deployed, kernel_id: str) -> Channels | None:
    try:
        return Channels.of(spark, kernel_id, session_id="stays", deadline=SPARK_SECONDS)
    except Exception:  # noqa: BLE001 - whatever a service without replicas answers
        return None


def _until_reply(channels: Channels, request: str) -> list[dict[str, Any]]:
    """Everything that comes up to a request's reply and idle, which may come before what was printed."""
    awaited = {"execute_reply", "idle"}
    messages = []
    while awaited:
        message = channels.recv()
        if message["parent_header"].get("msg_id") == request:
            messages.append(message)
            awaited -= {message["msg_type"], message["content"].get("execution_state")}
    return messages


def executors(spark: Deployed, kernel_id: str) -> list[Object]:
    """The pods of a kernel's executors that have not ended."""
    pods = spark.namespace.list("pods", f"component=worker,kernel_id={kernel_id}")
    return [pod for pod in pods if pod["status"]["phase"] in ("Pending", "Running")]


@contextmanager
def full_quota(spark: Deployed, name: str) -> Iterator[None]:
    """The namespace takes no other pod; what is on its way out would make room, so it is waited for."""
    eventually(lambda: not any("deletionTimestamp" in pod["metadata"] for pod in spark.namespace.list("pods")))
    pods = str(len(spark.namespace.list("pods")))
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": {"pods": pods}}}
    spark.namespace.apply(quota)
    try:
        yield
    finally:
        spark.namespace.kubectl("delete", "resourcequota", name)


def left_of(spark: Deployed, kernel_id: str) -> set[str]:
    """Everything in the namespace that belongs to a Spark kernel."""
    kinds = ("pods", "configmaps", "services", "secrets", "networkpolicies")
    own = (kernel_id, "spark-exec-", "spark-drv-", "driver-svc")
    return {name for kind in kinds for name in spark.namespace.names(kind) if any(part in name for part in own)}
