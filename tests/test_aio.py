from __future__ import annotations

import asyncio
import logging

import pytest

from enterprise_gateway.aio import Changes, Tasks


async def test_closing_ends_what_still_runs_and_waits_for_its_last_words():
    tasks = Tasks("owner")
    said = []

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            said.append("bye")

    task = tasks.spawn(work(), "work")
    await asyncio.sleep(0)
    await tasks.close()
    assert said == ["bye"]
    assert task.cancelled()
    assert len(tasks) == 0


async def test_a_task_is_named_after_its_owner():
    tasks = Tasks("owner")
    assert tasks.spawn(asyncio.sleep(0), "work").get_name() == "owner: work"
    assert repr(tasks) == "<Tasks of owner: 1>"
    await tasks.close()


async def test_an_unexpected_end_is_logged_with_its_reason(caplog):
    tasks = Tasks("owner")

    async def fail():
        raise ValueError("broken")

    task = tasks.spawn(fail(), "work")
    await asyncio.wait([task])
    await asyncio.sleep(0)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "owner: work" in record.getMessage()
    assert record.exc_info is not None
    assert "broken" in str(record.exc_info[1])
    assert len(tasks) == 0


async def test_a_task_that_ends_by_itself_or_is_cancelled_is_no_news(caplog):
    tasks = Tasks("owner")
    done = tasks.spawn(asyncio.sleep(0), "short")
    cancelled = tasks.spawn(asyncio.sleep(60), "long")
    cancelled.cancel()
    await asyncio.wait([done, cancelled])
    await asyncio.sleep(0)
    assert not caplog.records
    assert len(tasks) == 0


async def test_nothing_is_spawned_after_the_owner_was_closed():
    tasks = Tasks("owner")
    await tasks.close()
    with pytest.raises(RuntimeError, match="owner is closed"):
        tasks.spawn(asyncio.sleep(0), "late")


async def test_one_task_that_fails_while_it_is_cancelled_does_not_keep_the_others():
    tasks = Tasks("owner")

    async def fail_at_the_end():
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("broken")

    tasks.spawn(fail_at_the_end(), "bad")
    good = tasks.spawn(asyncio.Event().wait(), "good")
    await asyncio.sleep(0)
    await tasks.close()
    assert good.cancelled()


async def test_everybody_who_waits_for_a_key_is_woken_and_nobody_else():
    changes = Changes()
    first, second, other = (asyncio.create_task(changes.wait(key)) for key in ("a", "a", "b"))
    await asyncio.sleep(0)
    changes.notify("a")
    await asyncio.gather(first, second)
    assert not other.done()
    changes.notify("b")
    await other


async def test_news_wakes_only_those_who_wait_already():
    changes = Changes()
    changes.notify("a")
    late = asyncio.create_task(changes.wait("a"))
    await asyncio.sleep(0)
    assert not late.done()
    changes.notify("a")
    await late


async def test_a_waiter_that_gave_up_leaves_nothing_behind_and_disturbs_nobody():
    changes = Changes()
    gone, staying = (asyncio.create_task(changes.wait("a")) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait([gone])
    changes.notify("a")
    await staying
    assert not changes._waiting


async def test_a_waiter_may_wait_again_as_soon_as_it_is_woken():
    changes = Changes()
    woken = []

    async def follow():
        for _ in range(3):
            await changes.wait("a")
            woken.append("a")

    follower = asyncio.create_task(follow())
    while not follower.done():
        changes.notify("a")
        await asyncio.sleep(0)
    assert woken == ["a"] * 3
    assert not changes._waiting
