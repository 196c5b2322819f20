"""Images with EG's launchers, and kernel specs made for them, run as they are.

The cluster must have the images `localhost/launchers:dev` and `localhost/launchers-scala:dev` as well, which hold real
launchers (`make test-images`).
"""

from __future__ import annotations

import json
import string
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.channels import Channels, Execution
from support.inside import readable
from support.launchers import KERNEL_SPECS
from support.outside import Outside, outside, secret_of
from support.rest import answer_of
from support.wait import eventually

pytestmark = pytest.mark.cluster

FOLDERS = Path(__file__).parent / "kernelspecs"
IMAGE = "localhost/launchers:dev"
START_SECONDS = 120.0
"""What a start may take here; a JVM on a busy machine has taken a minute."""
INIT_MODE = "--RemoteProcessProxy.spark-context-initialization-mode"
LAZY = (INIT_MODE, "lazy")
TODAY, OF_2018 = "python_today", "python_2018"
LASTING = "import time; print('running', flush=True)\nwhile True: time.sleep(0.01)"
"""In steps: the launcher sends two signals at once, of which a single long one of these may hear the wrong one."""


def spec_of(name: str, *options: str, **config: Any) -> dict[str, Any]:
    """A kernel.json of those beside this file, for the image with a launcher."""
    spec = json.loads((FOLDERS / name / "kernel.json").read_text())
    stanza = spec.get("process_proxy") or spec["metadata"]["process_proxy"]
    stanza["config"] |= {"image_name": IMAGE, **config}
    return {**spec, "argv": [*spec["argv"], *options]}


@dataclass(frozen=True)
class Language:
    """A launcher of another language, and cells that say the same in each."""

    name: str
    """In the kernel spec."""
    image: str
    options: tuple[str, ...]
    """Of the launch command."""
    launcher: str
    """Is in the command of the launcher's process."""
    hello: str
    """Prints `hello world`."""
    define: str
    """Sets x to 21."""
    use: str
    """Prints x * 2."""
    forever: str
    """Prints something, and never ends."""

    def specs(self) -> dict[str, dict[str, Any]]:
        """Kernel specs of both forms; `launcher` is what has R's used without Spark."""
        forms = {form: spec_of(form, *self.options, image_name=self.image, launcher=True) for form in (TODAY, OF_2018)}
        return {
            form.replace("python", self.name.lower()): {**spec, "language": self.name} for form, spec in forms.items()
        }


R = Language(
    name="R",
    image=IMAGE,
    options=(INIT_MODE, "none"),
    launcher="launch_IRkernel.R",
    hello=r'cat("hello world\n")',
    define="x <- 21",
    use='cat(x * 2, "\\n")',
    forever=r'cat("running\n"); repeat Sys.sleep(0.1)',
)
SCALA = Language(
    name="Scala",
    image="localhost/launchers-scala:dev",
    options=(INIT_MODE, "eager"),  # without a context, Toree cannot be interrupted
    launcher="launcher.ToreeLauncher",
    hello='println("hello world")',
    define="val x = 21",
    use="println(x * 2)",
    forever='println("running"); Thread.sleep(600000)',
)
IN_OTHER_LANGUAGES = {name: (spec, language) for language in (R, SCALA) for name, spec in language.specs().items()}


def provisioners_spec() -> dict[str, Any]:
    """That of gateway_provisioners, as its tool writes it; the operator wants the image's launcher."""
    values = {
        "language": "python",
        "display_name": "test",
        "provisioner_name": "kubernetes-provisioner",
        "image_name": IMAGE,
        "install_dir": "{resource_dir}",
        "launcher_name": "launch_kubernetes.py",
        "ipykernel_subclass_name": "ipykernel.ipkernel.IPythonKernel",
    }
    text = (KERNEL_SPECS / "container_python" / "kernel.json").read_text()
    spec = json.loads(string.Template(text).substitute(values))
    spec["metadata"]["kernel_provisioner"]["config"]["launcher"] = True
    return dict(spec)


SPECS = {
    TODAY: spec_of(TODAY, *LAZY),
    OF_2018: spec_of(OF_2018, *LAZY),
    "provisioner": provisioners_spec(),
    "unknown-language": {**spec_of(TODAY, *LAZY), "language": "cobol"},
    "unknown-class": spec_of(TODAY, *LAZY, "--RemoteProcessProxy.kernel-class-name", "no.such.Kernel"),
    "unknown-option": spec_of(TODAY, *LAZY, "--RemoteProcessProxy.kernel-class-name", "any.Kernel --no-such-option"),
    "no-launcher": spec_of(TODAY, *LAZY, image_name="localhost/kernel-py:dev"),
    "r-with-spark": {**spec_of(TODAY, *LAZY), "language": "R"},
    **{name: spec for name, (spec, _) in IN_OTHER_LANGUAGES.items()},
}
WORKING = (TODAY, OF_2018, "provisioner")


