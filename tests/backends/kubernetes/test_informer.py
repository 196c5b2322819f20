"""What an informer knows and tells while its API server misbehaves."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from fakes.api_server import FakeApi
from fakes.api_store import matches

from enterprise_gateway.backends.kubernetes.api import KubernetesApi, Timeouts
from enterprise_gateway.backends.kubernetes.informer import Informer
from enterprise_gateway.backends.kubernetes.objects import Pod

PODS = "/api/v1/namespaces/kernels/pods"
KERNELS = {"labelSelector": "component=kernel"}


def pod(name: str, component: str = "kernel") -> dict[str, object]:
    return {"metadata": {"name": name, "labels": {"component": component}}, "spec": {"containers": []}}


class Told:
    """What the handler was told, as words: "+a" added, "~a" changed, "-a" gone."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.known: dict[str, Pod] = {}
        self.breaks = False

    def __call__(self, old: Pod | None, new: Pod | None) -> None:
        latest = new or old
        assert latest is not None
        self.words.append(("+" if old is None else "-" if new is None else "~") + latest.metadata.name)
        # What is told adds up to what is known: nothing is added twice or removed before it was added.
        assert (latest.metadata.name in self.known) == (old is not None)
        if new is None:
            del self.known[latest.metadata.name]
        else:
            self.known[new.metadata.name] = new
        if self.breaks:
            raise ValueError("a bug in a handler")

    def take(self) -> str:
        words, self.words = " ".join(self.words), []
        return words


@pytest.fixture
def told() -> Told:
    return Told()


@asynccontextmanager
async def running(api: KubernetesApi, told: Told) -> AsyncIterator[Informer[Pod]]:
    informer = Informer(api, PODS, Pod, KERNELS, told)
    task = asyncio.create_task(informer.run())
    try:
        yield informer
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def informer(fake: FakeApi, api: KubernetesApi, told: Told) -> AsyncIterator[Informer[Pod]]:
    """In sync, with its watch open, and one pod known that was told of."""
    fake.add("pods", pod("a"))
    async with running(api, told) as informer:
        await informer.until_synced()
        await fake.until(lambda: fake.open_watches == 1)
        assert told.take() == "+a"
        yield informer


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for what an informer announces to nobody."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)


async def settle(fake: FakeApi, informer: Informer[Pod]) -> None:
    """Wait until the informer knows exactly what the API server has."""

    def agrees() -> bool:
        ours = {name: each["metadata"] for name, each in fake.pods.items() if matches(KERNELS, each)}
        theirs = {name: each.metadata.resource_version for name, each in informer.objects.items()}
        return theirs == {name: metadata["resourceVersion"] for name, metadata in ours.items()}

    await eventually(agrees)


async def test_what_is_there_and_what_changes_is_known_and_told(
    fake: FakeApi, informer: Informer[Pod], told: Told
) -> None:
    assert (informer.synced, informer.in_contact) == (True, True)
    fake.add("pods", pod("b"))
    fake.add("pods", pod("not-ours", "proxy"))
    fake.set_pod_status("b", {"phase": "Running"})
    fake.remove("pods", "a")
    await settle(fake, informer)
    assert told.take() == "+b ~b -a"
    assert informer.objects["b"].status.phase == "Running"
    assert (fake.requests["list", "pods"], fake.requests["watch", "pods"]) == (1, 1)


async def test_an_object_that_no_longer_matches_is_gone(fake: FakeApi, informer: Informer[Pod], told: Told) -> None:
    fake.patch("pods", "a", {"metadata": {"labels": {"component": "other"}}})
    await settle(fake, informer)
    assert told.take() == "-a"


@pytest.mark.parametrize("how", ["close_watches", "abort_watches"])
async def test_a_watch_that_ends_goes_on_where_it_was_without_a_list(
    fake: FakeApi, informer: Informer[Pod], told: Told, how: str
) -> None:
    getattr(fake, how)()
    await fake.until(lambda: fake.open_watches == 0)
    fake.add("pods", pod("b"))
    await settle(fake, informer)
    assert told.take() == "+b"
    assert fake.requests["list", "pods"] == 1


async def test_a_silent_watch_goes_on_where_it_was(fake: FakeApi, told: Told, tmp_path: Path) -> None:
    api = fake.connect(tmp_path, Timeouts(silence=0.3))
    async with running(api, told) as informer:
        await fake.until(lambda: fake.open_watches == 1)
        fake.silent = True
        fake.add("pods", pod("a"))
        await fake.until(lambda: fake.requests["watch", "pods"] >= 2)
        fake.silent = False
        await settle(fake, informer)
    assert told.take() == "+a"
    assert fake.requests["list", "pods"] == 1
    await api.close()


