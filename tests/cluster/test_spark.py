"""Spark kernels whose pod is the driver: the shipped deployment, kernel spec and image, with small executors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import spark as spark_kernels
from support.channels import Channels
from support.deployed import Deployed, deployment
from support.spark import (
    NO_JOBS,
    SHUFFLE,
    SPARK_SECONDS,
    WAIT_FOR_EXECUTORS,
    assert_restarts_in_place,
    executors,
    full_quota,
    interrupted,
    left_of,
    result,
    result_after_a_gateways_death,
    run,
)
from support.spark import SMALL as SMALL_EXECUTORS
from support.wait import eventually

pytestmark = pytest.mark.cluster

SPEC = "spark_python_kubernetes"
SMALL = f"{SMALL_EXECUTORS} --conf spark.driver.memory=512m"
"""KERNEL_EXTRA_SPARK_OPTS with which a driver and two executors fit on a small node, and stay."""
INTERRUPTED_OFTEN = """
import os, signal, threading, time

def interrupt():
    while not sc.statusTracker().getActiveJobsIds(): time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)

def error():
    threading.Thread(target=interrupt).start()
    try:
        sc.parallelize(range(2), 2).map(lambda _: time.sleep(600)).count()
    except BaseException as error:
        return type(error).__name__
    finally:
        sc.cancelAllJobs()
        while sc.statusTracker().getActiveJobsIds(): time.sleep(0.05)

print({error() for _ in range(20)})
"""
"""Before the connection is made again, one of five interrupts made py4j fail at what is asked next."""
ASK = """
import json, ssl, urllib.error, urllib.request
account = "/var/run/secrets/kubernetes.io/serviceaccount/"
MASTER_KEY = {"name": "enterprise-gateway", "key": "master-key"}

