"""An agent's own process with TLS beside a supervised kernel: what the two containers of a pod are to each other."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator

import msgspec
import psutil
import pytest
from agent_parts import DEADLINE, KERNEL, Client, texts
from agent_pod_parts import SEED, TOKEN, Pod, free_port
from support.ended import have_ended
from support.supervisor import SHELLS
from support.wait import eventually

from enterprise_gateway.core import agents, pods, tls
from enterprise_gateway.core.lifecycle import KernelState, RestartPolicy
from enterprise_gateway.core.secret import Secret
from enterprise_gateway.errors import KernelUnresponsive
from enterprise_gateway.kernels.agents import AgentClient
from enterprise_gateway.kernels.reach import Address
from enterprise_gateway.wire import http1

FILE = "{connection_file}"
SCRIPTED = (sys.executable, "-P", str(KERNEL), "-f", FILE)
IPYKERNEL = (sys.executable, "-m", "ipykernel_launcher", "-f", FILE)


@pytest.fixture
async def pod(tmp_path) -> AsyncIterator[Pod]:
    made = Pod(tmp_path)
    yield made
    await made.close()


@pytest.fixture(params=SHELLS.values(), ids=SHELLS.keys())
async def pod_of_any_shell(request, tmp_path) -> AsyncIterator[Pod]:
    made = Pod(tmp_path, request.param)
    yield made
    await made.close()


@pytest.fixture
async def running(pod: Pod) -> Pod:
    """With a kernel that does what the code says."""
    pod.start_kernel()
    pod.start_agent()
    await pod.running()
    return pod


async def said(client: Client, code: str) -> str:
    """Execute `code`; its first output."""
    await client.execute(code)
    return texts(await client.until("stream"))


# Its kernel.


async def test_ipykernel_is_started_interrupted_and_restarted_in_place(pod_of_any_shell):
    pod = pod_of_any_shell
    pod.start_kernel(*IPYKERNEL)
    pod.start_agent()
    first = await pod.running()
    client = await pod.client()
    assert "42" in texts(await client.run("print(6 * 7)"))

    child = int(await said(client, "import subprocess as sp; p = sp.Popen(['sleep', '600']); print(p.pid); p.wait()"))
    await pod.gateway.interrupt(pod.address)
    assert (await client.until("execute_reply"))[-1]["content"]["ename"] == "KeyboardInterrupt"
    assert await asyncio.to_thread(have_ended, child)

    second = await pod.gateway.restart(pod.address, DEADLINE)
    assert (second.state, second.execution_state) == (KernelState.RUNNING, "idle")
    assert second.pid != first.pid
    assert not psutil.pid_exists(first.pid)
    assert "NameError" in str(await client.run("sp"))

    await pod.gateway.shutdown(pod.address, "it was shut down", DEADLINE)
    assert await pod.ended(pod.kernel) == 0
    assert await pod.ended(pod.agent) == 0
    assert pod.report.reason == "it was shut down"


@pytest.mark.parametrize("first", ["agent", "kernel"])
async def test_either_container_may_be_first(pod, first):
    if first == "agent":
        pod.start_agent()
        assert (await pod.status()).state is KernelState.STARTING
        pod.start_kernel()
    else:
        pod.start_kernel()
        eventually(lambda: pod.path(pods.SHARED_FOLDER, "pid").exists())
        pod.start_agent()
    await pod.running()
    assert "hello" in texts(await (await pod.client()).run("kernel.print('hello')"))


async def test_a_kernel_that_dies_is_restarted_in_place_and_its_clients_are_told_why(running):
    client = await running.client()
    before = (await running.status()).pid
    await client.execute("os.kill(os.getpid(), 9)")
    received = await client.until("status", execution_state="restarting")
    assert "signal 9 (SIGKILL)" in texts(received)
    assert "alive" in texts(await client.run("kernel.print('alive')"))
    status = await running.status()
    assert status.restarts == 1
    assert status.pid != before


async def test_a_kernel_killed_for_its_memory_is_said_to_be(running):
    cgroup = running.root / "sys/fs/cgroup"
    client = await running.client()
    await running.gateway.restart(running.address, DEADLINE)  # the life to come counts from 0
    (cgroup / "memory.events").write_text("oom_kill 1\n")
    (cgroup / "memory.max").write_text(f"{2**30}\n")
    await client.execute("os.kill(os.getpid(), 9)")
    received = await client.until("status", execution_state="restarting")
    assert "it used more memory than its limit of 1 GiB (OOMKilled)" in texts(received)


async def test_a_kernel_that_dies_at_its_start_gives_its_code_to_its_container(pod):
    pod.start_kernel(*SCRIPTED, "--dies", "3")
    pod.start_agent()
    assert await pod.ended(pod.kernel) == 3
    assert await pod.ended(pod.agent) == 0
    assert pod.report.reason == "the kernel did not start: exit code 3"
    assert pod.report.exit_code == 3


async def test_a_kernel_that_keeps_dying_ends_both_containers(pod):
    pod.start_kernel()
    pod.start_agent(restart=RestartPolicy(enabled=False))
    await pod.running()
    await (await pod.client()).execute("kernel.exit(4)")
    assert await pod.ended(pod.kernel) == 4
    assert await pod.ended(pod.agent) == 0
    assert "automatic restart is switched off" in pod.report.reason


async def test_the_start_is_timed_from_the_kernels_own_start(pod):
    pod.start_agent(start_timeout=0.5)
    assert (await pod.status(wait=1.0)).state is KernelState.STARTING
    pod.start_kernel(*SCRIPTED, "--mute")
    assert await pod.ended(pod.kernel) == 128 + signal.SIGKILL
    assert await pod.ended(pod.agent) == 0
    assert pod.report.reason == "the kernel did not start: it did not answer within 0.5 s"


async def test_a_kernel_whose_container_never_came_can_be_ended(pod):
    pod.start_agent()
    await pod.status()
    await pod.gateway.shutdown(pod.address, "never mind", DEADLINE)
    assert await pod.ended(pod.agent) == 0
    assert pod.report.reason == "never mind"


# The ends of its containers.


async def test_the_end_of_the_kernels_container_is_the_end(running):
    client = await running.client()
    kernel = (await running.status()).pid
    running.kernel.kill()
    assert (await client.until("status", execution_state="dead"))[-1]
    assert await running.ended(running.agent) == 0
    assert running.report.reason == "the kernel died (its container ended)"
    assert await asyncio.to_thread(have_ended, kernel)


async def test_the_end_of_the_agents_container_is_the_end_of_the_kernels(running):
    kernel = (await running.status()).pid
    running.agent.kill()
    assert await running.ended(running.kernel) == 128 + signal.SIGTERM
    assert await asyncio.to_thread(have_ended, kernel)


async def test_a_pod_that_is_deleted_ends_politely(running):
    """The kubelet tells all containers at once."""
    client = await running.client()
    for container in (running.kernel, running.agent):
        container.terminate()
    await client.until("status", execution_state="dead")
    assert await running.ended(running.kernel) == 0, "the kernel was killed before it was asked"
    assert await running.ended(running.agent) == 0
    assert running.report.reason == "its pod is being deleted"


async def test_a_deleted_pod_does_not_wait_for_clients_that_may_come_back(pod):
    pod.start_kernel()
    pod.start_agent(restart=RestartPolicy(enabled=False), linger=10 * DEADLINE)
    await pod.running()
    client = await pod.client("ann")
    client.socket.transport.abort()
    os.kill((await pod.status()).pid, signal.SIGKILL)
    assert await pod.ended(pod.kernel) == 128 + signal.SIGKILL
    pod.agent.terminate()
    assert await pod.ended(pod.agent) == 0


# Its gateways.


async def test_it_tells_its_home_where_it_listens_with_a_proof(pod):
    said: asyncio.Future[tuple[str, bytes]] = asyncio.get_running_loop().create_future()

    async def home(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = http1.parse_request(await reader.readuntil(b"\r\n\r\n"))
        said.set_result((head.target, await reader.readexactly(http1.content_length(head))))
        writer.write(b"HTTP/1.1 204 \r\n\r\n")
        writer.close()

    server = await asyncio.start_server(home, "127.0.0.1", 0)
    pod.home = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    pod.start_agent()
    target, body = await asyncio.wait_for(said, DEADLINE)
    server.close()
    assert target == f"{pods.HELLO_PATH}{pod.kernel_id}"
    hello = msgspec.json.decode(body, type=pods.Hello)
    assert (hello.host, hello.port) == ("127.0.0.1", pod.port)
    assert hello.proof == pods.hello_proof(TOKEN, pod.kernel_id, "127.0.0.1", pod.port)
    assert TOKEN.encode() not in body


async def test_a_home_that_is_gone_harms_nobody(pod):
    pod.home = f"127.0.0.1:{free_port()}"
    pod.start_kernel()
    pod.start_agent()
    await pod.running()


async def test_only_the_holder_of_the_token_is_answered_and_only_the_pinned_key_is_asked(running):
    with pytest.raises(KernelUnresponsive):
        await running.gateway.status(Address(running.address.endpoint, Secret("wrong"), SEED))
    stranger = AgentClient()
    with pytest.raises(KernelUnresponsive):
        await stranger.status(Address(running.address.endpoint, Secret(TOKEN), Secret("00" * 32)))
    await stranger.close()
    assert (await running.status()).state is KernelState.RUNNING


async def ask(pod: Pod, path: str, token: str) -> tuple[ssl.SSLObject, bytes]:
    """A request of one who pins nothing: the connection as it was, and the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", pod.port, ssl=pod.tls_context())
    writer.write(f"GET {path} HTTP/1.1\r\nAuthorization: token {token}\r\n\r\n".encode())
    async with asyncio.timeout(DEADLINE):
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(http1.content_length(http1.parse_response(head)))
    writer.close()
    return writer.get_extra_info("ssl_object"), head + body


