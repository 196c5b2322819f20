"""Enterprise Gateway's own client library and its scenarios, in every language that comes with the gateway.

The cluster must have the images of all those languages, with Spark and without.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support.deployed import Deployed, deployment
from support.eg_client import PYTHON, SCALA, Cells, Life, R, Scenarios, live
from support.spark import SMALL, left_of
from support.wait import eventually

pytestmark = pytest.mark.cluster


class Case(NamedTuple):
    """A kernel spec, the cells of its language, and the version of its Spark, if it is about Spark."""

    spec: str
    cells: Cells
    spark: str = ""

    def __str__(self) -> str:
        return self.spec


PLAIN = [
    Case("python_kubernetes", PYTHON),
    Case("R_kubernetes", R),
    Case("scala_kubernetes", SCALA),
]
SPARK = [
    Case("spark_python_kubernetes", PYTHON, "4.3."),
    Case("spark_R_kubernetes", R, "4.3."),
    Case("spark_scala_kubernetes", SCALA, "3.5."),
]


@pytest.fixture(scope="module")
def with_spark(cluster: str) -> Iterator[Deployed]:  # noqa: ARG001 - there must be one
    """A deployment of this module's own, with what Spark needs."""
    with deployment(Path(__file__).parent / "spark") as deployed:
        yield deployed


@pytest.fixture(scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def life(with_spark: Deployed, case: Case) -> Life:
    env = {"KERNEL_EXTRA_SPARK_OPTS": SMALL} if case.spark else {}
    return live(with_spark.url, with_spark.token, case.spec, case.cells, spark=bool(case.spark), **env)


class PodScenarios(Scenarios):
    """Those of kernels in pods."""

    def test_it_runs_in_a_pod_of_its_user(self, life: Life) -> None:
        assert life.printed("host") == f"alice-{life.kernel_id}"

    def test_its_end_leaves_nothing(self, with_spark: Deployed, life: Life) -> None:
        eventually(lambda: not left_of(with_spark, life.kernel_id), 60.0)


@pytest.mark.parametrize("case", PLAIN, indirect=True, ids=str)
class TestPlain(PodScenarios):
    """Kernels without Spark, or, in Scala, not about it."""


@pytest.mark.parametrize("case", SPARK, indirect=True, ids=str)
class TestSpark(PodScenarios):
    """Kernels that are the driver of a Spark application."""

    def test_it_is_the_driver_of_an_application(self, case: Case, life: Life) -> None:
        # Behind what Spark says when it starts.
        assert re.search(r"spark-[0-9a-f]+$", life.printed("spark_id"))
        assert life.printed("spark_version").startswith(case.spark)
        assert life.printed("spark_master").startswith("k8s://")
        assert life.printed("spark_mode") == "client"
