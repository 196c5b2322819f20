"""Starts side by side: limits hold, one id is one kernel, and what goes wrong is said in the place's own words."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from fakes.agent import FakeAgent
from fakes.backend import FakeBackend
from support.served import new_manager, new_record

from enterprise_gateway.core.principals import ANONYMOUS, Principal
from enterprise_gateway.core.records import Phase
from enterprise_gateway.errors import Forbidden, KernelConflict, LimitReached, StartFailed
from enterprise_gateway.kernels.manager import KernelManager
from enterprise_gateway.kernels.models import KernelModel
from enterprise_gateway.kernels.policy import StartRequest
from enterprise_gateway.kernels.starts import existing_directory

ANN = Principal("ann", speaks_for_others=True)
BEN = Principal("ben")


@pytest.fixture
async def backend() -> FakeBackend:
    return FakeBackend()


def chosen(kernel_id: str, **env: str) -> StartRequest:
    return StartRequest(env={"KERNEL_ID": kernel_id, **env})


def new_id() -> str:
    return str(uuid.uuid4())


Outcome = KernelModel | BaseException


async def race(manager: KernelManager, backend: FakeBackend, requests: list[StartRequest]) -> list[Outcome]:
    """Start all at once, none created before all have asked; with the outcome of each."""
    backend.may_create.clear()
    starts = [asyncio.create_task(manager.start(ANN, request)) for request in requests]
    for _ in range(10):  # each start comes as far as it can without the backend
        await asyncio.sleep(0)
    backend.may_create.set()
    return await asyncio.gather(*starts, return_exceptions=True)


def refused(outcomes: list[Outcome]) -> int:
    return sum(isinstance(each, LimitReached) for each in outcomes)


@pytest.mark.parametrize("shows_at_once", [True, False], ids=["shown at once", "shown later"])
async def test_racing_starts_do_not_pass_the_limit(backend: FakeBackend, *, shows_at_once: bool) -> None:
    backend.shows_at_once = shows_at_once
    manager = new_manager(backend, max_kernels=2, start_wait=0.0)
    outcomes = await race(manager, backend, [StartRequest() for _ in range(5)])
    assert len(backend.launches) == 2
    assert refused(outcomes) == 3


async def test_a_kernel_that_is_created_and_not_shown_yet_counts(backend: FakeBackend) -> None:
    backend.shows_at_once = False
    manager = new_manager(backend, max_kernels=1)
    first = asyncio.create_task(manager.start(ANN, StartRequest()))
    await backend.creating.acquire()
    await asyncio.sleep(0)
    assert len(backend.launches) == 1
    with pytest.raises(LimitReached):
        await manager.start(ANN, StartRequest())
    first.cancel()
    await asyncio.wait([first])


async def test_racing_starts_do_not_pass_the_limit_of_their_user(backend: FakeBackend) -> None:
    manager = new_manager(backend, max_kernels_per_user=1, start_wait=0.0)
    users = ["carol", "dave", "carol", "carol", "dave"]
    outcomes = await race(manager, backend, [StartRequest(env={"KERNEL_USERNAME": user}) for user in users])
    assert refused(outcomes) == 3
    assert sorted(each.record.username for each in backend.kernels.values()) == ["carol", "dave"]


async def test_a_refused_or_failed_start_does_not_count_afterwards(backend: FakeBackend) -> None:
    manager = new_manager(backend, max_kernels=1, start_wait=0.0)
    [model] = await race(manager, backend, [StartRequest()])
    assert isinstance(model, KernelModel)
    with pytest.raises(LimitReached):
        await manager.start(ANN, StartRequest())
    backend.end(model.id, "culled")
    await manager.start(ANN, StartRequest())


async def test_one_id_is_one_kernel_however_often_it_is_asked_for(backend: FakeBackend) -> None:
    manager = new_manager(backend, max_kernels=1, start_wait=0.0)
    kernel_id = new_id()
    outcomes = await race(manager, backend, [chosen(kernel_id)] * 5)
    assert {each.id for each in outcomes if isinstance(each, KernelModel)} == {kernel_id}
    assert len(outcomes) == 5
    assert list(backend.launches) == [kernel_id]


async def test_an_id_of_somebody_else_is_a_conflict(backend: FakeBackend) -> None:
    record = new_record(owner="carol")
    backend.put(record)
    with pytest.raises(KernelConflict, match=record.kernel_id):
        await new_manager(backend).start(ANN, chosen(record.kernel_id))


async def test_an_id_of_a_kernel_that_has_ended_can_be_had_again(backend: FakeBackend) -> None:
    record = new_record(owner="ann")
    backend.put(record)
    backend.end(record.kernel_id, "culled")
    model = await new_manager(backend, start_wait=0.0).start(ANN, chosen(record.kernel_id))
    assert model.execution_state == "starting"
    assert backend.kernels[record.kernel_id].phase is Phase.STARTING


async def test_nobody_starts_kernels_in_anothers_name(backend: FakeBackend) -> None:
    with pytest.raises(Forbidden, match="ann"):
        await new_manager(backend).start(BEN, StartRequest(env={"KERNEL_USERNAME": "ann"}))
    assert not backend.launches


@pytest.fixture
async def starting(backend: FakeBackend) -> AsyncIterator[tuple[str, asyncio.Task[KernelModel]]]:
    """A start that waits for its agent."""
    kernel_id = new_id()
    manager = new_manager(backend, start_wait=30.0)
    task = asyncio.create_task(manager.start(ANONYMOUS, chosen(kernel_id)))
    while kernel_id not in backend.kernels:  # noqa: ASYNC110 - it runs in this loop
        await asyncio.sleep(0)
    yield kernel_id, task
    task.cancel()
    await manager.agents.close()
    await asyncio.sleep(0)  # a turn for the connections to close


Starting = tuple[str, "asyncio.Task[KernelModel]"]


async def test_a_start_is_answered_when_its_agent_says_so(
    backend: FakeBackend, starting: Starting, tmp_path: Path
) -> None:
    kernel_id, start = starting
    async with FakeAgent(tmp_path / "a.sock") as agent:
        backend.agent_appears(kernel_id, agent.path)
        assert (await start).execution_state == "idle"


async def test_a_start_that_fails_says_why_and_shows_the_last_output(backend: FakeBackend, starting: Starting) -> None:
    kernel_id, start = starting
    backend.kernels[kernel_id] = msgspec.structs.replace(backend.kernels[kernel_id], log_tail="no module named x\n")
    backend.end(kernel_id, "ErrImagePull: no such image")
    with pytest.raises(StartFailed, match=r"^ErrImagePull: no such image\nno module named x$"):
        await start


async def test_a_start_whose_kernel_is_deleted_meanwhile_says_so(backend: FakeBackend, starting: Starting) -> None:
    kernel_id, start = starting
    await backend.remove(kernel_id)
    with pytest.raises(StartFailed, match="shut down while it started"):
        await start


async def test_a_start_that_takes_long_is_answered_meanwhile(backend: FakeBackend) -> None:
    model = await new_manager(backend, start_wait=0.0).start(ANN, StartRequest())
    assert model.execution_state == "starting"


def test_a_kernel_begins_in_the_nearest_folder_there_is(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    root = str(tmp_path)
    assert existing_directory(root, "a b/c/d.ipynb", "") == str(tmp_path / "a b")
    assert existing_directory(root, "", "") == root
    assert existing_directory(root, "x" * 300 + "/" + "y" * 5000, "") == root
    assert existing_directory(root, "", str(tmp_path / "a b")) == str(tmp_path / "a b")
    assert existing_directory(root, "", "/no/such/folder") == root
    assert existing_directory(root, "", "x" * 4096) == root


@pytest.mark.parametrize(
    ("public_url", "same_machine", "told"),
    [("https://host/gateway", False, True), ("https://host/gateway", True, False), ("", False, False)],
)
async def test_a_kernel_in_a_pod_is_told_where_its_spark_ui_is_seen(
    backend: FakeBackend, public_url: str, same_machine: bool, told: bool
) -> None:
    backend.same_machine = same_machine
    manager = new_manager(backend, start_wait=0.0, public_url=public_url)
    await manager.start(ANN, StartRequest(env={"KERNEL_SPARK_UI_URL": "x", "SPARK_UI_URL": "https://elsewhere"}))
    [(kernel_id, launch)] = backend.launches.items()
    path = manager.registry.spark_ui_path(backend.kernels[kernel_id].record)
    assert launch.env.get("SPARK_UI_URL") == (f"https://host/gateway{path}" if told else None)
