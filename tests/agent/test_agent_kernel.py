"""The life of one kernel: real processes and real sockets, in the test's own event loop."""

from __future__ import annotations

import asyncio
import os
import signal

import psutil
from agent_parts import DEADLINE, texts

from enterprise_gateway.core.culling import CullPolicy
from enterprise_gateway.core.lifecycle import KernelState, RestartPolicy


def states(messages: list[dict]) -> list[str]:
    return [each["content"]["execution_state"] for each in messages if each["msg_type"] == "status"]


# Its start.


async def test_a_kernel_that_answers_is_running_and_idle(start_agent):
    agent = await start_agent()
    assert agent.kernel.status.state is KernelState.STARTING
    assert agent.kernel.status.execution_state == "starting"
    await agent.ready()
    status = agent.kernel.status
    assert (status.execution_state, status.connections, status.restarts, status.reason) == ("idle", 0, 0, "")
    assert psutil.pid_exists(status.pid)
    assert int((agent.folder / "kernel.pid").read_text()) == status.pid


async def test_what_a_client_sends_while_the_kernel_starts_is_answered_once_it_is_ready(start_agent):
    agent = await start_agent()
    client = await agent.client()
    assert "hello" in texts(await client.run("kernel.print('hello')"))


async def test_a_kernel_that_dies_at_its_start_ends_with_its_own_words(start_agent):
    agent = await start_agent("--dies", "3")
    report = await agent.ended()
    assert report.reason == "the kernel did not start: exit code 3"
    assert report.exit_code == 3
    assert "no such module: pandas" in report.log_tail
    assert agent.kernel.died
    assert agent.kernel.status.execution_state == "dead"
    assert agent.kernel.status.reason == report.reason


async def test_a_kernel_that_never_answers_ends_after_its_time_and_so_does_its_process(start_agent):
    agent = await start_agent("--mute", start_timeout=1.0)
    report = await agent.ended()
    assert report.reason == "the kernel did not start: it did not answer within 1 s"
    assert not psutil.pid_exists(agent.kernel.status.pid)


async def test_a_command_that_does_not_exist_is_named(start_agent):
    agent = await start_agent(command="/no/such/python")
    assert "/no/such/python" in (await agent.ended()).reason


async def test_whoever_waits_for_the_start_is_told_of_its_end_too(start_agent):
    agent = await start_agent("--dies", "1")
    status = await agent.kernel.settled_start(DEADLINE)
    assert status.state is KernelState.ENDED
    assert "exit code 1" in status.reason


async def test_waiting_for_the_start_has_a_limit(start_agent):
    agent = await start_agent("--mute")
    assert (await agent.kernel.settled_start(0.01)).state is KernelState.STARTING


# Its death.


async def test_a_kernel_that_dies_is_restarted_and_its_clients_are_told_why(start_agent):
    agent = await (await start_agent()).ready()
    client = await agent.client()
    before = agent.kernel.status.pid
    cell = await client.execute("os.kill(os.getpid(), 9)")
    received = await client.until("status", execution_state="restarting")
    reply = next(each for each in received if each["msg_type"] == "execute_reply")
    assert reply["parent_header"]["msg_id"] == cell
    assert (reply["content"]["status"], reply["content"]["ename"]) == ("error", "KernelDied")
    assert "signal 9 (SIGKILL)" in reply["content"]["evalue"]
    notice = next(each for each in received if each["msg_type"] == "stream")
    assert notice["parent_header"]["msg_id"] == cell
    assert "signal 9 (SIGKILL)" in notice["content"]["text"]
    assert "1 of 5" in notice["content"]["text"]
    assert "alive" in texts(await client.run("kernel.print('alive')"))
    assert agent.kernel.status.restarts == 1
    assert agent.kernel.status.pid != before