def ask(method, path, body=None):
    namespace = open(account + "namespace").read()
    request = urllib.request.Request(
        f"https://kubernetes.default.svc/api/v1/namespaces/{namespace}/{path}", method=method,
        data=json.dumps(body).encode() if body else None,
        headers={"Authorization": "Bearer " + open(account + "token").read(), "Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=account + "ca.crt")) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)
"""


@pytest.fixture(scope="module")
def spark(cluster: str) -> Iterator[Deployed]:  # noqa: ARG001 - there must be one
    """A deployment of this module's own, with what Spark needs."""
    with deployment(Path(__file__).parent / "spark") as deployed:
        yield deployed


@pytest.fixture(scope="module")
def kernel_id(spark: Deployed) -> Iterator[str]:
    """A Spark kernel that tests share: each leaves it idle, with its session."""
    kernel_id = start(spark)
    yield kernel_id
    spark.rest.delete(f"/api/kernels/{kernel_id}")


def start(spark: Deployed, options: str = SMALL) -> str:
    return spark_kernels.start(spark, SPEC, options)


class TestSession:
    """A notebook's session, from its first name to its end."""

    def test_a_notebook_that_names_no_spark_has_neither_jvm_nor_executors(
        self, spark: Deployed, kernel_id: str
    ) -> None:
        code = "import pathlib; print([p.read_bytes() for p in pathlib.Path('/proc').glob('[0-9]*/cmdline')])"
        assert "java" not in result(run(spark, kernel_id, code))
        assert executors(spark, kernel_id) == []

    def test_the_first_cell_that_names_spark_gets_a_result_from_executors(
        self, spark: Deployed, kernel_id: str
    ) -> None:
        assert result(run(spark, kernel_id, f"{WAIT_FOR_EXECUTORS}\n{SHUFFLE}")) == "499500"
        about = "print(sc.master, sc.applicationId, sc.getConf().get('spark.submit.deployMode'))"
        master, application, mode = result(run(spark, kernel_id, about)).split()
        assert master == "k8s://https://kubernetes.default.svc"
        assert application.startswith("spark-")
        assert mode == "client"

    def test_executors_are_labelled_and_belong_to_the_drivers_pod(self, spark: Deployed, kernel_id: str) -> None:
        result(run(spark, kernel_id, WAIT_FOR_EXECUTORS))
        driver = spark.namespace.kernel_pod(kernel_id)["metadata"]
        workers = [pod["metadata"] for pod in executors(spark, kernel_id)]
        assert len(workers) == 2
        for worker in workers:
            assert worker["labels"]["app"] == "enterprise-gateway"
            assert [owner["uid"] for owner in worker["ownerReferences"]] == [driver["uid"]]

    def test_an_interrupt_cancels_the_cells_jobs_and_keeps_the_session(self, spark: Deployed, kernel_id: str) -> None:
        before = result(run(spark, kernel_id, "kept = 1; print(sc.applicationId)"))
        assert interrupted(spark, kernel_id)["ename"] == "KeyboardInterrupt"
        assert result(run(spark, kernel_id, NO_JOBS)) == "none"
        assert result(run(spark, kernel_id, "print(kept, sc.applicationId)")) == f"1 {before}"
        assert result(run(spark, kernel_id, SHUFFLE)) == "499500"

    def test_an_interrupt_is_a_keyboard_interrupt_however_often_spark_is_asked_after_it(
        self, spark: Deployed, kernel_id: str
    ) -> None:
        result(run(spark, kernel_id, SHUFFLE))
        assert result(run(spark, kernel_id, INTERRUPTED_OFTEN)) == "{'KeyboardInterrupt'}"

    def test_a_result_arrives_although_the_gateway_was_killed_during_the_job(
        self, spark: Deployed, kernel_id: str
    ) -> None:
        slow = "import time; sc.parallelize(range(2), 2).map(lambda _: time.sleep(15)).count(); print('still there')"
        assert "still there" in result_after_a_gateways_death(spark, kernel_id, slow)

    def test_a_restart_begins_another_application_in_the_same_pod(self, spark: Deployed, kernel_id: str) -> None:
        before = result(run(spark, kernel_id, "print(sc.applicationId)"))
        assert_restarts_in_place(spark, kernel_id)
        assert result(run(spark, kernel_id, "print(sc.applicationId)")) != before
        eventually(lambda: len(executors(spark, kernel_id)) == 2, SPARK_SECONDS)

    def test_a_deleted_kernel_leaves_nothing(self, spark: Deployed, kernel_id: str) -> None:
        assert left_of(spark, kernel_id)
        spark.rest.shut_down(kernel_id)
        eventually(lambda: left_of(spark, kernel_id) == set(), SPARK_SECONDS)


def test_an_idle_notebook_gives_its_executors_back(spark: Deployed) -> None:
    options = f"{SMALL} --num-executors 1 --conf spark.dynamicAllocation.maxExecutors=1"
    for timeout in ("executorIdleTimeout", "shuffleTracking.timeout"):
        options += f" --conf spark.dynamicAllocation.{timeout}=5s"
    kernel_id = start(spark, options)
    assert result(run(spark, kernel_id, SHUFFLE)) == "499500"
    eventually(lambda: executors(spark, kernel_id) == [], SPARK_SECONDS)
    assert result(run(spark, kernel_id, SHUFFLE)) == "499500"
    spark.rest.shut_down(kernel_id)


class TestTrouble:
    """What the cluster refuses is told in the notebook, in its words."""

    def test_an_image_that_cannot_be_pulled_is_named_in_the_cell_that_waits(self, spark: Deployed) -> None:
        kernel_id = start(spark, f"{SMALL} --conf spark.kubernetes.executor.container.image=localhost/missing:1")
        assert_told(spark, kernel_id, "ErrImagePull", "localhost/missing:1")

    def test_a_quota_is_named_in_the_cell_that_waits(self, spark: Deployed) -> None:
        kernel_id = start(spark)
        with full_quota(spark, "few"):
            assert_told(spark, kernel_id, "exceeded quota: few")

    def test_options_that_make_no_sense_end_the_start_with_a_word_about_them(self, spark: Deployed) -> None:
        answer = spark.rest.post("/api/kernels", json={"name": SPEC, "env": {"KERNEL_EXTRA_SPARK_OPTS": "--nosuch 1"}})
        why = eventually(lambda: ended(spark, answer.json()))
        assert "--nosuch is not known here" in json.dumps(why)


def ended(spark: Deployed, said: dict[str, Any]) -> dict[str, Any] | None:
    """What is said of a kernel whose start failed: in the answer, or afterwards."""
    if "message" in said:
        return said
    answer = spark.rest.get(f"/api/kernels/{said['id']}")
    return None if answer.ok else dict(answer.json())


def assert_told(spark: Deployed, kernel_id: str, *words: str) -> None:
    """A job says these words on stderr while it waits, and can be interrupted."""
    with Channels.of(spark, kernel_id, deadline=SPARK_SECONDS) as channels:
        request = channels.send_code("spark.range(10).repartition(2).count()")
        said = ""
        while not all(word in said for word in words):
            said += channels.recv()["content"].get("text", "")
        spark.rest.post(f"/api/kernels/{kernel_id}/interrupt")
        assert channels.recv_execution(request).reply["status"] == "error"
    spark.rest.shut_down(kernel_id)


@pytest.fixture(scope="module")
def hostile(spark: Deployed) -> Iterator[str]:
    """A Spark kernel whose user asks the cluster for more than he may have."""
    kernel_id = start(spark)
    result(run(spark, kernel_id, ASK))
    yield kernel_id
    spark.rest.shut_down(kernel_id)


class TestDriversRights:
    """The driver's code is its user's: with its account nothing can be had but executors."""

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ("pod['metadata'].pop('ownerReferences')", "only what its own pod owns"),
            ("pod['metadata']['ownerReferences'][0]['uid'] = 'another'", "only what its own pod owns"),
            ("pod['metadata']['labels'] = {'component': 'kernel'}", "pods are executors"),
            ("pod['metadata']['labels']['gateway-selector'] = 'enterprise-gateway'", "pods are executors"),
            ("pod['spec']['serviceAccountName'] = 'enterprise-gateway'", "no account but"),
            (
                "pod['spec']['volumes'] = [{'name': 'a', 'secret': {'secretName': 'enterprise-gateway'}}]",
                "emptyDir and ConfigMap volumes alone",
            ),
            (
                "pod['spec']['containers'][0]['envFrom'] = [{'secretRef': {'name': 'enterprise-gateway'}}]",
                "read no Secret",
            ),
            (
                "pod['spec']['containers'][0]['env'] = [{'name': 'A', 'valueFrom': {'secretKeyRef': MASTER_KEY}}]",
                "read no Secret",
            ),
        ],
    )
    def test_pods_that_are_no_executors_are_refused(
        self, spark: Deployed, hostile: str, change: str, message: str
    ) -> None:
        own = spark.namespace.kernel_pod(hostile)["metadata"]
        owner = {"apiVersion": "v1", "kind": "Pod", "name": own["name"], "uid": own["uid"]}
        security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "intruder", "labels": {"component": "worker"}, "ownerReferences": [owner]},
            "spec": {
                "automountServiceAccountToken": False,
                "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{"name": "a", "image": "localhost/kernel-py:dev", "securityContext": security}],
            },
        }
        code = f"pod = {pod!r}\n{change}\nprint(ask('POST', 'pods', pod).get('message'))"
        assert message in result(run(spark, hostile, code))

    def test_pods_of_others_cannot_be_ended(self, spark: Deployed, hostile: str) -> None:
        for name in spark.namespace.names("pods"):
            said = result(run(spark, hostile, f"print(ask('DELETE', 'pods/{name}').get('message'))"))
            assert "only what its own pod owns" in said
        said = result(run(spark, hostile, "print(ask('DELETE', 'pods').get('message'))"))
        assert "only what its own pod owns" in said

    def test_secrets_cannot_be_read(self, spark: Deployed, hostile: str) -> None:
        said = result(run(spark, hostile, "print(ask('GET', 'secrets/enterprise-gateway').get('message'))"))
        assert "forbidden" in said
