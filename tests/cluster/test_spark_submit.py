"""Spark kernels whose pod is made by spark-submit in cluster mode: our kernel spec, and one laid out as EG ships it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.channels import Channels
from support.deployed import Deployed, deployment
from support.rest import answer_of
from support.spark import (
    ENDLESS,
    NO_JOBS,
    SHUFFLE,
    SMALL,
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
    start,
    state,
)
from support.wait import eventually

pytestmark = pytest.mark.cluster

SPEC = "spark_python_kubernetes_cluster"
RUN_SPEC = "spark_python_run"
INTERRUPTS = 10
FEW_CPUS = {"KERNEL_CPUS": "100m"}
"""Else a driver asks for a whole one."""
PROCESSES = (
    "import pathlib; print([p.read_bytes().split(b'\\0')[0] for p in pathlib.Path('/proc').glob('[0-9]*/cmdline')])"
)


@pytest.fixture(scope="module")
def spark(cluster: str) -> Iterator[Deployed]:  # noqa: ARG001 - there must be one
    """A deployment of this module's own, whose gateway has a Spark beside it."""
    with deployment(Path(__file__).parent / "spark_submit") as deployed:
        yield deployed


@pytest.fixture(scope="module")
def kernel_id(spark: Deployed) -> Iterator[str]:
    """A kernel that tests share: each leaves it idle, with its session."""
    kernel_id = start(spark, SPEC, **FEW_CPUS)
    yield kernel_id
    spark.rest.delete(f"/api/kernels/{kernel_id}")


class TestSession:
    """A notebook's session, from its first cell to its end."""

    def test_the_driver_is_a_kernels_pod_with_an_agent(self, spark: Deployed, kernel_id: str) -> None:
        pod = spark.namespace.kernel_pod(kernel_id)
        assert {each["name"] for each in pod["spec"]["containers"]} == {"kernel", "agent"}
        labels = pod["metadata"]["labels"]
        assert labels["spark-role"] == "driver"
        assert (labels["app"], labels["component"], labels["kernel_id"]) == ("enterprise-gateway", "kernel", kernel_id)
        assert pod["spec"]["serviceAccountName"] == "spark-driver"

    def test_the_first_cell_that_names_spark_gets_a_result_from_executors(
        self, spark: Deployed, kernel_id: str
    ) -> None:
        assert result(run(spark, kernel_id, f"{WAIT_FOR_EXECUTORS}\n{SHUFFLE}")) == "499500"
        about = "print(sc.master[:6], sc.applicationId, sc.getConf().get('spark.submit.deployMode'))"
        master, application, mode = result(run(spark, kernel_id, about)).split()
        assert (master, mode) == ("k8s://", "client")  # what a driver in its pod says of itself
        driver = spark.namespace.kernel_pod(kernel_id)["metadata"]
        assert driver["labels"]["spark-app-selector"] == application
        workers = [pod["metadata"] for pod in executors(spark, kernel_id)]
        assert len(workers) == 2
        for worker in workers:
            assert worker["labels"]["app"] == "enterprise-gateway"
            assert [owner["uid"] for owner in worker["ownerReferences"]] == [driver["uid"]]

    def test_no_java_stays_beside_the_gateway(self, spark: Deployed, kernel_id: str) -> None:
        assert state(spark, kernel_id)
        for name in spark.replicas():
            container = ("--container", "enterprise-gateway", "--", "python3", "-c", PROCESSES)
            processes = spark.namespace.kubectl("exec", name, *container)
            assert "python" in processes
            assert "java" not in processes

    def test_an_interrupt_cancels_the_cells_jobs_and_keeps_the_session(self, spark: Deployed, kernel_id: str) -> None:
        before = result(run(spark, kernel_id, "kept = 1; print(sc.applicationId)"))
        assert interrupted(spark, kernel_id)["ename"] == "KeyboardInterrupt"
        assert result(run(spark, kernel_id, NO_JOBS)) == "none"
        assert result(run(spark, kernel_id, "print(kept, sc.applicationId)")) == f"1 {before}"
        assert result(run(spark, kernel_id, SHUFFLE)) == "499500"

    def test_a_result_arrives_although_the_gateway_was_killed_during_the_job(
        self, spark: Deployed, kernel_id: str
    ) -> None:
        slow = "import time; sc.parallelize(range(2), 2).map(lambda _: time.sleep(15)).count(); print('still there')"
        assert "still there" in result_after_a_gateways_death(spark, kernel_id, slow)

    def test_a_restart_begins_the_application_anew_in_the_same_pod(self, spark: Deployed, kernel_id: str) -> None:
        assert_restarts_in_place(spark, kernel_id)

    def test_a_driver_that_dies_says_why_and_starts_again(self, spark: Deployed, kernel_id: str) -> None:
        with Channels.of(spark, kernel_id, deadline=SPARK_SECONDS) as channels:
            request = channels.send_code("import os; os._exit(3)")
            reply = channels.recv_execution(request).reply
        assert "exit code" in reply["evalue"]
        eventually(lambda: state(spark, kernel_id) == "idle", SPARK_SECONDS)
        assert result(run(spark, kernel_id, SHUFFLE)) == "499500"

    def test_a_deleted_kernel_leaves_nothing(self, spark: Deployed, kernel_id: str) -> None:
        assert {name.partition("-")[0] for name in left_of(spark, kernel_id)} >= {"kernel", "spark"}
        spark.rest.shut_down(kernel_id)
        eventually(lambda: left_of(spark, kernel_id) == set(), SPARK_SECONDS)


