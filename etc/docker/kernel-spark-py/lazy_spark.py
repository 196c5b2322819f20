"""An IPython extension: `spark`, `sc` and `sql` are there for the first cell that names them.

A notebook that never does has no JVM and no executors. Starting takes some ten seconds, in that cell, which can be
interrupted and fails with the reason. Each cell's jobs are a group of their own, cancelled with the cell. A cell that
waits for executors says what the cluster says of them.

Threads: IPython calls from its main thread; `Watch` is a thread while a cell runs.
"""

from __future__ import annotations

import ast
import contextlib
import json
import logging
import os
import ssl
import sys
import threading
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
NAMES = frozenset({"spark", "sc", "sql"})
START, FOLLOW = "_start_spark", "_follow_spark"
"""Names in a notebook, which nobody sees, of what a cell does first."""
LOOK_SECONDS = 5.0
CONNECT_TRIES = 10


class SparkUnavailable(Exception):
    """Spark could not be started; the message is all that a notebook shows."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


class LazySpark(ast.NodeTransformer):
    """The session of a shell."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._context: Any = None
        self._given: dict[str, Any] = {}
        self._watch: Watch | None = None
        self._cells = 0

    def visit_Module(self, module: ast.Module) -> ast.Module:
        """Have a cell that reads one of the names start Spark first; one that it sets itself is its own.

        What is done first is done in the cell: an interrupt that comes before IPython begins with it would be lost.
        """
        self._forget_stopped()
        names = [node for node in ast.walk(module) if isinstance(node, ast.Name)]
        read = {name.id for name in names if isinstance(name.ctx, ast.Load)}
        own = {name.id for name in names if not isinstance(name.ctx, ast.Load)} | imported(module)
        wanted = (read & NAMES) - own - self._shell.user_ns.keys()
        first = START if wanted else FOLLOW if "pyspark" in sys.modules else ""
        if first:
            call = ast.Expr(ast.Call(ast.Name(first, ast.Load()), [], []))
            module.body.insert(_first_statement(module), ast.fix_missing_locations(call))
        return module

    def start(self) -> None:
        """Put a session's names into the notebook; what the user has defined stays."""
        from pyspark.sql import SparkSession

        self._watch = self._watch or Watch()
        try:
            session = SparkSession.builder.getOrCreate()
        except Exception as error:
            raise SparkUnavailable(f"Spark did not start: {words(error)}") from None
        context = session.sparkContext
        if not context.master.startswith("k8s:"):
            session.stop()
            raise SparkUnavailable(
                f"Spark found no configuration and would have run inside this notebook ({context.master}): "
                "does the kernel spec start it by spark-driver?"
            )
        values = {"spark": session, "sc": context, "sql": session.sql}
        self._given = {name: value for name, value in values.items() if name not in self._shell.user_ns}
        self._shell.user_ns.update(self._given)
        if link := ui_link(context):
            print(f"Spark UI: {link}")
        self.follow()

    def after(self, result: Any) -> None:
        """A cell has ended."""
        if self._watch is not None:
            self._watch.end()
            self._watch = None
        # An interrupt, or a connection that broke in the middle: nobody waits for what still runs.
        if result.error_in_exec is not None and self._context is not None:
            self._context.cancelJobGroup(self._group)
        self._cells += 1

    def follow(self) -> None:
        """From now on jobs are this cell's."""
        self._context = active_context()
        if self._context is None:
            return
        persevere(self._context._gateway._gateway_client)
        try:
            cell = len(self._shell.history_manager.input_hist_parsed) - 1
            self._context.setJobGroup(self._group, f"Cell {cell}", interruptOnCancel=True)
        except Exception as error:
            print(f"Spark does not answer any more: {words(error)}", file=sys.stderr)
            self._context = None
            return
        self._watch = self._watch or Watch()
        self._watch.context = self._context

    def _forget_stopped(self) -> None:
        """The names of a session that was stopped make room for another's."""
        if active_context() is None:
            for name, value in self._given.items():
                if self._shell.user_ns.get(name) is value:
                    del self._shell.user_ns[name]
            self._given = {}

    @property
    def _group(self) -> str:
        return f"cell-{self._cells}"