@pytest.fixture(scope="module")
def gateway() -> Iterator[Outside]:
    with outside(kernelspecs=SPECS, EG_RESTART_LIMIT="1", EG_KERNEL_LAUNCH_TIMEOUT=f"{START_SECONDS:g}") as gateway:
        for name, template in ((TODAY, "kernel-pod.yaml.j2"), (OF_2018, "kernel-pod.yaml")):
            for file in (template, "launch_kubernetes.py"):
                gateway.add_file(name, f"scripts/{file}", (FOLDERS / name / "scripts" / file).read_text())
        yield gateway


@pytest.fixture(scope="module")
def kernel_id(gateway: Outside) -> Iterator[str]:
    """One of today's spec that the tests of this module share: each leaves it idle."""
    kernel_id = gateway.rest.start_kernel(TODAY)
    yield kernel_id
    gateway.rest.shut_down(kernel_id)


def claim_failed(gateway: Outside, name: str, reason: str, last_words: str, **env: str) -> None:
    """A start fails, and soon tells this reason, and what the launcher said last."""
    kernel_id = str(uuid.uuid4())
    answer = gateway.rest.post("/api/kernels", json={"name": name, "env": {"KERNEL_ID": kernel_id, **env}})
    assert answer.status_code == 500, answer.text

    def told() -> bool:
        # For a moment the cluster knows that the container has ended, and not yet what its agent says of that.
        history = answer_of(gateway.rest.get(f"/api/kernels/{kernel_id}/why"))
        return reason in history["kernel"]["reason"] and last_words in history["log_tail"]

    eventually(told)


@pytest.mark.parametrize("name", WORKING)
def test_a_kernel_says_hello_through_the_images_launcher(gateway: Outside, name: str) -> None:
    kernel_id = gateway.rest.start_kernel(name)
    assert gateway.run(kernel_id, "print('hello world')") == "hello world\n"
    bootstrap = {OF_2018: "/usr/local/share/jupyter/kernels/bootstrap-kernel.sh"}.get(
        name, "/usr/local/bin/bootstrap-kernel.sh"
    )
    command = gateway.pod(kernel_id)["spec"]["containers"][0]["command"]
    assert command[-2:] == ["--wait", bootstrap]
    assert "launch_ipykernel" in gateway.run(kernel_id, "print(open('/proc/self/cmdline').read())")
    gateway.rest.shut_down(kernel_id)


def test_the_templates_labels_and_variables_are_there(gateway: Outside, kernel_id: str) -> None:
    assert gateway.pod(kernel_id)["metadata"]["labels"]["form"] == "of-today"
    assert gateway.run(kernel_id, "import os; print(os.environ['FROM_TEMPLATE'], os.environ['FROM_SPEC'])") == (
        "kernel-pod.yaml.j2 today\n"
    )


def test_a_missing_spark_is_the_launchers_to_tell_and_the_kernel_runs(gateway: Outside, kernel_id: str) -> None:
    gateway.run(kernel_id, "pass")
    words = "pyspark distribution is not present"
    eventually(lambda: words in gateway.rest.get(f"/api/kernels/{kernel_id}/logs").text)


def test_an_interrupt_keeps_the_state_and_can_be_repeated(gateway: Outside, kernel_id: str) -> None:
    with Channels.of(gateway, kernel_id) as channels:
        channels.execute("x = 42")
        for _ in range(3):
            request = channels.send_code(LASTING, stop_on_error=False)  # or the next cell may be refused
            channels.recv_until(lambda message: message["msg_type"] == "stream")
            assert gateway.rest.post(f"/api/kernels/{kernel_id}/interrupt").status_code == 204
            assert channels.recv_execution(request).reply["ename"] == "KeyboardInterrupt"
        assert channels.execute("print(x)").text == "42\n"


def test_a_restart_clears_the_state_and_keeps_the_pod(gateway: Outside, kernel_id: str) -> None:
    uid = gateway.pod(kernel_id)["metadata"]["uid"]
    with Channels.of(gateway, kernel_id, session_id="stays") as channels:
        channels.execute("x = 42")
        answer_of(gateway.rest.post(f"/api/kernels/{kernel_id}/restart"))
        assert channels.execute("x").reply["ename"] == "NameError"
    assert gateway.pod(kernel_id)["metadata"]["uid"] == uid