@pytest.fixture(scope="class")
def launched(spark: Deployed) -> Iterator[str]:
    """A kernel behind the launcher of gateway_provisioners."""
    kernel_id = start(spark, RUN_SPEC, f"{SMALL} --num-executors 1", KERNEL_USERNAME="bob", **FEW_CPUS)
    yield kernel_id
    spark.rest.shut_down(kernel_id)
    eventually(lambda: left_of(spark, kernel_id) == set(), SPARK_SECONDS)


class TestRunScript:
    """EG's layout: bin/run.sh, SPARK_OPTS, a pod template beside it, and the launcher of an image made for it."""

    def test_the_launchers_session_gets_results_from_executors(self, spark: Deployed, launched: str) -> None:
        assert result(run(spark, launched, SHUFFLE)) == "499500"
        assert len(executors(spark, launched)) == 1

    def test_the_pod_template_beside_the_script_is_the_drivers(self, spark: Deployed, launched: str) -> None:
        assert result(run(spark, launched, "import os; print(os.environ['FROM_TEMPLATE'])")) == "of bob"
        assert spark.namespace.kernel_pod(launched)["metadata"]["labels"]["team"] == "bob"

    def test_interrupts_keep_state_and_a_restart_clears_it(self, spark: Deployed, launched: str) -> None:
        result(run(spark, launched, "kept = 1"))
        assert self.interrupted_in_the_end(spark, launched)["status"] == "error"
        assert result(run(spark, launched, f"sc.cancelAllJobs()\n{NO_JOBS}\nprint(kept)")).split() == ["none", "1"]
        answer_of(spark.rest.post(f"/api/kernels/{launched}/restart"))
        assert run(spark, launched, "kept").reply["ename"] == "NameError"
        assert result(run(spark, launched, SHUFFLE)) == "499500"

    def interrupted_in_the_end(self, spark: Deployed, launched: str) -> dict[str, Any]:
        """The launcher sends two signals at once, and a job may miss both: a user asks again."""
        with Channels.of(spark, launched, deadline=SPARK_SECONDS) as channels:
            request = channels.send_code(ENDLESS)
            channels.recv_until(lambda message: "a job runs" in message["content"].get("text", ""))
            for _ in range(INTERRUPTS):
                spark.rest.post(f"/api/kernels/{launched}/interrupt")
                with contextlib.suppress(AssertionError):
                    eventually(lambda: state(spark, launched) == "idle", 5.0)
                    break
            return channels.recv_execution(request).reply


class TestTrouble:
    """What is refused is told in the answer to the start, and nothing is left."""

    def test_a_quota_is_named_in_the_clusters_words(self, spark: Deployed) -> None:
        with full_quota(spark, "few"):
            answer = spark.rest.post("/api/kernels", json={"name": SPEC, "env": FEW_CPUS})
        assert answer.status_code == 500
        assert "exceeded quota: few" in json.dumps(answer.json())

    def test_an_image_that_cannot_be_pulled_is_named(self, spark: Deployed) -> None:
        env = {"KERNEL_IMAGE": "localhost/missing:1", **FEW_CPUS}
        answer = spark.rest.post("/api/kernels", json={"name": SPEC, "env": env})
        said = answer.json()
        if answer.ok:
            kernel_id = said["id"]
            eventually(lambda: not spark.rest.get(f"/api/kernels/{kernel_id}").ok, SPARK_SECONDS)
            said = spark.rest.get(f"/api/kernels/{kernel_id}").json()
        assert "localhost/missing:1" in json.dumps(said)

    def test_options_that_would_use_the_gateways_rights_are_forbidden(self, spark: Deployed) -> None:
        options = "--conf spark.kubernetes.driver.secrets.enterprise-gateway=/stolen"
        answer = spark.rest.post("/api/kernels", json={"name": SPEC, "env": {"KERNEL_EXTRA_SPARK_OPTS": options}})
        assert answer.status_code == 403
        assert "spark.kubernetes.driver.secrets.enterprise-gateway" in json.dumps(answer.json())
