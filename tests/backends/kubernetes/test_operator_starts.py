"""Starts whose pod is made by the Spark operator: as whole as any other, whatever the operator says or does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import pytest
from backend_parts import Replica, new_id, pod_of, run_pod, until, view
from fakes.api_server import FakeApi

from enterprise_gateway.core.records import KernelRecord, Phase
from enterprise_gateway.errors import BackendUnavailable, LimitReached, StartFailed

APPLICATIONS = "sparkapplications"
ARGV = ("local:///kernel.py", "-f", "{connection_file}")
QUOTA = (
    "failed to submit spark application: failed to run spark-submit: failed to run spark-submit: Exception in thread "
    '"main" io.fabric8.kubernetes.client.KubernetesClientException: Failure executing: POST at: https://x/pods. '
    'Message: pods "x" is forbidden: exceeded quota: kernels. Received status: Status(code=403)\n\tat x.y(Z.java:1)'
)


class Operator:
    """What a Spark operator does with the applications that the fake API server has."""

    def __init__(self, fake: FakeApi) -> None:
        self._fake = fake

    async def application(self) -> dict[str, Any]:
        """The only one, once it is there."""
        await until(lambda: self._fake.objects(APPLICATIONS))
        [found] = self._fake.objects(APPLICATIONS).values()
        return found

    async def says(self, state: str, message: str = "") -> None:
        """Sets the application's state."""
        name = (await self.application())["metadata"]["name"]
        status = {"applicationState": {"state": state, "errorMessage": message}}
        self._fake.patch(APPLICATIONS, name, {"status": status})

    async def makes_the_pod(self) -> None:
        """As spark-submit does: the template's, with the name and the driver's words."""
        driver = (await self.application())["spec"]["driver"]
        template = driver["template"]
        pod = {"metadata": template["metadata"] | {"name": driver["podName"]}, "spec": template["spec"]}
        self._fake.add("pods", pod)


@pytest.fixture
def operator(fake: FakeApi) -> Operator:
    return Operator(fake)


def start(replica: Replica, kernel_id: str = "", **changes: Any) -> asyncio.Task[bool]:
    return asyncio.create_task(replica.start(kernel_id or new_id(), argv=ARGV, **changes))


async def until_nothing_is_left(fake: FakeApi) -> None:
    await until(lambda: not fake.objects(APPLICATIONS) and not fake.pods and not fake.secrets)


async def test_the_operators_pod_is_the_kernels_and_all_belongs_to_it(
    fake: FakeApi, one: Replica, other: Replica, operator: Operator
) -> None:
    kernel_id = new_id()
    starting = start(one, kernel_id)
    await operator.makes_the_pod()
    assert await starting
    pod = fake.pods[pod_of(kernel_id)]
    for owned in (fake.secrets[f"kernel-{kernel_id}"], fake.objects(APPLICATIONS)[f"kernel-{kernel_id}"]):
        [owner] = owned["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"]) == ("Pod", pod["metadata"]["uid"])
    run_pod(fake, pod_of(kernel_id), kernel="spark-kubernetes-driver")
    await until(lambda: view(one) == view(other) == {kernel_id: (Phase.RUNNING, "")})


async def test_a_removed_kernel_takes_its_resource_along(fake: FakeApi, one: Replica, operator: Operator) -> None:
    kernel_id = new_id()
    starting = start(one, kernel_id)
    await operator.makes_the_pod()
    await starting
    await one.remove(kernel_id)
    await until_nothing_is_left(fake)


async def test_the_log_is_that_of_the_drivers_container(fake: FakeApi, one: Replica, operator: Operator) -> None:
    kernel_id = new_id()
    starting = start(one, kernel_id)
    await operator.makes_the_pod()
    await starting
    fake.logs[pod_of(kernel_id)] = "hello"
    assert await one.logs(kernel_id) == "hello"
    assert fake.queries["log"]["container"] == "spark-kubernetes-driver"


@pytest.mark.parametrize(
    ("state", "message", "words"),
    [
        (
            "SUBMISSION_FAILED",
            QUOTA,
            'made no pod for the driver (SUBMISSION_FAILED): pods "x" is forbidden: exceeded quota',
        ),
        ("FAILED", "driver pod not found", "made no pod for the driver (FAILED): driver pod not found"),
        ("INVALIDATING", "", "made no pod for the driver (INVALIDATING)"),
        ("SUSPENDED", "", "made no pod for the driver (SUSPENDED)"),
    ],
)
async def test_a_state_without_hope_is_told_and_nothing_is_left(
    fake: FakeApi, one: Replica, operator: Operator, state: str, message: str, words: str
) -> None:
    starting = start(one)
    await operator.says(state, message)
    with pytest.raises(StartFailed) as failure:
        await starting
    assert words in failure.value.message
    assert "Z.java" not in failure.value.message
    await until_nothing_is_left(fake)