async def test_everything_a_kernel_said_before_it_died_arrives(start_agent):
    count = 20_000
    agent = await (await start_agent()).ready()
    client = await agent.client()
    await client.execute(f"[kernel.print(f'{{n}};') for n in range({count})]; kernel.exit(1)")
    received = texts(await client.until("status", execution_state="restarting")).split(";")
    assert received[:count] == [str(number) for number in range(count)]


async def test_a_kernel_that_keeps_dying_ends_with_its_last_reason(start_agent):
    agent = await start_agent(restart=RestartPolicy(limit=1))
    client = await (await agent.ready()).client()
    await client.execute("kernel.exit(1)")
    await client.until("status", execution_state="restarting")
    await client.execute("kernel.exit(2)")
    received = await client.until("status", execution_state="dead")
    assert any(each["msg_type"] == "execute_reply" for each in received)
    report = await agent.ended()
    assert report.reason == "the kernel died (exit code 2); it died 2 times in a row"
    assert agent.kernel.died


async def test_without_automatic_restart_a_death_is_the_end(start_agent):
    agent = await (await start_agent(restart=RestartPolicy(enabled=False))).ready()
    os.kill(agent.kernel.status.pid, signal.SIGKILL)
    assert "automatic restart is switched off" in (await agent.ended()).reason


async def test_a_restart_that_is_waited_with_can_be_ended(start_agent):
    agent = await (await start_agent()).ready()
    client = await agent.client()
    for restarts in (1, 2):  # the second is waited with
        await client.execute("kernel.exit(1)")
        await client.until("status", execution_state="restarting")
        assert agent.kernel.status.restarts == restarts
    agent.kernel.end("enough")
    assert (await agent.ended()).reason == "enough"
    assert not agent.kernel.died


# What is asked of it.


async def test_a_restart_gives_a_new_process_and_forgets_the_old_ones_work(start_agent):
    agent = await (await start_agent()).ready()
    client = await agent.client()
    before = agent.kernel.status.pid
    cell = await client.execute("kernel.print('begun'); time.sleep(600)")
    await client.until("stream")
    status = await agent.kernel.restart(DEADLINE)
    assert (status.state, status.execution_state) == (KernelState.RUNNING, "idle")
    assert status.pid != before
    assert not psutil.pid_exists(before)
    received = await client.until("execute_reply")
    assert received[-1]["parent_header"]["msg_id"] == cell
    assert received[-1]["content"]["status"] == "error"
    assert "alive" in texts(await client.run("kernel.print('alive')"))


async def test_a_restart_is_no_death(start_agent):
    agent = await (await start_agent(restart=RestartPolicy(limit=0))).ready()
    for _ in range(2):
        assert (await agent.kernel.restart(DEADLINE)).state is KernelState.RUNNING
    assert agent.kernel.status.restarts == 0


async def test_two_who_ask_for_a_restart_get_one(start_agent):
    agent = await (await start_agent()).ready()
    first, second = await asyncio.gather(agent.kernel.restart(DEADLINE), agent.kernel.restart(DEADLINE))
    assert first.pid == second.pid
    assert (await agent.kernel.settled_start(DEADLINE)).pid == first.pid


async def test_a_kernel_that_is_still_starting_can_be_restarted(start_agent):
    agent = await start_agent()
    assert (await agent.kernel.restart(DEADLINE)).state is KernelState.RUNNING


async def test_what_a_client_sends_during_a_restart_reaches_the_new_process(start_agent):
    agent = await (await start_agent()).ready()
    client = await agent.client()
    await client.run("kernel.variables['x'] = 1")
    restarted = asyncio.create_task(agent.kernel.restart(DEADLINE))
    received = []
    async with asyncio.timeout(DEADLINE):
        while "None" not in texts(received):  # until then the old process is asked, or the request was failed
            received += await client.run("kernel.print(str(kernel.variables.get('x')))")
    assert (await restarted).state is KernelState.RUNNING


