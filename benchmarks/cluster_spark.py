"""Spark: from nothing to the first job's result, beside a pod that is a driver and nothing else."""

from __future__ import annotations

import secrets
import time
from statistics import median
from typing import Any

from support.channels import Channels
from support.cluster import Namespace
from support.deployed import Deployed

from benchmarks.cluster_bench import ClusterBench
from benchmarks.report import Row

SPEC = "spark_python_kubernetes"
IMAGE = "localhost/kernel-spark-py:dev"
OPTIONS = (
    "--conf spark.executor.memory=512m --conf spark.kubernetes.executor.request.cores=100m "
    "--conf spark.driver.memory=512m --conf spark.dynamicAllocation.maxExecutors=2"
)
JOB = "print(spark.range(1000, numPartitions=4).repartition(4).selectExpr('sum(id)').first()[0])"
BARE_JOB = f"from pyspark.sql import SparkSession\nspark = SparkSession.builder.getOrCreate()\n{JOB}"
DEADLINE = 300.0
LOOK_EVERY = 0.1


def spark(bench: ClusterBench) -> list[Row]:
    """Bare drivers and kernels by turns."""
    ours, floors = [], []
    repeats = 1 if bench.quick else 3
    for repeat in range(repeats + 1):
        floor, seconds = bare_driver(bench), kernel(bench)
        if repeat:
            floors.append(floor)
            ours.append(seconds)
    note = "the floor is a pod of the same image that runs the same job as a script, until it has ended; "
    note += (
        f"medians of {repeats}, ours {min(ours):.3g} to {max(ours):.3g}, floor {min(floors):.3g} to {max(floors):.3g}"
    )
    return [
        Row(
            "Spark start to first job result, 2 executors",
            "s",
            median(ours),
            median(floors),
            at_most_floors=1.2,
            note=note,
        )
    ]


def kernel(bench: ClusterBench) -> float:
    """Seconds from POST until the job's reply."""
    kernel_id, seconds = first_result(bench.deployed, SPEC, {"KERNEL_EXTRA_SPARK_OPTS": OPTIONS})
    bench.delete_kernels([kernel_id])
    wait_until_gone(bench.namespace, "component=worker")
    return seconds


def first_result(deployed: Deployed, spec: str, env: dict[str, str]) -> tuple[str, float]:
    """A new kernel's id, and the seconds from POST until the job's reply."""
    began = time.perf_counter()
    kernel_id = deployed.rest.start_kernel(spec, env=env)
    with Channels.of(deployed, kernel_id, deadline=DEADLINE) as channels:
        execution = channels.execute(JOB)
    seconds = time.perf_counter() - began
    if execution.reply["status"] != "ok":
        raise RuntimeError(f"the job failed: {execution.text}")
    return kernel_id, seconds


def bare_driver(bench: ClusterBench) -> float:
    """Seconds from the pod's creation until its script has ended."""
    name = f"bare-{secrets.token_hex(4)}"
    began = time.perf_counter()
    bench.namespace.apply(driver_pod(name))
    while (phase := bench.namespace.get("pod", name)["status"]["phase"]) in ("Pending", "Running"):
        if time.perf_counter() - began > DEADLINE:
            raise RuntimeError(f"a bare driver has not ended within {DEADLINE:g} s")
        time.sleep(LOOK_EVERY)
    seconds = time.perf_counter() - began
    if phase != "Succeeded":
        raise RuntimeError(f"a bare driver failed: {bench.namespace.logs(name)}")
    bench.namespace.kubectl("delete", "pod", name)
    wait_until_gone(bench.namespace, "component=worker")
    return seconds


def wait_until_gone(namespace: Namespace, selector: str) -> None:
    while namespace.names("pods", selector):
        time.sleep(LOOK_EVERY)


def driver_pod(name: str) -> dict[str, Any]:
    """A driver under Pod Security `restricted`, with what a Spark kernel's pod has."""
    options = {"KERNEL_EXTRA_SPARK_OPTS": OPTIONS, "KERNEL_EXECUTOR_IMAGE": IMAGE}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"component": "bench-bare", "spark-role": "driver"}},
        "spec": {
            "restartPolicy": "Never",
            "serviceAccountName": "spark-driver",
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "runAsGroup": 100,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "driver",
                    "image": IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["spark-driver", "python3", "-c", BARE_JOB],
                    "env": [{"name": key, "value": value} for key, value in options.items()],
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        },
    }
