"""Enterprise Gateway's own client library and its scenarios, in every language that comes with the gateway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support.cluster import Namespace
from support.deployed import Deployed
from support.eg_client import live
from support.spark import SMALL

pytestmark = pytest.mark.cluster


class Case(NamedTuple):
    """A kernel spec, its language, and the version of its Spark, if it is about Spark."""

    spec: str
    language: str
    spark: str = ""


CASES = [
    Case("python_kubernetes", "python"),
    Case("R_kubernetes", "r"),
    Case("scala_kubernetes", "scala"),
    Case("spark_python_kubernetes", "python", "4.3"),
    Case("spark_R_kubernetes", "r", "4.3"),
    Case("spark_scala_kubernetes", "scala", "3.5"),
]


@pytest.fixture(scope="module")
def deployed_with_spark(cluster: str) -> Iterator[Deployed]:  # noqa: ARG001 - there must be one
    with Namespace() as namespace:
        deployed = Deployed(namespace, Path(__file__).parent / "spark")
        deployed.apply()
        yield deployed


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.spec)
def test_the_scenarios_of_eg_hold_with_its_own_client(deployed_with_spark: Deployed, case: Case) -> None:
    gateway = deployed_with_spark
    env = {"KERNEL_EXTRA_SPARK_OPTS": SMALL} if case.spark else {}
    report = live(gateway.url, gateway.token, case.spec, case.language, spark=bool(case.spark), **env)
    report.assert_scenarios()
    if case.spark:
        report.assert_spark(case.spark)