async def test_a_bookmark_spares_a_list(fake: FakeApi, informer: Informer[Pod]) -> None:
    fake.add("pods", pod("not-ours", "proxy"))
    fake.bookmark()
    fake.add("pods", pod("b"))
    await settle(fake, informer)
    fake.store.compact()
    fake.close_watches()
    await fake.until(lambda: fake.requests["watch", "pods"] == 2)
    fake.add("pods", pod("c"))
    await settle(fake, informer)
    assert fake.requests["list", "pods"] == 1


async def test_an_outage_leaves_what_is_known_and_is_caught_up_with(
    fake: FakeApi, informer: Informer[Pod], told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "enterprise_gateway")
    await fake.refuse()
    await eventually(lambda: not informer.in_contact)
    assert (informer.synced, list(informer.objects)) == (True, ["a"])
    fake.add("pods", pod("b"))
    fake.remove("pods", "a")
    # Long enough for more than one try, each of which is silent but the first.
    await asyncio.sleep(0.5)
    await fake.accept()
    await settle(fake, informer)
    assert told.take() == "+b -a"
    assert informer.in_contact
    assert fake.requests["list", "pods"] == 1
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_a_start_during_an_outage_is_in_sync_when_it_ends(fake: FakeApi, api: KubernetesApi, told: Told) -> None:
    fake.add("pods", pod("a"))
    await fake.refuse()
    async with running(api, told) as informer:
        await asyncio.sleep(0.3)
        assert (informer.synced, informer.in_contact) == (False, False)
        await fake.accept()
        async with asyncio.timeout(10):
            await informer.until_synced()
        assert list(informer.objects) == ["a"]


async def test_an_expired_version_is_listed_again_and_compared(
    fake: FakeApi, informer: Informer[Pod], told: Told
) -> None:
    await fake.refuse()
    fake.add("pods", pod("b"))
    fake.add("pods", pod("c"))
    fake.remove("pods", "a")
    fake.remove("pods", "c")
    fake.store.compact()
    await fake.accept()
    await settle(fake, informer)
    assert sorted(told.take().split()) == ["+b", "-a"]
    assert fake.requests["list", "pods"] == 2


async def test_a_watch_that_is_refused_as_expired_leads_to_a_list(fake: FakeApi, informer: Informer[Pod]) -> None:
    fake.faults.fail("watch", "pods", 410, "Expired", "too old resource version")
    fake.close_watches()
    await fake.until(lambda: fake.requests["list", "pods"] == 2)
    fake.add("pods", pod("b"))
    await settle(fake, informer)


async def test_a_namesake_is_a_deletion_and_an_addition(fake: FakeApi, informer: Informer[Pod], told: Told) -> None:
    await fake.refuse()
    fake.remove("pods", "a")
    fake.add("pods", pod("a"))
    fake.store.compact()
    await fake.accept()
    await settle(fake, informer)
    assert told.take() == "-a +a"


async def test_repeated_events_are_told_once(fake: FakeApi, informer: Informer[Pod], told: Told) -> None:
    fake.repeats_events = True
    fake.add("pods", pod("b"))
    fake.set_pod_status("b", {"phase": "Running"})
    fake.remove("pods", "a")
    fake.add("pods", pod("c"))
    await settle(fake, informer)
    assert told.take() == "+b ~b -a +c"


async def test_an_event_from_the_past_is_ignored(fake: FakeApi, informer: Informer[Pod], told: Told) -> None:
    past = fake.pods["a"]
    fake.set_pod_status("a", {"phase": "Running"})
    await settle(fake, informer)
    fake.send_event({"type": "MODIFIED", "object": past})
    fake.send_event({"type": "DELETED", "object": past})
    fake.add("pods", pod("b"))
    await settle(fake, informer)
    assert told.take() == "~a +b"
    assert informer.objects["a"].status.phase == "Running"


async def test_a_list_from_the_past_changes_nothing(fake: FakeApi, informer: Informer[Pod], told: Told) -> None:
    fake.freeze_lists()
    fake.add("pods", pod("b"))
    await settle(fake, informer)
    assert told.take() == "+b"
    fake.store.compact()
    fake.add("pods", pod("c"))
    fake.send_error(410, "Expired", "too old resource version")
    await fake.until(lambda: fake.requests["list", "pods"] == 3)
    assert "b" in informer.objects
    fake.thaw_lists()
    await settle(fake, informer)
    assert "-b" not in told.take()


