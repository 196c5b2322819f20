"""Kernels of other languages than Python, as they are published, with the kernel specs that are shipped.

The cluster must have the images `localhost/kernel-r:dev` and `localhost/kernel-scala:dev` as well.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.channels import Channels, Execution, Message
from support.outside import Outside, outside
from support.rest import answer_of
from support.wait import eventually

pytestmark = pytest.mark.cluster

SPECS = Path(__file__).parents[2] / "etc" / "kernelspecs"
START_SECONDS = 120.0
"""What a start may take here; a JVM on a busy machine has taken a minute."""


@dataclass(frozen=True)
class Language:
    """Cells that say the same in each language."""

    spec: str
    hello: str
    """Prints `hello world`."""
    define: str
    """Sets x to 21."""
    use: str
    """Prints x * 2."""
    forever: str
    """Prints something, and never ends."""
    fail: str
    beginning: str
    """What a user has typed when asking for completion."""
    completed: str
    display: str
    """Shows something as `mime`."""
    mime: str
    ask: str
    """Asks for input, and prints it."""


PYTHON = Language(
    spec="python_kubernetes",
    hello="print('hello world')",
    define="x = 21",
    use="print(x * 2)",
    forever="import time; print('running', flush=True); time.sleep(600)",
    fail="1 / 0",
    beginning="'abc'.upp",
    completed="upper",
    display="from IPython.display import HTML; HTML('<b>bold</b>')",
    mime="text/html",
    ask="print(input('name? '))",
)
R = Language(
    spec="R_kubernetes",
    hello=r'cat("hello world\n")',
    define="x <- 21",
    use='cat(x * 2, "\n")',
    forever=r'cat("running\n"); repeat Sys.sleep(0.1)',
    fail='stop("no")',
    beginning="read.cs",
    completed="read.csv",
    display="plot(1:3)",
    mime="image/png",
    ask='cat(readline("name? "), "\\n")',
)
SCALA = Language(
    spec="scala_kubernetes",
    hello='println("hello world")',
    define="val x = 21",
    use="println(x * 2)",
    forever='println("running"); Thread.sleep(600000)',
    fail="1 / 0",
    beginning='"abc".substr',
    completed="substring",
    display='kernel.display.html("<b>bold</b>")',
    mime="text/html",
    ask="""