async def test_an_interrupt_ends_the_cell_and_not_the_kernel(start_agent):
    agent = await (await start_agent()).ready()
    client = await agent.client()
    await client.execute("kernel.print('begun'); time.sleep(600)")
    await client.until("stream")
    agent.kernel.interrupt()
    received = await client.until("execute_reply")
    assert received[-1]["content"]["ename"] == "KeyboardInterrupt"
    assert "alive" in texts(await client.run("kernel.print('alive')"))


async def test_a_kernel_that_wants_a_message_is_interrupted_by_one(start_agent):
    agent = await (await start_agent(interrupt_mode="message")).ready()
    agent.kernel.interrupt()
    client = await agent.client()
    received = []
    async with asyncio.timeout(DEADLINE):
        while "interrupt_request" not in texts(received):  # control is another socket: no order between them
            received += await client.run("kernel.print(str(kernel.handled))")


async def test_an_interrupt_of_a_kernel_that_is_gone_does_nothing(start_agent):
    agent = await start_agent("--dies", "1")
    agent.kernel.interrupt()
    await agent.ended()
    agent.kernel.interrupt()


async def test_a_kernel_ends_politely_when_it_can(start_agent):
    agent = await (await start_agent(shutdown_wait=2 * DEADLINE)).ready()
    agent.kernel.end("it was shut down")
    report = await agent.ended()
    assert (report.reason, report.exit_code) == ("it was shut down", None)
    assert not agent.kernel.died


async def test_a_kernel_that_will_not_end_is_made_to(start_agent):
    agent = await (await start_agent("--stubborn", shutdown_wait=0.2)).ready()
    pid = agent.kernel.status.pid
    agent.kernel.end("it was shut down")
    await agent.ended()
    assert not psutil.pid_exists(pid)


async def test_a_kernel_that_has_not_started_yet_can_be_ended(start_agent):
    agent = await start_agent("--mute", shutdown_wait=0.2)
    agent.kernel.end("never mind")
    assert (await agent.ended()).reason == "never mind"
    assert not agent.kernel.died


async def test_the_end_is_the_last_thing_clients_hear_and_nothing_is_left_waiting(start_agent):
    agent = await (await start_agent()).ready()
    client = await agent.client()
    cell = await client.execute("kernel.print('begun'); time.sleep(600)")
    await client.until("stream")
    agent.kernel.end("it was shut down")
    received = await client.until("status", execution_state="dead")
    assert cell in {each["parent_header"].get("msg_id") for each in received if each["msg_type"] == "execute_reply"}


# Clients.


async def test_a_question_is_answered_by_who_ran_the_cell(start_agent):
    agent = await (await start_agent()).ready()
    ann, bob = await agent.client("ann"), await agent.client("bob")
    await ann.execute("kernel.print('answer: ' + kernel.input())")
    await ann.until("input_request")
    await ann.send("stdin", "input_reply", {"value": "42"})
    assert "answer: 42" in texts(await ann.until("execute_reply"))
    received = await bob.until("stream")
    assert not any(each["channel"] == "stdin" for each in received)


async def test_a_kernel_is_busy_while_a_cell_runs_whatever_control_says(start_agent):
    agent = await (await start_agent()).ready()
    client = await agent.client()
    await client.execute("kernel.print('begun'); time.sleep(600)")
    await client.until("stream")
    assert agent.kernel.status.execution_state == "busy"
    agent.kernel.interrupt()
    await client.until("status", execution_state="idle")
    assert agent.kernel.status.execution_state == "idle"


# Culling.


async def test_an_idle_kernel_is_culled(start_agent):
    agent = await start_agent(cull=CullPolicy(idle_timeout=1.0))
    report = await agent.ended()
    assert report.reason == "culled: it was idle for 1 s (the limit is 1 s)"
    assert not agent.kernel.died


async def test_a_connected_kernel_says_in_the_notebook_why_it_is_culled(start_agent):
    agent = await start_agent(cull=CullPolicy(max_age=1.0))
    client = await agent.client()
    assert "maximum age of 1 s" in texts(await client.until("status", execution_state="dead"))
    assert (await agent.ended()).reason == "culled: it reached its maximum age of 1 s"
