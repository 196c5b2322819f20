"""A thousand random steps, each followed by the same question: does the gateway know exactly what there is?"""

from __future__ import annotations

import os
import random
import signal
import uuid
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from support.channels import Channels
from support.gateway import Gateway
from support.local import agent_pid, kernel_pid
from support.rest import Rest, answer_of
from support.specs import NULL
from support.wait import eventually

STEPS_WITH_RESTARTS = 600
STEPS_WITHOUT = 400
"""Steps of one gateway's life, which show what it leaks."""
MOST_KERNELS = 6
MOST_DEATHS = 2
"""Deaths after which a kernel is left alone: the pauses before a restart grow."""
RETENTION = 1
SEED = 20180101


@pytest.fixture(scope="module")
def own_gateway() -> Iterator[Gateway]:
    with Gateway(kernelspecs={"null": NULL}, EG_REASON_RETENTION=str(RETENTION)) as gateway:
        yield gateway.start()


class Walk:
    """The steps, and a model: the kernels that must be listed, with how often each has died."""

    def __init__(self, gateway: Gateway, chance: random.Random) -> None:
        self.gateway = gateway
        self.deaths: dict[str, int] = {}
        self.ended: list[str] = []
        self._chance = chance

    @property
    def rest(self) -> Rest:
        return self.gateway.rest

    def step(self, *, may_restart_gateway: bool) -> str:
        """One random step; returns its name."""
        steps = {
            self.start: 24,
            self.start_again: 8,
            self.execute: 60,
            self.interrupt: 60,
            self.restart: 8,
            self.delete: 16,
            self.delete_ended: 8,
            self.kill_kernel: 8,
            self.kill_agent: 10,
            self.kill_gateway: 4 * may_restart_gateway,
            self.end_gateway: 1 * may_restart_gateway,
        }
        step = self._chance.choices(list(steps), list(steps.values()))[0]
        step()
        return step.__name__

    def check(self) -> None:
        assert self.rest.kernel_ids() == set(self.deaths)

    def start(self) -> None:
        if len(self.deaths) < MOST_KERNELS:
            name = self._chance.choices(["null", "python3"], [24, 1])[0]
            self.deaths[self.rest.start_kernel(name)] = 0

    def start_again(self) -> None:
        """Asks for a kernel that runs already, or that has ended."""
        known = self._chance.choice([*self.deaths, *self.ended, str(uuid.uuid4())])
        name = "null"
        if known in self.deaths:
            name = self._model(known)["name"]
        if known in self.deaths or len(self.deaths) < MOST_KERNELS:
            answer = self.rest.post("/api/kernels", json={"name": name, "env": {"KERNEL_ID": known}})
            if answer.status_code == 409:  # it has ended, and was of the other kernel spec
                assert known not in self.deaths
                return
            assert answer.status_code == 201, answer.text
            self.deaths.setdefault(known, 0)

    def execute(self) -> None:
        if kernel_id := self._any():
            with Channels.of(self.gateway, kernel_id, session_id=self._chance.choice(["", "a", "b"])) as client:
                reply = client.execute("1").reply
                assert reply["status"] == "ok", reply

    def interrupt(self) -> None:
        if kernel_id := self._any():
            assert self.rest.post(f"/api/kernels/{kernel_id}/interrupt").status_code == 204

    def restart(self) -> None:
        if kernel_id := self._any():
            before = kernel_pid(self.gateway, kernel_id)
            assert answer_of(self.rest.post(f"/api/kernels/{kernel_id}/restart"))["id"] == kernel_id
            assert kernel_pid(self.gateway, kernel_id) != before
            self.deaths[kernel_id] = 0

    def delete(self) -> None:
        if kernel_id := self._any():
            self.rest.shut_down(kernel_id)
            self._gone(kernel_id)

    def delete_ended(self) -> None:
        if self.ended:
            gone = self._chance.choice(self.ended)
            if gone not in self.deaths:
                assert self.rest.delete(f"/api/kernels/{gone}").status_code == 404

    def kill_kernel(self) -> None:
        kernel_id = self._any()
        if kernel_id is None or self.deaths[kernel_id] >= MOST_DEATHS:
            return
        pid = kernel_pid(self.gateway, kernel_id)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: kernel_pid(self.gateway, kernel_id) != pid)
        eventually(lambda: self._model(kernel_id)["execution_state"] == "idle")
        self.deaths[kernel_id] += 1

    def kill_agent(self) -> None:
        if kernel_id := self._any():
            os.kill(agent_pid(self.gateway, kernel_id), signal.SIGKILL)
            eventually(lambda: kernel_id not in self.rest.kernel_ids())
            self._gone(kernel_id)

    def kill_gateway(self) -> None:
        self.gateway.kill()
        self.gateway.start()

    def end_gateway(self) -> None:
        assert self.gateway.terminate() == 0
        self.gateway.start()

    def _any(self) -> str | None:
        return self._chance.choice(sorted(self.deaths)) if self.deaths else None

    def _gone(self, kernel_id: str) -> None:
        del self.deaths[kernel_id]
        self.ended = [*self.ended[-5:], kernel_id]

    def _model(self, kernel_id: str) -> dict[str, Any]:
        return dict(answer_of(self.rest.get(f"/api/kernels/{kernel_id}")))


def walk_on(walk: Walk, steps: int, *, may_restart_gateway: bool) -> None:
    taken: list[str] = []
    try:
        for _ in range(steps):
            taken.append(walk.step(may_restart_gateway=may_restart_gateway))
            walk.check()
    except BaseException as error:
        error.add_note(f"after {taken[-10:]}, {len(taken)} steps\n{walk.gateway.log[-8000:]}")
        raise


def end_all(walk: Walk) -> None:
    for kernel_id in list(walk.deaths):
        walk.rest.shut_down(kernel_id)
        del walk.deaths[kernel_id]
    walk.check()
    eventually(lambda: list((walk.gateway.state_dir / "kernels").iterdir()) == [])


def test_a_thousand_random_steps_never_lose_count_and_leave_nothing(own_gateway: Gateway) -> None:
    walk = Walk(own_gateway, random.Random(SEED))
    processes = len(own_gateway.processes())
    walk_on(walk, STEPS_WITH_RESTARTS, may_restart_gateway=True)
    end_all(walk)
    own_gateway.kill()
    own_gateway.start()
    descriptors = psutil.Process(own_gateway.pid).num_fds()
    walk_on(walk, STEPS_WITHOUT, may_restart_gateway=False)
    end_all(walk)
    eventually(lambda: len(own_gateway.processes()) == processes)
    eventually(lambda: psutil.Process(own_gateway.pid).num_fds() <= descriptors)
    assert "Traceback" not in own_gateway.log
