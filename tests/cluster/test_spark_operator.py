"""Spark kernels whose pod is made by the Spark operator: our kernel spec, and the one of gateway_provisioners."""

from __future__ import annotations

import json
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cluster import Namespace, Object
from support.deployed import Deployed
from support.launchers import KERNEL_SPECS, LAUNCHERS
from support.rest import answer_of
from support.spark import (
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
    run,
    start,
)
from support.spark_operator import RESOURCE, SparkOperator, resource_definition
from support.wait import eventually

pytestmark = pytest.mark.cluster

SPEC = "spark_python_operator"
PROVISIONERS = "k8s_python_spark_operator"
TEMPLATE = "sparkoperator.k8s.io-v1beta2.yaml.j2"
FEW_CPUS = {"KERNEL_CPUS": "100m"}
"""Else a driver asks for a whole one."""


@pytest.fixture(scope="module")
def spark(cluster: str) -> Iterator[Deployed]:  # noqa: ARG001 - there must be one
    """A deployment of this module's own, in a cluster with a Spark operator."""
    with resource_definition(), Namespace() as namespace:
        namespace.apply(provisioners_spec())
        deployed = Deployed(namespace, Path(__file__).parent / "spark_operator")
        deployed.apply()
        with SparkOperator(namespace):
            yield deployed


def provisioners_spec() -> Object:
    """The kernel spec as the tool of gateway_provisioners writes it, and its template, as a ConfigMap."""
    values = {
        "language": "python",
        "display_name": "test",
        "provisioner_name": "spark-operator-provisioner",
        "image_name": "localhost/launchers-spark:dev",
        "executor_image_name": "localhost/launchers-spark:dev",
        "install_dir": "{resource_dir}",
        "launcher_name": "launch_custom_resource.py",
        "ipykernel_subclass_name": "ipykernel.ipkernel.IPythonKernel",
    }
    text = (KERNEL_SPECS / PROVISIONERS / "kernel.json").read_text()
    spec = json.loads(string.Template(text).substitute(values))
    spec["env"] = {"KERNEL_SERVICE_ACCOUNT_NAME": "spark-driver", "PYSPARK_PIN_THREAD": "false"}
    spec["argv"] += ["--spark-context-initialization-mode", "lazy"]
    files = {
        "kernel.json": json.dumps(spec),
        TEMPLATE: (LAUNCHERS / "operators" / "scripts" / TEMPLATE).read_text(),
    }
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kernelspecs"}, "data": files}


def application(spark: Deployed, kernel_id: str) -> Object:
    """The one resource of a kernel."""
    [found] = spark.namespace.list(RESOURCE, f"kernel_id={kernel_id}")
    return found


def everything_of(spark: Deployed, kernel_id: str) -> set[str]:
    """What a kernel has left, its resource included."""
    return left_of(spark, kernel_id) | spark.namespace.names(RESOURCE, f"kernel_id={kernel_id}")


@pytest.fixture(scope="module")
def kernel_id(spark: Deployed) -> Iterator[str]:
    """A kernel that tests share: each leaves it idle, with its session."""
    kernel_id = start(spark, SPEC, **FEW_CPUS)
    yield kernel_id
    spark.rest.delete(f"/api/kernels/{kernel_id}")


class TestSession:
    """A notebook's session, from its first cell to its end."""

    def test_the_driver_is_a_kernels_pod_and_its_resource_belongs_to_it(self, spark: Deployed, kernel_id: str) -> None:
        pod = spark.namespace.kernel_pod(kernel_id)
        assert {each["name"] for each in pod["spec"]["containers"]} == {"spark-kubernetes-driver", "agent"}
        assert pod["metadata"]["labels"]["spark-role"] == "driver"
        assert pod["spec"]["serviceAccountName"] == "spark-driver"
        [owner] = application(spark, kernel_id)["metadata"]["ownerReferences"]
        assert owner["uid"] == pod["metadata"]["uid"]

    def test_the_first_cell_that_names_spark_gets_a_result_from_executors(
        self, spark: Deployed, kernel_id: str
    ) -> None:
        assert result(run(spark, kernel_id, f"{WAIT_FOR_EXECUTORS}\n{SHUFFLE}")) == "499500"
        workers = executors(spark, kernel_id)
        assert len(workers) == 2
        labels = {name: workers[0]["metadata"]["labels"].get(name) for name in ("app", "component", "kernel_id")}
        assert labels == {"app": "enterprise-gateway", "component": "worker", "kernel_id": kernel_id}
        assert {pod["spec"]["serviceAccountName"] for pod in workers} == {"default"}

    def test_an_interrupt_cancels_the_cells_jobs_and_keeps_the_session(self, spark: Deployed, kernel_id: str) -> None:
        before = result(run(spark, kernel_id, "kept = 1; print(sc.applicationId)"))
        assert interrupted(spark, kernel_id)["status"] == "error"
        assert result(run(spark, kernel_id, NO_JOBS)) == "none"
        assert result(run(spark, kernel_id, "print(kept, sc.applicationId)")) == f"1 {before}"

    def test_a_restart_begins_the_application_anew_in_the_same_pod(self, spark: Deployed, kernel_id: str) -> None:
        assert_restarts_in_place(spark, kernel_id)

    def test_a_deleted_kernel_leaves_nothing(self, spark: Deployed, kernel_id: str) -> None:
        assert f"kernel-{kernel_id}" in spark.namespace.names(RESOURCE)
        spark.rest.shut_down(kernel_id)
        eventually(lambda: everything_of(spark, kernel_id) == set(), SPARK_SECONDS)


class TestProvisioners:
    """The layout of gateway_provisioners, which is EG's: a script, a template beside it, an image with a launcher."""

    def test_its_launcher_gets_results_from_executors_restarts_and_leaves_nothing(self, spark: Deployed) -> None:
        kernel_id = start(spark, PROVISIONERS, f"{SMALL} --num-executors 1", **FEW_CPUS)
        assert result(run(spark, kernel_id, f"kept = 1\n{SHUFFLE}")) == "499500"
        assert len(executors(spark, kernel_id)) == 1
        answer_of(spark.rest.post(f"/api/kernels/{kernel_id}/restart"))
        assert run(spark, kernel_id, "kept").reply["ename"] == "NameError"
        spark.rest.shut_down(kernel_id)
        eventually(lambda: everything_of(spark, kernel_id) == set(), SPARK_SECONDS)


class TestTrouble:
    """What is refused is told in the answer to the start, and nothing is left."""

    def test_a_submission_that_fails_is_told_in_the_clusters_words(self, spark: Deployed) -> None:
        with full_quota(spark, "few"):
            answer = spark.rest.post("/api/kernels", json={"name": SPEC, "env": FEW_CPUS})
        assert answer.status_code == 500
        assert "SUBMISSION_FAILED" in json.dumps(answer.json())
        assert "exceeded quota: few" in json.dumps(answer.json())
        eventually(lambda: spark.namespace.names(RESOURCE) == set())