def test_a_kernel_that_is_killed_comes_back(gateway: Outside, kernel_id: str) -> None:
    with Channels.of(gateway, kernel_id, session_id="stays") as channels:
        execution = channels.recv_execution(
            channels.send_code("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
        )
        assert execution.reply["status"] == "error"
        assert channels.execute("print('again')").text == "again\n"


def test_the_private_key_is_the_agents_alone(gateway: Outside, kernel_id: str) -> None:
    secret = secret_of(gateway, kernel_id)
    assert [key for key, value in secret.items() if "BEGIN PRIVATE KEY" in value] == ["agent.json", "tls.pem"]
    pod = gateway.pod(kernel_id)["metadata"]["name"]
    key = json.loads(secret["agent.json"])["agent"]["launcher"]["private_key"].splitlines()[1]
    assert readable(gateway.namespace, pod, {"public": secret["env.PUBLIC_KEY"], "private": key}, "kernel") == {
        "public": ["cmdline", "environ"]
    }


def test_nobody_listens_for_reports_while_the_kernel_runs(gateway: Outside, kernel_id: str) -> None:
    code = "import socket\ntry: socket.create_connection(('127.0.0.1', 8877))\nexcept OSError as e: print(e.strerror)"
    assert gateway.run(kernel_id, code) == "Connection refused\n"


# Other languages.


@dataclass(frozen=True)
class Kernel:
    """A kernel of another language."""

    gateway: Outside
    kernel_id: str
    language: Language

    def run(self, code: str) -> str:
        """What a cell prints that ends with a line feed; Toree may send it behind the cell's end."""
        with Channels.of(self.gateway, self.kernel_id) as channels:
            request = channels.send_code(code)
            execution = channels.recv_execution(request)
            assert execution.reply["status"] == "ok", execution.reply
            while not execution.text.endswith("\n"):
                message = channels.recv()
                if message["parent_header"].get("msg_id") == request:
                    execution.messages.append(message)
        return execution.text

    def interrupted(self, code: str) -> Execution:
        """What becomes of a cell that is interrupted when it has said something."""
        with Channels.of(self.gateway, self.kernel_id) as channels:
            request = channels.send_code(code)
            channels.recv_until(lambda message: message["msg_type"] == "stream")
            assert self.gateway.rest.post(f"/api/kernels/{self.kernel_id}/interrupt").status_code == 204
            return channels.recv_execution(request)

    def processes(self) -> str:
        """The commands of all processes of its container."""
        pod = self.gateway.pod(self.kernel_id)["metadata"]["name"]
        return self.gateway.namespace.execute(pod, "sh", "-c", "cat /proc/[0-9]*/cmdline; true", container="kernel")


@pytest.fixture(scope="module", params=IN_OTHER_LANGUAGES)
def kernel(gateway: Outside, request: pytest.FixtureRequest) -> Iterator[Kernel]:
    """A kernel of each language and form, which the tests share: each leaves it idle."""
    kernel_id = gateway.rest.start_kernel(request.param)
    eventually(lambda: gateway.state(kernel_id) != "starting", START_SECONDS)
    yield Kernel(gateway, kernel_id, IN_OTHER_LANGUAGES[request.param][1])
    gateway.rest.shut_down(kernel_id)
    eventually(lambda: not any(kernel_id in name for name in gateway.namespace.kernel_objects()))


def test_another_languages_launcher_starts_its_kernel(kernel: Kernel) -> None:
    assert kernel.run(kernel.language.hello) == "hello world\n"
    assert kernel.language.launcher in kernel.processes()


def test_its_cells_can_be_interrupted_and_keep_their_state(kernel: Kernel) -> None:
    with Channels.of(kernel.gateway, kernel.kernel_id) as channels:
        assert channels.execute(kernel.language.define).reply["status"] == "ok"
    for _ in range(3):
        assert kernel.interrupted(kernel.language.forever).reply["status"] != "ok"
        assert kernel.run(kernel.language.use).strip() == "42"


def test_its_restart_clears_the_state_and_keeps_the_pod(kernel: Kernel) -> None:
    uid = kernel.gateway.pod(kernel.kernel_id)["metadata"]["uid"]
    with Channels.of(kernel.gateway, kernel.kernel_id) as channels:
        channels.execute(kernel.language.define)
        answer_of(kernel.gateway.rest.post(f"/api/kernels/{kernel.kernel_id}/restart"))
        assert channels.execute(kernel.language.use).reply["status"] == "error"
    assert kernel.run(kernel.language.hello) == "hello world\n"
    assert kernel.gateway.pod(kernel.kernel_id)["metadata"]["uid"] == uid


# What fails.


def test_a_launcher_that_fails_is_told_with_its_code_and_its_last_words(gateway: Outside) -> None:
    last_words = "Unrecognized value for KERNEL_LANGUAGE: 'cobol'!"
    claim_failed(gateway, "unknown-language", "exit code 1; its launcher did not report", last_words)


def test_so_is_one_whose_script_ends_as_if_nothing_had_happened(gateway: Outside) -> None:
    last_words = "unrecognized arguments: --no-such-option"
    claim_failed(gateway, "unknown-option", "exit code 0; its launcher did not report", last_words)


def test_a_kernel_that_fails_behind_its_launcher_is_told_with_what_it_said(gateway: Outside) -> None:
    last_words = "No module named 'no'"
    claim_failed(gateway, "unknown-class", "did not answer within 10 s", last_words, KERNEL_LAUNCH_TIMEOUT="10")


def test_an_image_without_a_launcher_is_told(gateway: Outside) -> None:
    claim_failed(
        gateway, "no-launcher", "exit code 127 (command not found); its launcher did not report", "bootstrap-kernel.sh"
    )


def test_an_image_without_sparkr_is_told_by_r_itself(gateway: Outside) -> None:
    # Its report may come before R has looked for SparkR, or not at all; the cluster may be the first to know.
    claim_failed(gateway, "r-with-spark", "exit code", "there is no package called")