val in = kernel.in
val first = in.read()
println((first +: Seq.fill(in.available)(in.read())).map(_.toChar).mkString)
""",
)
STRANGER = "r_of_another_user"


@pytest.fixture(scope="module")
def gateway() -> Iterator[Outside]:
    """A gateway with the kernel specs that come with it."""
    specs = {each.spec: json.loads((SPECS / each.spec / "kernel.json").read_text()) for each in (PYTHON, R, SCALA)}
    with outside(
        kernelspecs={**specs, STRANGER: {**specs[R.spec], "env": {"KERNEL_UID": "4321"}}},
        EG_START_WAIT="30",
        EG_KERNEL_LAUNCH_TIMEOUT=f"{START_SECONDS:g}",
    ) as gateway:
        yield gateway


@dataclass(frozen=True)
class Kernel:
    """A kernel in a pod."""

    gateway: Outside
    kernel_id: str
    language: Language

    def channels(self) -> Channels:
        return Channels.of(self.gateway, self.kernel_id)


@pytest.fixture(scope="module", params=[PYTHON, R, SCALA], ids=lambda language: language.spec)
def kernel(gateway: Outside, request: pytest.FixtureRequest) -> Iterator[Kernel]:
    """A kernel of each language, which the tests share: each leaves it idle."""
    kernel_id = gateway.rest.start_kernel(request.param.spec)
    eventually(lambda: gateway.state(kernel_id) != "starting", START_SECONDS)
    yield Kernel(gateway, kernel_id, request.param)
    gateway.rest.shut_down(kernel_id)


def test_a_cell_says_hello(kernel: Kernel) -> None:
    with kernel.channels() as channels:
        execution = run(channels, kernel.language.hello, printed)
    assert execution.reply["status"] == "ok"
    assert execution.text == "hello world\n"


def test_an_interrupt_ends_a_cell_and_leaves_what_was_defined(kernel: Kernel) -> None:
    with kernel.channels() as channels:
        channels.execute(kernel.language.define)
        request = channels.send_code(kernel.language.forever)
        channels.recv_until(lambda message: message["msg_type"] == "stream")
        answer = kernel.gateway.rest.post(f"/api/kernels/{kernel.kernel_id}/interrupt")
        assert answer.status_code == 204, answer.text
        assert channels.recv_execution(request).reply["status"] != "ok"
        assert run(channels, kernel.language.use, printed).text.strip() == "42"


def test_a_restart_forgets_what_was_defined_and_stays_in_the_pod(kernel: Kernel) -> None:
    before = kernel.gateway.pod(kernel.kernel_id)
    with kernel.channels() as channels:
        channels.execute(kernel.language.define)
        answer_of(kernel.gateway.rest.post(f"/api/kernels/{kernel.kernel_id}/restart"))
        assert channels.execute(kernel.language.use).reply["status"] == "error"
        assert run(channels, kernel.language.hello, printed).text == "hello world\n"
    after = kernel.gateway.pod(kernel.kernel_id)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert all(status["restartCount"] == 0 for status in after["status"]["containerStatuses"])


def test_a_cell_that_fails_answers_with_its_error(kernel: Kernel) -> None:
    with kernel.channels() as channels:
        execution = run(channels, kernel.language.fail, lambda execution: bool(execution.of("error")))
    assert execution.reply["status"] == "error"


def test_what_was_begun_is_completed(kernel: Kernel) -> None:
    code = kernel.language.beginning
    with kernel.channels() as channels:
        request = channels.send("shell", "complete_request", {"code": code, "cursor_pos": len(code)})
        reply = answer_to(channels, request, "complete_reply")
    assert kernel.language.completed in [match.strip(".") for match in reply["content"]["matches"]]


def test_rich_output_is_shown(kernel: Kernel) -> None:
    mime = kernel.language.mime
    with kernel.channels() as channels:
        execution = run(channels, kernel.language.display, lambda execution: bool(shown(execution, mime)))
    (data,) = shown(execution, mime)
    if mime == "image/png":
        assert base64.b64decode(data).startswith(b"\x89PNG")
    else:
        assert data == "<b>bold</b>"


def test_input_is_asked_for_and_arrives(kernel: Kernel) -> None:
    with kernel.channels() as channels:
        request = channels.send_code(kernel.language.ask, allow_stdin=True)
        answer_to(channels, request, "input_request")
        channels.send("stdin", "input_reply", {"value": "Ada", "status": "ok"})
        execution = whole(channels, request, printed)
    assert execution.reply["status"] == "ok", execution.reply
    assert "Ada" in execution.text


@pytest.mark.parametrize("kernel", [SCALA], indirect=True, ids=lambda language: language.spec)
def test_scala_has_a_spark_of_its_own(kernel: Kernel) -> None:
    with kernel.channels() as channels:
        assert run(channels, "println(spark.range(10).count())", printed).text == "10\n"


def test_r_runs_as_a_user_of_any_number(gateway: Outside) -> None:
    kernel_id = gateway.rest.start_kernel(STRANGER)
    assert (
        gateway.run(kernel_id, "dir.create('~/R/mine'); cat(system('id -u', intern = TRUE), file.exists('~/R/mine'))")
        == "4321 TRUE"
    )
    gateway.rest.shut_down(kernel_id)


def run(channels: Channels, code: str, complete: Callable[[Execution], bool]) -> Execution:
    """Runs a cell, and reads on until what it should say has come."""
    return whole(channels, channels.send_code(code), complete)


def whole(channels: Channels, request: str, complete: Callable[[Execution], bool]) -> Execution:
    """Everything of a cell: Toree may send output behind the cell's end."""
    execution = channels.recv_execution(request)
    while not complete(execution):
        message = channels.recv()
        if message["parent_header"].get("msg_id") == request:
            execution.messages.append(message)
    return execution


def printed(execution: Execution) -> bool:
    return execution.text.endswith("\n")


def shown(execution: Execution, mime: str) -> list[str]:
    """What a cell shows as a type."""
    bundles = [each["content"]["data"] for each in execution.of("display_data") + execution.of("execute_result")]
    return [bundle[mime] for bundle in bundles if mime in bundle]


def answer_to(channels: Channels, request: str, msg_type: str) -> Message:
    """The next message of a type that belongs to a request."""
    return channels.recv_until(
        lambda message: message["msg_type"] == msg_type and message["parent_header"].get("msg_id") == request
    )[-1]
