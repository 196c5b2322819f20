"""The agent's sockets against a kernel's, on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import zmq
from agent_parts import DEADLINE, connection_info, message, stream

from enterprise_gateway.agent.channels import BATCH, HELD_LIMIT, Channels
from enterprise_gateway.core.records import ConnectionInfo
from enterprise_gateway.wire.kernel import Signer
from enterprise_gateway.wire.message import Message

IDENTITY = b"agent-identity"


class KernelSockets:
    """A kernel's side of one connection, without a kernel behind it."""

    def __init__(self, connection: ConnectionInfo) -> None:
        self.connection = connection
        self.signer = Signer(connection.key.encode())
        self.context = zmq.Context()
        self.sockets = {name: self._bind(name) for name in ("iopub", "stdin", "control", "shell")}

    def _bind(self, name: str) -> zmq.Socket[bytes]:
        # XPUB tells when the agent has subscribed.
        socket = self.context.socket(zmq.XPUB if name == "iopub" else zmq.ROUTER)
        socket.linger = 0
        if name == "iopub":
            socket.sndhwm = 0
        else:
            socket.rcvhwm = 10
            socket.rcvbuf = 4096
        socket.bind(f"tcp://127.0.0.1:{getattr(self.connection, f'{name}_port')}")
        return socket

    def await_subscriber(self) -> None:
        assert self.sockets["iopub"].poll(DEADLINE * 1000), "nobody subscribed"
        assert self.sockets["iopub"].recv() == b"\x01"

    def publish(self, *messages: Message) -> None:
        for each in messages:
            self.sockets["iopub"].send_multipart([b"topic", *self.signer.encode(each)])

    def receive(self, channel: str) -> tuple[bytes, Message]:
        """Who sent the next message on `channel`, and the message."""
        assert self.sockets[channel].poll(DEADLINE * 1000), f"nothing came on {channel}"
        identity, *frames = self.sockets[channel].recv_multipart()
        return identity, self.signer.decode(channel, frames)

    def send(self, identity: bytes, each: Message) -> None:
        self.sockets[each.channel].send_multipart([identity, *self.signer.encode(each)])

    def close(self) -> None:
        self.context.destroy(linger=0)


class Agent:
    """Channels, and what they reported."""

    def __init__(self, connection: ConnectionInfo) -> None:
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.batches: list[int] = []
        self.full: list[bool] = []
        self._batch = 0
        self.connection = connection
        self.channels = Channels(IDENTITY, self._received, self._drained, self.full.append)

    def _received(self, each: Message) -> None:
        self._batch += 1
        self.messages.put_nowait(each)

    def _drained(self) -> None:
        self.batches.append(self._batch)
        self._batch = 0

    async def next(self) -> Message:
        return await asyncio.wait_for(self.messages.get(), DEADLINE)


@pytest.fixture
def connection() -> ConnectionInfo:
    return connection_info()


@pytest.fixture
def kernel(connection: ConnectionInfo) -> Iterator[KernelSockets]:
    sockets = KernelSockets(connection)
    yield sockets
    sockets.close()


@pytest.fixture
async def agent(connection: ConnectionInfo) -> AsyncIterator[Agent]:
    made = Agent(connection)
    yield made
    made.channels.terminate()


@pytest.fixture
def open_agent(agent: Agent, kernel: KernelSockets) -> Agent:
    """Connected to a kernel that is ready."""
    agent.channels.open(agent.connection)
    agent.channels.release()
    kernel.await_subscriber()
    return agent


def request(number: int, channel: str = "shell", size: int = 0) -> Message:
    return message(channel, "execute_request", {"code": "x" * size}, msg_id=str(number))


async def test_what_clients_send_reaches_the_kernel_signed_and_in_order(open_agent, kernel):
    sent = [request(number) for number in range(50)]
    for each in sent:
        open_agent.channels.send(each)
    assert [kernel.receive("shell") for _ in sent] == [(IDENTITY, each) for each in sent]


@pytest.mark.parametrize("channel", ["shell", "control", "stdin"])
async def test_one_identity_on_every_channel_so_that_the_kernel_can_ask_for_input(open_agent, kernel, channel):
    open_agent.channels.send(request(1, channel))
    identity, _ = kernel.receive(channel)
    question = message("stdin", "input_request", {})
    open_agent.channels.send(request(2, "stdin"))
    kernel.receive("stdin")
    kernel.send(identity, question)
    assert await open_agent.next() == question


async def test_everything_the_kernel_publishes_arrives_in_order_and_batches_leave_room_for_others(open_agent, kernel):
    sent = [stream(str(number)) for number in range(5 * BATCH)]
    kernel.publish(*sent)
    assert [await open_agent.next() for _ in sent] == sent
    await asyncio.sleep(0)
    assert sum(open_agent.batches) == len(sent)
    assert max(open_agent.batches) <= BATCH


