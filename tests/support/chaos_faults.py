"""What may go wrong in a cluster, one thing at a time, chosen by lot: replicas, kernels, agents, the cluster itself."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping

from support.chaos_history import History
from support.cluster import KubectlError
from support.deployed import Deployed
from support.node import Control, kill_container, kill_in_container, restarts

MOST_KERNEL_KILLS = 4
"""Of one kernel: one that dies more often in a row is not started again, by the rules."""
MOST_RESTARTS = 2
"""Of one replica's container, before its pod is deleted instead: kubelet's pauses grow to minutes."""
PAUSE = (1.0, 5.0)
"""Seconds between two faults."""
OUTAGE = (0.0, 3.0)
"""Seconds without an API server, beside the 10 s or 20 s that it takes to stop and start."""
CALM_SECONDS = 40.0
"""Between two outages: a node that hardly ever hears of its API server is given up, and the Service with it."""


class Faults:
    """One thread makes them; `pids` says which kernels there are, and their processes."""

    def __init__(
        self,
        deployed: Deployed,
        history: History,
        chance: random.Random,
        control: Control | None,
        pids: Callable[[], Mapping[str, int]],
    ) -> None:
        self._deployed = deployed
        self._history = history
        self._chance = chance
        self._control = control
        self._pids = pids
        self._killed: dict[str, int] = {}
        self._calm_until = 0.0

    def run(self, seconds: float) -> None:
        """Makes faults for so long."""
        faults: dict[Callable[[], None], float] = {
            self.kill_replica: 4,
            self.force_delete_replica: 3,
            self.delete_replica: 3,
            self.kill_kernel: 4,
            self.kill_agent: 1.5,
        }
        if self._control is not None:
            faults |= {self.stop_api_server: 1.5, self.restart_kubelet: 0.7}
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(self._chance.uniform(*PAUSE))
            fault = self._chance.choices(list(faults), list(faults.values()))[0]
            try:
                fault()
            except (KubectlError, LookupError, ProcessLookupError, KeyError) as error:
                # What was to be disturbed has gone meanwhile.
                self._history.note("", "too late", f"{fault.__name__}: {error}")

    def kill_replica(self) -> None:
        if (name := self._any_replica()) is None:
            return
        pod = self._deployed.namespace.get("pod", name)
        if restarts(pod) >= MOST_RESTARTS:
            self.force_delete_replica()
            return
        self._history.note("", "kill the process of a replica", name)
        kill_container(pod, "enterprise-gateway")

    def force_delete_replica(self) -> None:
        if (name := self._any_replica()) is not None:
            self._history.note("", "force delete a replica", name)
            self._deployed.kill_replica(name)

    def delete_replica(self) -> None:
        if (name := self._any_replica()) is not None:
            self._history.note("", "delete a replica", name)
            self._deployed.stop_replica(name)

    def kill_kernel(self) -> None:
        pids = {kernel_id: pid for kernel_id, pid in self._pids().items() if pid}
        patient = sorted(each for each in pids if self._killed.get(each, 0) < MOST_KERNEL_KILLS)
        if patient:
            kernel_id = self._chance.choice(patient)
            pod = self._deployed.namespace.kernel_pod(kernel_id)
            self._killed[kernel_id] = self._killed.get(kernel_id, 0) + 1
            self._history.note(kernel_id, "kill kernel", f"process {pids[kernel_id]}")
            kill_in_container(pod, "kernel", pids[kernel_id])

    def kill_agent(self) -> None:
        kernels = sorted(self._pids())
        if kernels:
            kernel_id = self._chance.choice(kernels)
            pod = self._deployed.namespace.kernel_pod(kernel_id)
            self._history.note(kernel_id, "kill agent")
            kill_container(pod, "agent")

    def stop_api_server(self) -> None:
        assert self._control is not None
        if time.monotonic() < self._calm_until:
            self.kill_replica()
            return
        self._history.note("", "stop the API server")
        self._control.stop("apiserver")
        try:
            time.sleep(self._chance.uniform(*OUTAGE))
        finally:
            self._control.up()
        self._calm_until = time.monotonic() + CALM_SECONDS
        self._history.note("", "the API server is back")

    def restart_kubelet(self) -> None:
        assert self._control is not None
        self._history.note("", "restart kubelet")
        self._control.restart("kubelet")
        self._history.note("", "kubelet is back")

    def _any_replica(self) -> str | None:
        names = sorted(self._deployed.replicas())
        return self._chance.choice(names) if names else None