async def test_a_wrong_token_is_a_401_behind_the_pinned_key(running):
    shown, answer = await ask(running, agents.STATUS_PATH, "wrong")
    assert answer.split()[1] == b"401"
    assert shown.version() == "TLSv1.3"
    assert tls.shown_key(shown.getpeercert(binary_form=True) or b"") == tls.pin(SEED)


async def test_older_tls_is_not_spoken(running):
    context = running.tls_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", running.port, ssl=context)


async def test_a_kernels_output_outside_of_cells_is_its_containers(running):
    _, answer = await ask(running, agents.LOG_PATH, TOKEN)
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"\r\n\r\n")


async def test_large_output_arrives_whole_through_tls(running):
    client = await running.client()
    received = await client.run("[kernel.print('x' * 1_000_000) for _ in range(30)]")
    assert len(texts(received)) == 30_000_000


async def test_a_client_that_comes_back_gets_what_it_has_missed(running):
    client = await running.client("ann")
    await client.execute("kernel.print('one'); time.sleep(0.5); kernel.print('two')")
    await client.until("stream")
    client.socket.transport.abort()
    back = await running.client("ann")
    assert "two" in texts(await back.until("execute_reply"))


async def test_a_kernel_that_deletes_its_connection_file_finds_one_in_its_next_life(pod_of_any_shell):
    pod = pod_of_any_shell
    forgetful = (
        "import atexit, os, runpy, sys; file = sys.argv[2]; open(file, 'a').close();"
        "atexit.register(os.unlink, file); sys.argv = ['kernel', *sys.argv[1:]];"
        f"runpy.run_path({str(KERNEL)!r}, run_name='__main__')"
    )
    pod.start_kernel(sys.executable, "-P", "-c", forgetful.replace("{", "{{").replace("}", "}}"), "-f", FILE)
    pod.start_agent()
    first = await pod.running()
    second = await pod.gateway.restart(pod.address, DEADLINE)
    assert second.state is KernelState.RUNNING
    assert second.pid != first.pid


async def test_an_agent_in_a_pod_that_lost_a_race_ends_without_a_word(pod):
    pod.meant_for = "another-pod"
    pod.start_agent()
    assert await pod.ended(pod.agent) == 0
    assert not pod.path(pods.TERMINATION_LOG).exists()


async def test_what_a_start_waits_for_is_told_once_and_only_until_the_kernel_runs(pod):
    pod.start_agent()
    await pod.status()
    client = await pod.client("one")
    for _ in range(2):
        await pod.gateway.tell(pod.address, "Pulling: a large image")
    await pod.gateway.tell(pod.address, "Pulled: it")
    pod.start_kernel()
    await pod.running()
    await pod.gateway.tell(pod.address, "Started: long ago")
    told = texts(await client.run("print('hello')"))
    assert told.count("Pulling: a large image") == 1
    assert "Pulled: it" in told
    assert "long ago" not in told