class Watch:
    """Looks, while a cell runs, whether it waits for executors, and says once what the cluster says of them."""

    def __init__(self) -> None:
        self.context: Any = None
        """While there is none, Spark is being started."""
        self._said: set[str] = set()
        self._over = threading.Event()
        threading.Thread(target=self._run, name="executors", daemon=True).start()

    def end(self) -> None:
        """The cell has ended."""
        self._over.set()

    def _run(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            try:
                if self._waits():
                    self._say(reasons(executors()))
            except Exception as error:
                self._say({f"its executors cannot be looked at: {words(error)}"})

    def _waits(self) -> bool:
        if self.context is None:
            return True
        tracker = self.context.statusTracker()
        infos = self.context._jsc.sc().statusTracker().getExecutorInfos()
        return bool(tracker.getActiveStageIds()) and len(infos) <= 1  # the driver is one of them

    def _say(self, found: set[str]) -> None:
        for reason in sorted(found - self._said):
            print(f"Spark waits for executors: {reason}", file=sys.stderr, flush=True)
        self._said |= found


def active_context() -> Any:
    """The context of this process; None while there is none."""
    pyspark = sys.modules.get("pyspark")
    return pyspark.SparkContext._active_spark_context if pyspark else None


def ui_link(context: Any) -> str:
    """Where a browser finds the context's UI; empty when the gateway has said nothing, or looks at another port."""
    at = context.uiWebUrl or ""
    return os.environ.get("SPARK_UI_URL", "") if at.endswith(":4040") else ""


def persevere(client: Any) -> None:
    """Have a py4j client connect again where Java closes a connection that was just made.

    After an interrupt py4j asks Java to close the interrupted connection, and Java closes all that there are: also one
    that was made since, as by a `finally` of pyspark's whose error would stand in the interrupt's place.
    """
    from py4j.protocol import Py4JNetworkError

    if "_get_connection" in vars(client):
        return
    connect = client._get_connection

    def connect_again() -> Any:
        for _ in range(CONNECT_TRIES - 1):
            with contextlib.suppress(Py4JNetworkError):
                return connect()
        return connect()

    client._get_connection = connect_again


def imported(module: ast.Module) -> set[str]:
    """The names that import and def statements bind."""
    bound = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
    return bound


def _first_statement(module: ast.Module) -> int:
    """Where a statement may stand: imports from `__future__` must come before all others."""
    futures = [isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in module.body]
    return len(futures) - futures[::-1].index(True) if True in futures else 0


def words(error: Exception) -> str:
    """The innermost cause of a Java exception, or what a Python one says."""
    cause = getattr(error, "java_exception", None)
    if cause is None:
        return str(error).strip() or type(error).__name__
    while cause.getCause() is not None:
        cause = cause.getCause()
    return cause.getMessage() or cause.toString()


def executors() -> list[dict[str, Any]]:
    """The pods of this kernel's executors, as the cluster has them."""
    namespace = (ACCOUNT / "namespace").read_text()
    selector = urllib.parse.quote(f"component=worker,kernel_id={os.environ['KERNEL_ID']}")
    request = urllib.request.Request(
        f"https://kubernetes.default.svc/api/v1/namespaces/{namespace}/pods?labelSelector={selector}",
        headers={"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}"},
    )
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    with urllib.request.urlopen(request, timeout=LOOK_SECONDS, context=context) as answer:
        return json.load(answer)["items"]


def reasons(pods: list[dict[str, Any]]) -> set[str]:
    """Why pods do not run, in Kubernetes' words."""
    found = set()
    for pod in pods:
        status = pod["status"]
        for condition in status.get("conditions", []):
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                found.add(condition.get("message", ""))
        for container in status.get("containerStatuses", []):
            waiting = container["state"].get("waiting", {})
            if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
                found.add(f"{waiting['reason']}: {waiting.get('message', '')}")
            ended = container["state"].get("terminated")
            if ended and ended["exitCode"]:
                found.add(f"one ended with exit code {ended['exitCode']} ({ended.get('reason', '')})")
    return found


def load_ipython_extension(shell: Any) -> None:
    """IPython's entry."""
    # py4j tells of an interrupt with a traceback of its own, beside the cell's.
    logging.getLogger().addFilter(lambda record: record.msg != "KeyboardInterrupt while sending command.")
    lazy = LazySpark(shell)
    for name, first in ((START, lazy.start), (FOLLOW, lazy.follow)):
        shell.user_ns_hidden[name] = shell.user_ns[name] = first
    shell.ast_transformers.append(lazy)
    shell.events.register("post_run_cell", lazy.after)
