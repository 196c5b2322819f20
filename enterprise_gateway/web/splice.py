"""Two connections joined: bytes both ways, back-pressure both ways, not one frame parsed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Pipe(asyncio.Protocol):
    """One side of a splice; what it receives goes out on the other side's transport."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.peer: asyncio.Transport | None = None
        self.received = 0
        """Bytes."""
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        peer = self.peer
        if peer is not None and not peer.is_closing():
            peer.write(data)

    def pause_writing(self) -> None:
        if self.peer is not None and not self.peer.is_closing():
            self.peer.pause_reading()

    def resume_writing(self) -> None:
        if self.peer is not None and not self.peer.is_closing():
            self.peer.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's interface
        if self.peer is not None:
            self.peer.close()
        if not self.lost.done():
            self.lost.set_result(None)


class Splice:
    """A client's connection joined to an agent's; made by `join`."""

    def __init__(self, client: Pipe, agent: Pipe) -> None:
        self._client = client
        self._agent = agent

    @classmethod
    def join(
        cls,
        client: asyncio.Transport,
        agent: asyncio.Transport,
        *,
        from_client: bytes = b"",
        from_agent: bytes = b"",
    ) -> Splice:
        """Relay from now on, beginning with what each side has sent; reading may have been paused on both."""
        pipes = Pipe(client), Pipe(agent)
        for pipe, peer in (pipes, pipes[::-1]):
            pipe.peer = peer.transport
            pipe.transport.set_protocol(pipe)
            # Before anything is written: what fills the other side's buffer has to pause this one again.
            if not pipe.transport.is_closing():
                pipe.transport.resume_reading()
        if from_client:
            pipes[0].data_received(from_client)
        if from_agent:
            pipes[1].data_received(from_agent)
        return cls(*pipes)

    async def closed(self, report: Callable[[int, int], None]) -> None:
        """Wait until both sides are gone, then tell `report` the bytes of the client and of the agent."""
        try:
            await asyncio.wait({self._client.lost, self._agent.lost})
        finally:
            for pipe in (self._client, self._agent):
                if not pipe.lost.done():
                    pipe.transport.abort()
            report(self._client.received, self._agent.received)

    def __repr__(self) -> str:
        return f"<Splice {self._client.received} bytes from client, {self._agent.received} from agent>"