async def test_a_message_that_is_not_signed_with_the_kernels_key_is_dropped_alone(open_agent, kernel, caplog):
    good = stream("good")
    kernel.sockets["iopub"].send_multipart([b"topic", *Signer(b"another").encode(stream("bad"))])
    kernel.sockets["iopub"].send_multipart([b"junk"])
    kernel.publish(good)
    assert await open_agent.next() == good
    assert len(caplog.records) == 2


async def test_what_is_sent_while_a_reply_comes_in_does_not_swallow_the_reply(open_agent, kernel):
    """The file descriptor of a ZMQ socket is edge-triggered, and a send takes the edge."""
    open_agent.channels.send(request(0))
    identity, _ = kernel.receive("shell")
    for number in range(1, 200):
        kernel.send(identity, message("shell", "execute_reply", {"number": number}))
        open_agent.channels.send(request(number))
        assert (await open_agent.next()).channel == "shell"
        kernel.receive("shell")


async def test_until_the_kernel_is_ready_messages_are_held_but_for_the_agents_own(agent, kernel):
    agent.channels.open(agent.connection)
    agent.channels.send(request(1))
    agent.channels.send(request(2, "control"))
    agent.channels.send_now(request(0))
    assert kernel.receive("shell")[1] == request(0)
    agent.channels.release()
    assert kernel.receive("shell")[1] == request(1)
    assert kernel.receive("control")[1] == request(2, "control")


@pytest.fixture
def next_kernel(
    agent: Agent, kernel: KernelSockets, connection: ConnectionInfo
) -> Iterator[Callable[[], KernelSockets]]:
    """Ends the kernel's process, so to speak, and begins another on the same ports."""
    made = []

    def restart() -> KernelSockets:
        agent.channels.close()
        kernel.close()
        made.append(KernelSockets(connection))
        return made[-1]

    yield restart
    for sockets in made:
        sockets.close()


async def test_what_is_held_for_a_process_that_is_gone_does_not_reach_the_next(agent, next_kernel):
    agent.channels.open(agent.connection)
    agent.channels.send(request(1))
    reborn = next_kernel()
    agent.channels.discard_held()
    agent.channels.open(agent.connection)
    agent.channels.send(request(2))
    agent.channels.release()
    assert reborn.receive("shell")[1] == request(2)


async def test_what_comes_between_two_lives_of_the_kernel_reaches_the_second(agent, next_kernel):
    agent.channels.open(agent.connection)
    agent.channels.release()
    reborn = next_kernel()
    agent.channels.send(request(1))
    agent.channels.open(agent.connection)
    agent.channels.release()
    assert reborn.receive("shell")[1] == request(1)


async def fill(agent: Agent, until: Callable[[], bool], size: int) -> list[Message]:
    """Send requests on shell until the kernel takes no more and `until` holds."""
    sent = []
    while not until():
        assert len(sent) < 100_000
        sent.append(request(len(sent), size=size))
        agent.channels.send(sent[-1])
        await asyncio.sleep(0)
    return sent


async def test_a_kernel_that_takes_nothing_stops_its_clients_until_it_does(open_agent, kernel):
    sent = await fill(open_agent, lambda: open_agent.channels.backed_up, size=20_000)
    assert open_agent.full == [True]
    assert [(await asyncio.to_thread(kernel.receive, "shell"))[1] for _ in sent] == sent
    assert open_agent.full == [True, False]
    assert not open_agent.channels.backed_up


async def test_discarding_what_is_held_lets_the_clients_go_on(open_agent):
    await fill(open_agent, lambda: open_agent.channels.backed_up, size=HELD_LIMIT // 100)
    open_agent.channels.discard_held()
    assert open_agent.full == [True, False]


async def test_an_answer_on_stdin_passes_the_requests_that_wait_for_it(open_agent, kernel):
    """A kernel that waits for input reads no shell requests: held behind them, the answer would never come."""
    await fill(open_agent, lambda: bool(open_agent.channels._held_size), size=20_000)
    answer = message("stdin", "input_reply", {"value": "yes"})
    open_agent.channels.send(answer)
    assert (await asyncio.to_thread(kernel.receive, "stdin"))[1] == answer


async def test_a_kernel_that_is_not_there_yet_is_connected_to_as_soon_as_it_is(agent, connection):
    agent.channels.open(agent.connection)
    agent.channels.release()
    agent.channels.send(request(1))
    await asyncio.sleep(0)
    late = KernelSockets(connection)
    try:
        assert late.receive("shell")[1] == request(1)
        late.await_subscriber()
        late.publish(stream("hello"))
        assert (await agent.next()).content == stream("hello").content
    finally:
        late.close()


async def test_after_the_end_nothing_is_sent_and_nothing_breaks(open_agent):
    open_agent.channels.terminate()
    open_agent.channels.send_now(request(1))
    open_agent.channels.close()
    open_agent.channels.terminate()