async def test_a_state_of_progress_is_waited_for(fake: FakeApi, one: Replica, operator: Operator) -> None:
    starting = start(one)
    await operator.says("SUBMITTED")
    looked = fake.requests["get", APPLICATIONS]
    await until(lambda: fake.requests["get", APPLICATIONS] > looked + 1)
    assert not starting.done()
    await operator.makes_the_pod()
    assert await starting


async def test_a_cluster_without_the_operator_is_told_so(fake: FakeApi, one: Replica) -> None:
    fake.faults.fail("create", APPLICATIONS, 404, "NotFound", "the server could not find the requested resource")
    with pytest.raises(StartFailed, match="Spark operator is missing: this cluster knows no SparkApplication"):
        await start(one)


async def test_a_refusal_is_told_in_the_api_servers_words(fake: FakeApi, one: Replica) -> None:
    words = 'strict decoding error: unknown field "spec.driver.template"'
    fake.faults.fail("create", APPLICATIONS, 400, "BadRequest", words)
    with pytest.raises(StartFailed, match=f"refused the kernel's SparkApplication: {words}"):
        await start(one)
    assert fake.queries["create"]["fieldValidation"] == "Strict"


@pytest.mark.parametrize(("state", "words"), [("", "does it run"), ("SUBMITTED", "it says SUBMITTED")])
async def test_an_operator_that_makes_nothing_is_given_up_at_the_starts_deadline(
    fake: FakeApi, one: Replica, operator: Operator, state: str, words: str
) -> None:
    starting = start(one, deadline=time.time() + 1.5)
    await operator.says(state)
    with pytest.raises(StartFailed, match=f"did not make the driver's pod within [12] s: .*{words}"):
        await starting
    await until_nothing_is_left(fake)


async def test_a_resource_that_somebody_deletes_ends_the_start(fake: FakeApi, one: Replica, operator: Operator) -> None:
    starting = start(one)
    fake.remove(APPLICATIONS, (await operator.application())["metadata"]["name"])
    with pytest.raises(StartFailed, match="SparkApplication was deleted while the kernel started"):
        await starting


async def test_a_pod_that_comes_after_its_start_was_given_up_is_taken_back(
    fake: FakeApi, one: Replica, operator: Operator
) -> None:
    starting = start(one)
    driver = (await operator.application())["spec"]["driver"]
    starting.cancel()
    await asyncio.wait({starting})
    await until_nothing_is_left(fake)
    fake.add("pods", driver["template"])
    await until(lambda: not fake.pods)


async def test_a_resource_of_which_nobody_was_told_is_taken_back(fake: FakeApi, one: Replica) -> None:
    fake.faults.cut("create", APPLICATIONS)
    with pytest.raises(BackendUnavailable):
        await start(one)
    await until_nothing_is_left(fake)


async def test_a_resource_that_cannot_be_taken_back_now_is_later(
    fake: FakeApi, one: Replica, operator: Operator
) -> None:
    fake.faults.fail("delete", APPLICATIONS, 500, "InternalError", "etcd is away", times=2)
    starting = start(one)
    await operator.says("FAILED")
    with pytest.raises(StartFailed):
        await starting
    assert fake.objects(APPLICATIONS)
    await until_nothing_is_left(fake)


async def test_a_kernel_over_the_limit_leaves_nothing(fake: FakeApi, one: Replica, operator: Operator) -> None:
    def admit(_: Iterable[KernelRecord]) -> None:
        raise LimitReached("no more")

    starting = start(one, admit=admit)
    await operator.makes_the_pod()
    with pytest.raises(LimitReached):
        await starting
    await until_nothing_is_left(fake)


async def test_a_resource_that_may_not_be_changed_ends_the_start(
    fake: FakeApi, one: Replica, operator: Operator
) -> None:
    fake.faults.fail("patch", APPLICATIONS, 403, "Forbidden", "cannot patch resource")
    starting = start(one)
    await operator.makes_the_pod()
    with pytest.raises(StartFailed, match="refused to have the SparkApplication go with its pod: cannot patch"):
        await starting
    await until_nothing_is_left(fake)


async def test_a_pod_without_the_template_is_no_kernel(fake: FakeApi, one: Replica, operator: Operator) -> None:
    starting = start(one)
    driver = (await operator.application())["spec"]["driver"]
    fake.add("pods", {"metadata": {"name": driver["podName"], "labels": driver["labels"]}, "spec": {}})
    with pytest.raises(StartFailed, match="made without what the gateway's template says"):
        await starting
    await until_nothing_is_left(fake)


async def test_of_two_replicas_that_start_one_kernel_only_one_has_it(
    fake: FakeApi, one: Replica, other: Replica, operator: Operator
) -> None:
    kernel_id = new_id()
    starting = {start(each, kernel_id) for each in (one, other)}
    done, _ = await asyncio.wait(starting, return_when=asyncio.FIRST_COMPLETED)
    assert [each.result() for each in done] == [False]
    await operator.makes_the_pod()
    assert sorted(await asyncio.gather(*starting)) == [False, True]
    assert len(fake.pods) == len(fake.secrets) == len(fake.objects(APPLICATIONS)) == 1
