"""The Spark of an R session, over reticulate: made when R first asks, cancelled when R is interrupted.

reticulate's handler of SIGINT has R and Python share it, wherever Python is; where nobody expects it, that ends the
process. PySpark would take the signal for itself from the main thread. So the session is made in another thread, and
Python is interrupted only where it waits, or runs a user's code. What is to be told in a notebook comes from threads,
but only the main one may speak to R: a signal makes it do so, also while it waits for Spark.

Threads: R calls from the main one.
"""

from __future__ import annotations

import ctypes
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from subprocess import PIPE
from types import FrameType
from typing import IO, Any

from lazy_spark import SparkUnavailable, Watch, active_context, persevere, words
from pyspark import SparkContext
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession
from rpytools import signals

GROUP = "R"
"""All jobs that R waits for."""
SPEAK = signal.SIGURG
"""Nobody's signal, and one that does no harm to who does not expect it."""
ASK_SECONDS = 0.1
PENDING = ctypes.c_int.in_dll(ctypes.CDLL(None), "R_interrupts_pending")
"""Whether R has an interrupt before it."""
TRIES = 10


class Main:
    """The main thread, which does what others ask of it as soon as it runs Python: says a line, ends its wait."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._lines: deque[str] = deque()
        self._main = threading.main_thread().ident or 0
        signal.signal(SPEAK, self._speak)

    def tell(self, line: str) -> None:
        """From any thread."""
        self._lines.append(line)
        signal.pthread_kill(self._main, SPEAK)

    def interrupt(self) -> None:
        """From any thread: ends what R has an interrupt before it for, where Python may be ended."""
        signal.pthread_kill(self._main, SPEAK)

    def _speak(self, _: int, frame: FrameType | None) -> None:
        # A signal may come in the middle of this, and its handler be the faster one.
        with suppress(IndexError):
            while True:
                self._say(self._lines.popleft())
        if PENDING.value and frame is not None and not is_inner(frame):
            PENDING.value = 0
            raise KeyboardInterrupt


def is_inner(frame: FrameType) -> bool:
    """Whether it is of a library: those wait in Python's own."""
    return any(part in frame.f_code.co_filename for part in ("/rpytools/", "/site-packages/", __file__))


class Executors(Watch):
    """Tells once why a job waits for executors, and again when another one does."""

    def __init__(self, main: Main) -> None:
        self._main = main
        super().__init__()

    def _waits(self) -> bool:
        if self.context is not None and self.context is not active_context():
            self.end()
            return False
        waits = super()._waits()
        if not waits:
            self._said.clear()
        return waits

    def _say(self, found: set[str]) -> None:
        for reason in sorted(found - self._said):
            self._main.tell(f"Spark waits for executors: {reason}")
        self._said |= found


class Start(threading.Thread):
    """Makes a session; an interrupt of who waits for it does not end it."""

    def __init__(self, main: Main) -> None:
        super().__init__(name="spark-start", daemon=True)
        self.session: SparkSession | None = None
        self.why = ""
        self._main = main

    def run(self) -> None:
        """Tells until its end what executors do, and what Spark warns of."""
        watch = Executors(self._main)
        try:
            if not SparkContext._gateway:
                gateway = launch_gateway(popen_kwargs={"stderr": PIPE})
                threading.Thread(target=self._hand_on, args=[gateway.proc.stderr], daemon=True).start()
                SparkContext._ensure_initialized(gateway=gateway)
            session = SparkSession.builder.getOrCreate()
            watch.context = session.sparkContext
            if session.sparkContext.master.startswith("k8s:"):
                self.session = session
            else:
                session.stop()
                self.why = "it found no configuration; does the kernel spec start it by spark-driver?"
        except Exception as error:
            self.why = words(error)
            watch.end()

    def _hand_on(self, lines: IO[bytes]) -> None:
        for line in lines:
            self._main.tell(line.decode(errors="replace").rstrip())


class Spark:
    """The one of this process; `say` is R's, for a line."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._main = Main(say)
        self._start: Start | None = None
        signals._callback = lambda _: False
        interrupts, self._wakeup = socket.socketpair()
        self._wakeup.setblocking(False)
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=cancel, args=[interrupts, self._main], name="interrupts", daemon=True).start()

    def session(self) -> SparkSession:
        """The session that is, or a new one.

        Raises:
            SparkUnavailable: with the reason.
        """
        forget_dead()
        if self._start is None or (not self._start.is_alive() and active_context() is None):
            self._start = Start(self._main)
            self._start.start()
        while self._start.is_alive():
            self._start.join(ASK_SECONDS)
        session = self._start.session
        if session is None:
            raise SparkUnavailable(f"Spark did not start: {self._start.why}")
        persevere(session.sparkContext._gateway._gateway_client)
        session.sparkContext.setJobGroup(GROUP, "R", interruptOnCancel=True)
        return session


def forget_dead() -> None:
    """Lets PySpark start another JVM when its own has ended, as for want of memory."""
    gateway = SparkContext._gateway
    if gateway is not None and gateway.proc.poll() is not None:
        SparkContext._gateway = SparkContext._jvm = SparkContext._active_spark_context = None
        SparkSession._instantiatedSession = None


def cancel(interrupts: socket.socket, main: Main) -> None:
    """Ends what is interrupted, for ever."""
    while True:
        if signal.SIGINT in interrupts.recv(1):
            while PENDING.value:
                main.interrupt()
                time.sleep(ASK_SECONDS)
            end_jobs()


def end_jobs() -> None:
    """Cancels what R waits for. Java may close this thread's connection together with the interrupted one."""
    for _ in range(TRIES):
        with suppress(Exception):
            context = active_context()
            if context is not None and context.statusTracker().getActiveJobsIds():
                context.cancelJobGroup(GROUP)
            return


def with_missing(frame: Any, column: str, present: list[bool]) -> None:
    """Has None where R has NA, which reticulate gives as text, as True or as the least integer."""
    frame[column] = frame[column].astype(object).where(present, None)
