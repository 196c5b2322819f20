"""Users work while replicas, kernels, agents and parts of the cluster are killed at random; then all is accounted for.

EG_CHAOS_SECONDS is how long; without it there is no storm. EG_CHAOS_SEED makes the same choices again, if not at the
same moments. With CLUSTER_COMMAND (see `support.node`) the API server and kubelet are stopped too.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests
from support.chaos_faults import Faults
from support.chaos_history import History
from support.chaos_users import User, is_ended, is_usable, state_of
from support.cluster import KERNELS, Namespace
from support.deployed import Deployed
from support.node import Control
from support.replica import Replica
from support.wait import eventually

pytestmark = pytest.mark.cluster

USERS = 3
QUIET_SECONDS = 180.0
"""Until everything that was left over must be gone."""
FEWEST_CELLS_PER_SECOND = 0.5


@pytest.fixture
def own_deployment(cluster: str) -> Iterator[Deployed]:  # noqa: ARG001 - there must be one
    """A deployment of the test's own, in which reasons are forgotten soon and nobody is culled."""
    with Namespace() as namespace:
        deployed = Deployed(namespace)
        deployed.apply()
        deployed.set_env(EG_REASON_RETENTION="60", EG_CULL_IDLE_TIMEOUT="0")
        yield deployed


@pytest.mark.skipif("EG_CHAOS_SECONDS" not in os.environ, reason="EG_CHAOS_SECONDS says how long (600)")
def test_whatever_is_killed_each_cell_runs_once_and_nothing_is_left(own_deployment: Deployed) -> None:
    seconds = float(os.environ["EG_CHAOS_SECONDS"])
    seed = os.environ.get("EG_CHAOS_SEED") or str(random.SystemRandom().randrange(10**6))
    print(f"{seconds:g} s of chaos, EG_CHAOS_SEED={seed}")
    history, chance = History(), random.Random(seed)
    users = [User(own_deployment, history, random.Random(f"{seed} {number}")) for number in range(USERS)]

    def pids() -> dict[str, int]:
        return {kernel_id: pid for user in users for kernel_id, pid in user.pids.items()}

    try:
        Faults(own_deployment, history, chance, Control.from_environment(), pids).run(seconds)
        with noted(history, own_deployment):
            until_all_serve(own_deployment)
    finally:
        for user in users:
            user.stop()
        print(dict(sorted(history.counts.items())))
    settle(own_deployment, users, history)
    assert not history.report(), history.report()
    assert history.counts["cells ok"] > FEWEST_CELLS_PER_SECOND * seconds


def settle(deployed: Deployed, users: list[User], history: History) -> None:
    """Notes what is not as it must be after the storm: on every replica, and in the cluster."""
    kept = {user.kernel_id for user in users} - {""}
    abandoned = {kernel_id for user in users for kernel_id in user.abandoned}
    with noted(history, deployed):
        [listed] = eventually(lambda: settled_kernels(deployed), QUIET_SECONDS)
        for replica in Replica.all(deployed):
            eventually(lambda replica=replica: settled_kernels(replica) == [listed])
        if missing := kept - listed:
            history.violate("", f"kernels that nobody ended are not listed: {missing}")
        if foreign := listed - kept - abandoned:
            history.violate("", f"kernels are listed that were ended: {foreign}")
        eventually(lambda: left_but(deployed, listed) == set(), QUIET_SECONDS)
        for kernel_id in listed:
            if len(deployed.namespace.list("pods", f"{KERNELS},kernel_id={kernel_id}")) != 1:
                history.violate(kernel_id, "it has more than one pod")
            # Endpoints that were put off a moment ago may go and come once more.
            eventually(lambda kernel_id=kernel_id: is_usable(deployed, kernel_id))
            eventually(lambda kernel_id=kernel_id: is_ended(deployed, kernel_id))
        deployed.namespace.until_no_kernel_is_left()
        for replica in deployed.replicas():
            if "Traceback" in (said := deployed.namespace.logs(replica)):
                history.violate("", f"replica {replica} failed:\n{said}")


@contextmanager
def noted(history: History, deployed: Deployed) -> Iterator[None]:
    """What is awaited in vain is a violation like any other."""
    try:
        yield
    except AssertionError as error:
        history.violate("", f"{error}\n{deployed.namespace.kubectl('get', 'secrets')}\n{deployed.state()}")


def settled_kernels(gateway: Deployed | Replica) -> list[set[str]]:
    """The ids of all kernels, in a list; an empty list while nobody answers or a kernel still starts."""
    states = state_of(gateway)
    return [] if states is None or "starting" in states.values() else [set(states)]


def left_but(deployed: Deployed, kernel_ids: set[str]) -> set[str]:
    """What is in the cluster of other kernels than these."""
    return {name for name in deployed.namespace.kernel_objects() if not any(each in name for each in kernel_ids)}


def until_all_serve(deployed: Deployed) -> None:
    """Waits until every replica is ready; one that kubelet has put off is replaced."""
    for name in deployed.replicas():
        status = deployed.namespace.get("pod", name)["status"].get("containerStatuses") or [{"ready": False}]
        if not status[0]["ready"]:
            deployed.kill_replica(name)
    # The cluster's controllers look again up to half a minute after their API server has come back.
    eventually(lambda: len(deployed.replicas()) == 2, QUIET_SECONDS)
    deployed.until_rolled_out()
    eventually(lambda: all(is_ready(deployed, name) for name in deployed.replicas()), 60.0)


def is_ready(deployed: Deployed, replica: str) -> bool:
    try:
        return requests.get(f"{deployed.operations_url(replica)}/readyz", timeout=10).ok
    except requests.ConnectionError:
        return False
