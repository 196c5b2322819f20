"""Which cells start Spark, what is said of its UI and executors, how py4j reconnects; the rest needs a cluster."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

SOURCE = Path(__file__).parents[2] / "etc" / "docker" / "kernel-spark-py" / "lazy_spark.py"


@pytest.fixture(scope="module")
def lazy_spark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lazy_spark", SOURCE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ran(lazy_spark: ModuleType, cell: str, **names: Any) -> list[str]:
    """The order in which Spark and the cell's own calls of `f` run; what it does with Spark does not count."""
    order: list[str] = []
    shell = SimpleNamespace(user_ns=dict(names))
    tree = lazy_spark.LazySpark(shell).visit(ast.parse(cell))
    namespace = {"f": lambda *_: order.append("f"), "spark": None, "sc": None, "sql": None}
    namespace[lazy_spark.START] = lambda: order.append("start")
    exec(compile(tree, "cell", "exec"), namespace)
    return order


@pytest.mark.parametrize(
    "cell",
    [
        "f(spark)",
        "f(); spark",
        "f(sc, sql)",
        "def g():\n    return spark\nf()",
        "from __future__ import annotations\nf(spark)",
        "'a docstring'\nfrom __future__ import annotations\nf(spark)",
        "f([spark for _ in range(1)])",
    ],
)
def test_a_cell_that_reads_a_name_starts_spark_before_all_else(lazy_spark: ModuleType, cell: str) -> None:
    assert ran(lazy_spark, cell) == ["start", "f"]


@pytest.mark.parametrize(
    "cell",
    [
        "f()",
        "f('spark')",
        "spark = 1\nf(spark)",
        "from types import SimpleNamespace as spark\nf(spark)",
        "for sc in range(1):\n    f(sc)",
        "def sql():\n    pass\nf(sql)",
        "",
    ],
)
def test_a_cell_that_does_not_read_one_or_brings_its_own_starts_nothing(lazy_spark: ModuleType, cell: str) -> None:
    assert "start" not in ran(lazy_spark, cell)


def test_a_name_that_is_there_starts_nothing(lazy_spark: ModuleType) -> None:
    assert ran(lazy_spark, "f(spark)", spark=1) == ["f"]


def test_pods_that_do_not_run_say_why_in_kubernetes_words(lazy_spark: ModuleType) -> None:
    unscheduled = {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}]}
    waiting = {"reason": "ErrImagePull", "message": "no such image"}
    statuses = [
        unscheduled,
        {"containerStatuses": [{"state": {"waiting": waiting}}]},
        {"containerStatuses": [{"state": {"terminated": {"exitCode": 1, "reason": "Error"}}}]},
        {"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]},
        {"containerStatuses": [{"state": {"running": {}}}]},
        {},
    ]
    assert lazy_spark.reasons([{"status": status} for status in statuses]) == {
        "0/1 nodes are available",
        "ErrImagePull: no such image",
        "one ended with exit code 1 (Error)",
    }


@pytest.mark.parametrize(
    ("ui", "link"),
    [("http://10.0.0.1:4040", "https://gateway/ui/"), ("http://10.0.0.1:4041", ""), (None, "")],
)
def test_the_link_is_shown_where_it_leads_to_this_sessions_ui(
    lazy_spark: ModuleType, monkeypatch: pytest.MonkeyPatch, ui: str | None, link: str
) -> None:
    assert lazy_spark.ui_link(SimpleNamespace(uiWebUrl=ui)) == ""
    monkeypatch.setenv("SPARK_UI_URL", "https://gateway/ui/")
    assert lazy_spark.ui_link(SimpleNamespace(uiWebUrl=ui)) == link


class Refused(Exception):
    """What py4j raises for a connection that Java has closed."""


@pytest.fixture
def py4j(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell's interrupt with the real one is in the cluster's tests."""
    monkeypatch.setitem(sys.modules, "py4j", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "py4j.protocol", SimpleNamespace(Py4JNetworkError=Refused))


class Client:
    """Refuses a number of connections."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals

    def _get_connection(self) -> str:
        if self.refusals:
            self.refusals -= 1
            raise Refused
        return "a connection"


@pytest.mark.usefixtures("py4j")
def test_a_connection_that_java_closes_at_once_is_made_again(lazy_spark: ModuleType) -> None:
    client = Client(refusals=2)
    lazy_spark.persevere(client)
    assert client._get_connection() == "a connection"
    assert client.refusals == 0


@pytest.mark.usefixtures("py4j")
def test_a_java_that_is_gone_is_not_asked_for_ever(lazy_spark: ModuleType) -> None:
    client = Client(refusals=1000)
    for _ in range(3):  # each cell asks for it, and it does not add up
        lazy_spark.persevere(client)
    with pytest.raises(Refused):
        client._get_connection()
    assert client.refusals == 1000 - lazy_spark.CONNECT_TRIES