async def test_a_cluster_that_was_set_back_is_believed_in_the_end(
    fake: FakeApi, informer: Informer[Pod], told: Told
) -> None:
    backup = fake.store.snapshot()
    fake.set_pod_status("a", {"phase": "Running"})
    fake.add("pods", pod("b"))
    await settle(fake, informer)
    await fake.refuse()
    fake.store.restore(backup)
    await fake.accept()
    fake.faults.fail("watch", "pods", 410, "Expired", "too old resource version")
    await settle(fake, informer)
    assert informer.objects["a"].status.phase == "Pending"
    assert told.take() == "~a +b -b ~a"


async def test_a_refused_list_is_tried_again_and_told_of_once(
    fake: FakeApi, api: KubernetesApi, told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    fake.add("pods", pod("a"))
    fake.faults.fail("list", "pods", 403, "Forbidden", "pods is forbidden", times=3)
    async with running(api, told) as informer:
        async with asyncio.timeout(10):
            await informer.until_synced()
        assert list(informer.objects) == ["a"]
    assert caplog.text.count("pods is forbidden") == 1


@pytest.mark.parametrize("code", [429, 500, 503])
async def test_a_watch_that_cannot_begin_is_tried_again(fake: FakeApi, informer: Informer[Pod], code: int) -> None:
    fake.faults.fail("watch", "pods", code, "Trouble", "try later", times=2)
    fake.close_watches()
    await fake.until(lambda: fake.requests["watch", "pods"] == 3)
    fake.add("pods", pod("b"))
    await settle(fake, informer)
    assert informer.in_contact


async def test_an_event_nobody_understands_leads_to_a_list(fake: FakeApi, informer: Informer[Pod]) -> None:
    fake.send_event({"type": "MODIFIED", "object": {"metadata": "garbage"}})
    await fake.until(lambda: fake.requests["list", "pods"] == 2)
    fake.add("pods", pod("b"))
    await settle(fake, informer)


async def test_a_broken_handler_ends_nothing(
    fake: FakeApi, informer: Informer[Pod], told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    told.breaks = True
    fake.add("pods", pod("b"))
    fake.add("pods", pod("c"))
    await settle(fake, informer)
    assert told.take() == "+b +c"
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["a bug in a handler"] * 2


async def test_an_api_server_that_ends_each_watch_is_not_asked_in_a_loop(
    fake: FakeApi, informer: Informer[Pod]
) -> None:
    asked = fake.requests["watch", "pods"]
    loop = asyncio.get_running_loop()
    end = loop.time() + 2
    while loop.time() < end:
        fake.close_watches()
        await asyncio.sleep(0.01)
    assert fake.requests["watch", "pods"] - asked < 12
    assert informer.in_contact


async def test_five_thousand_pods_are_known(fake: FakeApi, api: KubernetesApi) -> None:
    for index in range(5000):
        fake.add("pods", pod(f"p{index}"))
    told = Told()
    async with running(api, told) as informer:
        async with asyncio.timeout(30):
            await informer.until_synced()
        assert len(informer.objects) == len(told.known) == 5000
        assert fake.requests["list", "pods"] == 10


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_happens_the_truth_is_known_in_the_end(
    fake: FakeApi, informer: Informer[Pod], told: Told, seed: int
) -> None:
    dice = random.Random(seed)
    for _ in range(300):
        name = dice.choice("abcdefgh")
        match dice.randrange(12):
            case 0:
                await (fake.refuse() if dice.random() < 0.5 else fake.accept())
            case 1:
                fake.close_watches()
            case 2:
                fake.abort_watches()
            case 3:
                fake.store.compact()
            case 4:
                fake.faults.fail(dice.choice(["list", "watch"]), "pods", dice.choice([410, 429, 500]), retry_after=0)
            case 5:
                fake.faults.garble("list", "pods")
            case 6:
                fake.repeats_events = not fake.repeats_events
            case 7:
                fake.bookmark()
            case _ if name not in fake.pods:
                fake.add("pods", pod(name))
            case 8:
                fake.remove("pods", name)
            case _:
                fake.set_pod_status(name, {"phase": dice.choice(["Running", "Pending", "Failed"])})
        if dice.random() < 0.3:
            await asyncio.sleep(dice.random() * 0.01)
    fake.faults.clear()
    await fake.accept()
    await settle(fake, informer)
    assert told.known == dict(informer.objects)
