"""The UI of a real Spark driver through the shipped deployment: as its owner, another user and a browser see it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
import requests
from support.cluster import Namespace
from support.deployed import Deployed
from support.inside import reached_from, reached_here
from support.rest import TIMEOUT, Rest, answer_of, assert_error
from support.spark import executors, result, run, start
from support.wait import eventually

from enterprise_gateway.core.pods import SPARK_UI_PORT

pytestmark = pytest.mark.cluster

OWNER, OTHER = "the-owners-token-of-no-value", "the-others-token-of-no-value"
TOKENS = {"tokens": [{"name": "ann", "token": OWNER}, {"name": "bob", "token": OTHER}]}
ONE_EXECUTOR = (
    "--num-executors 1 --conf spark.executor.memory=512m --conf spark.kubernetes.executor.request.cores=100m "
    "--conf spark.dynamicAllocation.maxExecutors=1 --conf spark.dynamicAllocation.executorIdleTimeout=300s"
)
COUNT = "print(spark.range(1000, numPartitions=2).repartition(2).count())"


@pytest.fixture(scope="module")
def spark(cluster: str) -> Iterator[Deployed]:  # noqa: ARG001 - there must be one
    """A deployment with two users, which knows where browsers reach it."""
    with Namespace() as namespace:
        deployed = Deployed(namespace, Path(__file__).parent / "spark")
        deployed.apply()
        namespace.kubectl("create", "secret", "generic", "users", f"--from-literal=tokens.json={json.dumps(TOKENS)}")
        container = {
            "name": "enterprise-gateway",
            "env": [
                {"name": "EG_TOKEN_FILE", "value": "/etc/users/tokens.json"},
                {"name": "EG_PUBLIC_URL", "value": deployed.url},
            ],
            "volumeMounts": [{"name": "users", "mountPath": "/etc/users"}],
        }
        pod = {"containers": [container], "volumes": [{"name": "users", "secret": {"secretName": "users"}}]}
        patch = json.dumps({"spec": {"template": {"spec": pod}}})
        deployed.scale(0)  # none is left that knows other users
        namespace.kubectl("patch", "deployment", "enterprise-gateway", f"--patch={patch}")
        deployed.scale(2)
        deployed.token = OWNER
        eventually(deployed._answers)
        yield deployed


@pytest.fixture(scope="module")
def kernel_id(spark: Deployed) -> str:
    """The owner's Spark kernel, which the last test ends."""
    return start(spark, "spark_python_kubernetes", ONE_EXECUTOR)


@pytest.fixture(scope="module")
def link(spark: Deployed, kernel_id: str) -> str:
    """What the first cell that uses Spark shows."""
    printed = result(run(spark, kernel_id, COUNT)).splitlines()
    assert printed[1:] == ["1000"]
    return printed[0].removeprefix("Spark UI: ")


def seen(address: str) -> requests.Response:
    """What a browser without credentials gets there, in the end."""
    return requests.get(address, timeout=TIMEOUT)


def entrance(kernel_id: str) -> str:
    return f"/api/kernels/{kernel_id}/spark-ui"


def test_before_spark_runs_the_ui_says_what_starts_it(spark: Deployed, kernel_id: str) -> None:
    to = spark.rest.get(entrance(kernel_id)).headers["Location"]
    assert_error(Rest(spark.url).get(to), 503, "Spark is not running in this kernel")


def test_the_first_cell_shows_the_link_and_later_ones_do_not(spark: Deployed, kernel_id: str, link: str) -> None:
    assert link.startswith(f"{spark.url}{entrance(kernel_id)}/~")
    assert result(run(spark, kernel_id, COUNT)) == "1000"


def test_a_browser_with_the_link_gets_the_jobs_page_and_all_that_it_names(link: str) -> None:
    page = seen(link)
    assert page.status_code == 200, page.text
    assert page.url == f"{link}jobs/"
    assert "Spark Jobs" in page.text
    assert "sandbox" in page.headers["Content-Security-Policy"]
    named = re.findall(r"""(?:src|href)=["'](/[^"']+)""", page.text)
    files = [name for name in named if "/static/" in name]
    assert len(files) > 10
    for name in named:
        assert name.startswith(urlsplit(link).path), name
    for name in files:
        assert seen(urljoin(link, name)).status_code == 200, name
    assert "javascript" in seen(f"{link}static/webui.js").headers["Content-Type"]
    assert seen(f"{link}static/webui.css").headers["Content-Type"].startswith("text/css")


def test_pages_find_a_storage_although_they_have_no_origin(link: str) -> None:
    """A browser's own test of it is the screenshot; here, that Spark serves the file that the image has changed."""
    assert 'Object.defineProperty(window, "localStorage"' in seen(f"{link}static/webui.js").text


def test_the_ui_and_its_interface_show_what_the_cells_did(spark: Deployed, kernel_id: str, link: str) -> None:
    application = result(run(spark, kernel_id, "print(sc.applicationId)"))
    applications = answer_of(seen(f"{link}api/v1/applications"))
    assert [each["id"] for each in applications] == [application]
    jobs = answer_of(seen(f"{link}api/v1/applications/{application}/jobs"))
    assert "Cell 1" in [job["description"] for job in jobs]
    assert seen(f"{link}jobs/job/?id=0").status_code == 200
    assert "environment" in seen(f"{link}environment/").text


def test_jobs_cannot_be_ended_through_it(link: str) -> None:
    assert requests.post(f"{link}jobs/job/kill/?id=0", timeout=TIMEOUT).status_code == 405
    assert "kill-link" not in seen(f"{link}jobs/").text


def test_the_owner_is_shown_the_way_and_nobody_else(spark: Deployed, kernel_id: str, link: str) -> None:
    to = spark.rest.get(entrance(kernel_id))
    assert (to.status_code, spark.url + to.headers["Location"]) == (302, link)
    assert_error(Rest(spark.url, OTHER).get(entrance(kernel_id)), 404)
    assert_error(Rest(spark.url).get(entrance(kernel_id)), 401)
    wrong = link[:-9] + ("0" * 8 if link[-9:-1] != "0" * 8 else "1" * 8) + "/"
    assert_error(seen(wrong), 404)


@pytest.mark.usefixtures("link")
def test_nobody_reaches_the_ui_but_through_the_agent(spark: Deployed, kernel_id: str) -> None:
    result(run(spark, kernel_id, COUNT))
    [executor] = executors(spark, kernel_id)
    target = f"{spark.namespace.kernel_pod(kernel_id)['status']['podIP']}:{SPARK_UI_PORT}"
    for pod in (executor["metadata"]["name"], spark.replicas()[0]):
        assert reached_from(spark.namespace, pod, [target]) == {target: "dropped"}
    assert reached_here([target]) == {target: "open"}


def test_a_restarted_kernel_has_the_same_link(spark: Deployed, kernel_id: str, link: str) -> None:
    before = answer_of(seen(f"{link}api/v1/applications"))
    answer_of(spark.rest.post(f"/api/kernels/{kernel_id}/restart"))
    assert result(run(spark, kernel_id, COUNT)) == f"Spark UI: {link}\n1000"
    assert answer_of(seen(f"{link}api/v1/applications")) != before


def test_after_the_kernels_end_the_link_leads_nowhere(spark: Deployed, kernel_id: str, link: str) -> None:
    spark.rest.shut_down(kernel_id)
    assert_error(seen(link), 404)
