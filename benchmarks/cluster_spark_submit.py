"""Spark by spark-submit in cluster mode: from nothing to the first job's result, and what it leaves in the gateway."""

from __future__ import annotations

import secrets
import time
from statistics import median

from support.cluster import KERNELS
from support.deployed import REPLICAS, Deployed, deployment

from benchmarks import processes
from benchmarks.cluster_bench import HERE, ClusterBench, pids_of
from benchmarks.cluster_spark import BARE_JOB, IMAGE, first_result, wait_until_gone
from benchmarks.report import Row

SPEC = "spark_python_kubernetes_cluster"
SIZES = {
    "spark.executor.memory": "512m",
    "spark.kubernetes.executor.request.cores": "100m",
    "spark.dynamicAllocation.maxExecutors": "2",
}
KERNEL_ENV = {
    "KERNEL_CPUS": "100m",
    "KERNEL_MEMORY": "1Gi",
    "KERNEL_EXTRA_SPARK_OPTS": " ".join(f"--conf {name}={value}" for name, value in SIZES.items()),
}
BARE = {
    "spark.kubernetes.driver.container.image": IMAGE,
    "spark.kubernetes.executor.container.image": IMAGE,
    "spark.kubernetes.container.image.pullPolicy": "IfNotPresent",
    "spark.kubernetes.authenticate.driver.serviceAccountName": "spark-driver",
    "spark.kubernetes.authenticate.executor.serviceAccountName": "default",
    "spark.kubernetes.executor.label.component": "worker",
    "spark.kubernetes.driver.podTemplateFile": "/tmp/driver.json",
    "spark.kubernetes.executor.podTemplateFile": "/tmp/executor.json",
    "spark.kubernetes.driver.request.cores": "100m",
    "spark.driver.memory": "640m",
    "spark.driver.memoryOverhead": "384m",
    "spark.dynamicAllocation.enabled": "true",
    "spark.dynamicAllocation.shuffleTracking.enabled": "true",
    "spark.dynamicAllocation.initialExecutors": "2",
    "spark.authenticate": "true",
    "spark.kubernetes.submission.waitAppCompletion": "true",
    **SIZES,
}
RESTRICTED = """
import json, timeit
security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
pod = {"apiVersion": "v1", "kind": "Pod", "spec": {
    "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [{"name": "any", "securityContext": security}]}}
json.dump(pod, open("/tmp/driver.json", "w"))
pod["spec"]["automountServiceAccountToken"] = False
json.dump(pod, open("/tmp/executor.json", "w"))
print(timeit.__file__)
"""
"""Writes templates that pass Pod Security; tells where there is a script that runs the code it is given."""
MANY = 4


def spark_submit(bench: ClusterBench) -> list[Row]:
    """Bare spark-submits and kernels by turns, then some kernels at once."""
    with deployment(HERE / "deployment_spark_submit") as deployed:
        return [start_row(deployed, 1 if bench.quick else 3), memory_row(deployed)]


def start_row(deployed: Deployed, repeats: int) -> Row:
    """The first pair is not counted."""
    ours, floors = [], []
    for repeat in range(repeats + 1):
        floor, seconds = bare_submit(deployed), kernel(deployed)
        if repeat:
            floors.append(floor)
            ours.append(seconds)
    note = "the floor is spark-submit, run in a gateway's container, of the same job as a script, until it has ended; "
    note += (
        f"medians of {repeats}, ours {min(ours):.3g} to {max(ours):.3g}, floor {min(floors):.3g} to {max(floors):.3g}"
    )
    what = "Spark by spark-submit: start to first job result, 2 executors"
    return Row(what, "s", median(ours), median(floors), at_most_floors=1.2, note=note)


def memory_row(deployed: Deployed) -> Row:
    """What the replicas hold for each driver that runs; no Java may be left of its start."""
    before = gateway_memory(deployed)
    for _ in range(MANY):
        deployed.rest.start_kernel(SPEC, env=KERNEL_ENV)
    growth = gateway_memory(deployed) - before
    delete_kernels(deployed)
    note = f"{MANY} drivers, both replicas, private memory; before: {before:.0f} MiB"
    return Row("gateway memory for each running Spark kernel", "MiB", growth / MANY, at_most=2.0, note=note)


def gateway_memory(deployed: Deployed) -> float:
    """MiB of all processes in the replicas' containers, a spark-submit that still ran among them."""
    pods = deployed.namespace.list("pods", REPLICAS)
    return sum(processes.private_memory(pid) for pod in pods for pid in pids_of(pod, "enterprise-gateway"))


def kernel(deployed: Deployed) -> float:
    """Seconds from POST until the job's reply."""
    _, seconds = first_result(deployed, SPEC, KERNEL_ENV)
    delete_kernels(deployed)
    return seconds


def bare_submit(deployed: Deployed) -> float:
    """Seconds of a spark-submit that waits for its driver's end."""
    namespace, replica = deployed.namespace, deployed.replicas()[0]
    script = namespace.execute(replica, "python3", "-c", RESTRICTED, container="enterprise-gateway").strip()
    name = f"bare-{secrets.token_hex(4)}"
    settings = {**BARE, "spark.kubernetes.namespace": namespace.name, "spark.kubernetes.driver.pod.name": name}
    confs = [word for setting in settings.items() for word in ("--conf", "=".join(setting))]
    command = ["/opt/spark/bin/spark-submit", "--master", "k8s://https://kubernetes.default.svc"]
    command += ["--deploy-mode", "cluster", "--name", name, *confs, f"local://{script}", "-n1", "-r1", BARE_JOB]
    began = time.perf_counter()
    namespace.execute(replica, *command, container="enterprise-gateway")
    seconds = time.perf_counter() - began
    if namespace.get("pod", name)["status"]["phase"] != "Succeeded":
        raise RuntimeError(f"a bare driver failed: {namespace.logs(name)}")
    namespace.kubectl("delete", "pod", name)
    wait_until_gone(deployed.namespace, "component=worker")
    return seconds


def delete_kernels(deployed: Deployed) -> None:
    for each in deployed.rest.get("/api/kernels").json():
        deployed.rest.delete(f"/api/kernels/{each['id']}")
    for selector in (KERNELS, "component=worker"):
        wait_until_gone(deployed.namespace, selector)
