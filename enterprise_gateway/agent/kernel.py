"""The life of one kernel: start, readiness, interrupt, restart, death, culling, end.

One task, `run`, decides, and has a holder start and end processes; everybody else asks through methods that put a
command or set a future. The transitions are those of `core.lifecycle`.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import os
import signal
import time
import uuid
from typing import Any, NamedTuple

from enterprise_gateway.agent.channels import Channels
from enterprise_gateway.agent.holding import Holder, Process
from enterprise_gateway.agent.hub import Hub
from enterprise_gateway.agent.outgoing import Author
from enterprise_gateway.core.agents import AgentConfig, AgentStatus
from enterprise_gateway.core.culling import Usage, cull_reason, seconds_to_next_check
from enterprise_gateway.core.lifecycle import GiveUp, KernelState, may_become
from enterprise_gateway.core.records import EndReport
from enterprise_gateway.wire.message import Header, Message

log = logging.getLogger(__name__)

NUDGE_SECONDS = 0.02
"""First pause before the kernel is asked again because nothing came on iopub yet."""


class Want(enum.Enum):
    """What somebody asked of the kernel."""

    RESTART = "restart"
    END = "end"


class Command(NamedTuple):
    """A wish and why, in words for the user."""

    want: Want
    reason: str


class Died(NamedTuple):
    """How a life of the process ended by itself."""

    reason: str
    exit_code: int | None
    lived: float
    final: bool = False
    """Whether no other can follow."""


class Kernel:
    """A kernel and its clients."""

    def __init__(self, config: AgentConfig, holder: Holder) -> None:
        self.config = config
        self.holder = holder
        self.state = KernelState.STARTING
        self.reason = ""
        self.last_gateway = time.time()
        """Unix seconds when a gateway was last heard of."""
        self.visitors = 0
        """Open connections; a gateway keeps one as long as it runs, and says nothing on it."""
        self.died = False
        """Whether it ended by itself rather than because somebody wanted it."""
        self.ended = asyncio.Event()
        """Set once its end is on record."""
        self._started = time.time()
        self._restarts = 0
        self._told: set[str] = set()
        self._process: Process | None = None
        self._commands: asyncio.Queue[Command] = asyncio.Queue()
        self._changed = asyncio.Event()
        self._answered = asyncio.Event()
        author = Author(f"agent-{uuid.uuid4().hex}")
        self.hub = Hub(config.rules.replay_bytes, author, self._own_message)
        self.channels = Channels(author.session.encode(), self.hub.from_kernel, self.hub.flush, self._backed_up)

    # What others ask.

    @property
    def status(self) -> AgentStatus:
        """What a gateway wants to know."""
        return AgentStatus(
            state=self.state,
            execution_state=self._execution_state(),
            last_activity=self.hub.activity.last_activity,
            connections=len(self.hub.sockets),
            restarts=self._restarts,
            reason=self.reason,
            pid=self._process.pid if self._process else 0,
        )

    async def settled_start(self, timeout: float) -> AgentStatus:
        """The status once the kernel is running or has ended, or after `timeout` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self.state in (KernelState.STARTING, KernelState.RESTARTING):
                    self._changed.clear()
                    await self._changed.wait()
        return self.status

    def interrupt(self) -> None:
        """Interrupt what runs, the way the kernel spec says."""
        if self._process is None or self._process.exited.done():
            return
        if self.config.process.interrupt_mode == "message":
            self.channels.send_now(self.hub.author.request("control", "interrupt_request", {}))
            return
        name = self.config.process.env.get("EG_ALTERNATE_SIGINT", "SIGINT")
        self._process.signal_group(getattr(signal, name, signal.SIGINT))

    async def restart(self, timeout: float) -> AgentStatus:
        """Replace the process in place and wait for the new one, at most `timeout` seconds."""
        if self.state in (KernelState.STARTING, KernelState.RUNNING):
            self._become(KernelState.RESTARTING)
            self._commands.put_nowait(Command(Want.RESTART, "it was restarted"))
        return await self.settled_start(timeout)

    def tell_waiting(self, text: str) -> None:
        """Tell clients what the first start waits for, each step once, whoever and however many report it."""
        if self.state is KernelState.STARTING and text not in self._told:
            self._told.add(text)
            self.hub.tell(text)

    def end(self, reason: str) -> None:
        """End the kernel for good, politely first."""
        self._commands.put_nowait(Command(Want.END, reason))

    async def dismissed(self) -> None:
        """Wait until the end is asked for of a kernel that has ended already: nobody will come back to it."""
        while (await self._commands.get()).want is not Want.END:
            pass

    # Its life.

    async def run(self) -> EndReport:
        """Keep the kernel alive as long as the rules say; returns when it has ended for good."""
        culling = asyncio.create_task(self._cull(), name="culling")
        try:
            report = await self._lives()
        finally:
            culling.cancel()
            self.channels.terminate()
        self.reason = report.reason
        self._become(KernelState.ENDED)
        self.hub.fail_pending(report.reason)
        self.hub.activity.reset("dead")
        self.hub.broadcast(self.hub.author.status("dead"))
        self.hub.flush()
        return report

    async def _lives(self) -> EndReport:
        while True:
            outcome = await self._live()
            match outcome:
                case Command(Want.END, reason):
                    return self._report(reason, None)
                case Command(Want.RESTART, reason):
                    self._restarts = 0
                    self._gone(reason)
                    self._become(KernelState.RESTARTING)
                case Died():
                    end = await self._after_death(outcome)
                    if isinstance(end, Command):
                        return self._report(end.reason, outcome.exit_code)
                    if end is not None:
                        self.died = True
                        return end

    async def _live(self) -> Command | Died:
        """One process from its spawn to its end."""
        if (wish := await self._holder_ready()) is not None:
            return wish
        began = time.monotonic()
        self._answered.clear()
        self.hub.heard_iopub = False
        try:
            process = await self.holder.start()
        except (OSError, ValueError) as error:
            config = self.config.process
            return Died(f"{config.argv[0]!r} cannot be run in {config.cwd!r}: {error}", None, 0.0)
        self._process = process
        readiness = asyncio.create_task(self._await_ready(), name="readiness")
        command = asyncio.create_task(self._commands.get(), name="command")
        news: list[asyncio.Future[Any]] = [process.exited, command]
        try:
            await asyncio.wait([*news, readiness], return_when=asyncio.FIRST_COMPLETED)
            if readiness.done() and (reason := readiness.result()) and not process.exited.done():
                return Died(reason, None, 0.0)
            await asyncio.wait(news, return_when=asyncio.FIRST_COMPLETED)
            if command.done():
                wish = command.result()
                await self._stop(process, restarting=wish.want is Want.RESTART)
                return wish
            end = process.exited.result()
            return Died(end.reason, end.code, time.monotonic() - began, end.final)
        finally:
            readiness.cancel()
            command.cancel()
            await process.close()
            await self.channels.last_words()
            self.channels.close()

    async def _holder_ready(self) -> Command | None:
        """Wait, without limit, until a process can be started; a command that comes first ends the wait."""
        if self.holder.ready.is_set():
            return None
        ready = asyncio.create_task(self.holder.ready.wait(), name="holder ready")
        command = asyncio.create_task(self._commands.get(), name="command")
        try:
            await asyncio.wait({ready, command}, return_when=asyncio.FIRST_COMPLETED)
            return command.result() if command.done() else None
        finally:
            ready.cancel()
            command.cancel()

    async def _await_ready(self) -> str:
        """Connect, and ask for kernel_info until a reply and something on iopub have come.

        Returns what had not come by the start's timeout, in words for the user.
        """
        request = self.hub.author.request("shell", "kernel_info_request", {})
        pause, limit = NUDGE_SECONDS, self.config.rules.start_timeout
        try:
            async with asyncio.timeout(limit):
                self.channels.open(await self.holder.connection(self.config.connection))
                self.channels.send_now(request)
                await self._answered.wait()
                while not self.hub.heard_iopub:
                    self.channels.send_now(request)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 1.0)
        except TimeoutError:
            missing = "it did not answer" if self.channels.is_open else self.holder.silence
            return f"{missing} within {limit:g} s"
        self._become(KernelState.RUNNING)
        if self.hub.activity.execution_state in ("starting", "restarting"):
            self.hub.activity.reset("idle")
        self.channels.release()
        log.info("Kernel is ready")
        return ""

    async def _stop(self, process: Process, *, restarting: bool) -> None:
        """Interrupt, ask, terminate, kill; what is left of the group is killed in any case."""
        half = self.config.rules.shutdown_wait / 2
        if self.hub.activity.busy:
            self.interrupt()
        if self.channels.is_open:
            self.channels.send_now(self.hub.author.request("control", "shutdown_request", {"restart": restarting}))
            await asyncio.wait({process.exited}, timeout=half)
        if not process.exited.done():
            process.signal_group(signal.SIGTERM)
            await asyncio.wait({process.exited}, timeout=half)

    async def _after_death(self, death: Died) -> EndReport | Command | None:
        """Why it is not started again: it is given up, or its end was asked for meanwhile."""
        first_start = self.state is KernelState.STARTING
        self.reason = death.reason
        if first_start:
            return self._report(f"the kernel did not start: {death.reason}", death.exit_code)
        if death.final:
            return self._report(f"the kernel died ({death.reason})", death.exit_code)
        decision = self.config.rules.restart.decide(self._restarts, death.lived)
        if isinstance(decision, GiveUp):
            return self._report(f"the kernel died ({death.reason}); {decision.because}", death.exit_code)
        self._restarts = decision.attempt
        text = f"The kernel died ({death.reason}) and is restarted ({decision.attempt} of {decision.limit})"
        log.warning(text)
        self.hub.tell(text)
        self._gone(f"the kernel died ({death.reason})")
        self._become(KernelState.RESTARTING)
        self.hub.broadcast(self.hub.author.status("restarting"))
        self.hub.flush()
        if not decision.delay:
            return None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(decision.delay):
                command = await self._commands.get()
                if command.want is Want.END:
                    return command
        return None

    def _gone(self, reason: str) -> None:
        """The process is gone: nobody waits for its answers, and nothing meant for it reaches the next one."""
        self.hub.fail_pending(reason)
        self.hub.activity.reset("restarting")
        self.channels.discard_held()

    def _report(self, reason: str, exit_code: int | None) -> EndReport:
        return EndReport(reason=reason, time=time.time(), exit_code=exit_code, log_tail=self.holder.log_tail)

    async def _cull(self) -> None:
        policy = self.config.rules.cull
        while policy.enabled:
            now = time.time()
            if self.visitors:
                self.last_gateway = now
            usage = self._usage()
            reason = cull_reason(policy, usage, now)
            if reason is not None:
                if usage.connections:
                    self.hub.tell(f"This kernel is shut down: {reason}")
                self.end(f"culled: {reason}")
                return
            await asyncio.sleep(seconds_to_next_check(policy, usage, now))

    def _usage(self) -> Usage:
        return Usage(
            started=self._started,
            last_activity=self.hub.activity.last_activity,
            last_gateway=self.last_gateway,
            connections=len(self.hub.sockets),
            busy=self.hub.activity.busy,
        )

    def _own_message(self, message: Message, header: Header) -> None:
        if message.channel == "shell" and header.msg_type == "kernel_info_reply":
            self._answered.set()

    def _backed_up(self, full: bool) -> None:
        for socket in self.hub.sockets:
            socket.pause(full)

    def _execution_state(self) -> str:
        match self.state:
            case KernelState.STARTING | KernelState.RESTARTING:
                return self.state.value
            case KernelState.ENDED:
                return "dead"
            case KernelState.RUNNING:
                said = self.hub.activity.execution_state
                # A kernel's own "starting" may reach us after its first answer.
                return "idle" if said == "starting" else said

    def _become(self, state: KernelState) -> None:
        if state is not self.state and may_become(self.state, state):
            self.state = state
            self._changed.set()

    def __repr__(self) -> str:
        return f"<Kernel {self.config.kernel_id} {self.state} pid={os.getpid()}>"
