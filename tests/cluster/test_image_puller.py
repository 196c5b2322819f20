"""The DaemonSet that keeps kernels' images on every node: without a socket, and whatever one image does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cluster import Namespace, Object
from support.deployed import render
from support.wait import eventually

from enterprise_gateway.kernelspecs.images import NAME, daemon_set

pytestmark = pytest.mark.cluster

SHIPPED = Path(__file__).parents[2] / "etc" / "kubernetes" / "image-puller"
PODS = f"component={NAME}"
PULL_SECONDS = 120.0


@pytest.fixture
def puller(namespace: Namespace) -> Iterator[Namespace]:
    """The shipped DaemonSet, applied."""
    namespace.kubectl("apply", "--filename", "-", stdin=render(SHIPPED, namespace.name))
    yield namespace
    namespace.kubectl("delete", "--filename", "-", stdin=render(SHIPPED, namespace.name))


def containers(namespace: Namespace) -> list[Object]:
    """What the node says of each image's container."""
    return [each for pod in namespace.list("pods", PODS) for each in pod["status"].get("containerStatuses", [])]


def running(namespace: Namespace) -> set[str]:
    return {each["image"] for each in containers(namespace) if each["state"].get("running")}


def test_every_image_is_in_use_on_every_node_and_nothing_is_left_afterwards(puller: Namespace) -> None:
    wanted = puller.get("daemonset", NAME)["spec"]["template"]["spec"]["containers"]
    eventually(lambda: len(running(puller)) == len(wanted), PULL_SECONDS)
    [pod] = puller.list("pods", PODS)
    assert not any("hostPath" in volume for volume in pod["spec"].get("volumes", []))
    puller.kubectl("delete", "daemonset", NAME)
    eventually(lambda: puller.list("pods", PODS) == [])
    puller.kubectl("apply", "--filename", "-", stdin=render(SHIPPED, puller.name))


def test_an_image_that_cannot_be_pulled_does_not_keep_the_others_away(namespace: Namespace) -> None:
    namespace.apply(daemon_set(["localhost/kernel-py:dev", "localhost/missing:1"]))
    eventually(lambda: "localhost/kernel-py:dev" in running(namespace), PULL_SECONDS)
    eventually(lambda: any("waiting" in each["state"] for each in containers(namespace)))
    [missing] = [each for each in containers(namespace) if "waiting" in each["state"]]
    assert missing["image"] == "localhost/missing:1"
