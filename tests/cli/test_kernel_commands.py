"""`list`, `stop`, `logs` and `why` as people run them, beside a real gateway and after its death."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import psutil
import pytest
from support.command import Done, run, run_remotely
from support.gateway import Gateway, StartGateway

Run = Callable[..., Done]

UNKNOWN = "00000000-0000-4000-8000-000000000000"
TWINS = ["aaaaaaaa-0000-4000-8000-000000000001", "aaaaaaaa-0000-4000-8000-000000000002"]
BROKEN = {"argv": ["sh", "-c", "echo no licence found >&2; exit 3"]}


@pytest.fixture(scope="module")
def populated() -> Iterator[Gateway]:
    """A gateway with two kernels whose ids begin alike, and one that failed to start; read-only."""
    with Gateway(kernelspecs={"broken": BROKEN}) as gateway:
        rest = gateway.start().rest
        for kernel_id in TWINS:
            rest.start_kernel(env={"KERNEL_ID": kernel_id, "KERNEL_USERNAME": "ann"})
        assert fail_a_start(gateway, UNKNOWN) == 500
        yield gateway


@pytest.fixture(params=[run, run_remotely], ids=["folder", "url"])
def ask(request: pytest.FixtureRequest) -> Run:
    """The command, on the state folder and against the URL."""
    return request.param


def fail_a_start(gateway: Gateway, kernel_id: str) -> int:
    answer = gateway.rest.post("/api/kernels", json={"name": "broken", "env": {"KERNEL_ID": kernel_id}})
    return answer.status_code


def timeless(history: dict) -> dict:
    """Without the last activity, which goes on while two commands run one after the other."""
    return {**history, "kernel": {**history["kernel"], "last_activity": None}}


def agent_of(gateway: Gateway, kernel_id: str) -> psutil.Process:
    return psutil.Process(int((gateway.state_dir / "kernels" / kernel_id / "agent.pid").read_text()))


def test_both_ways_list_the_same_living_kernels(populated: Gateway) -> None:
    here, there = (ask(populated, "list", "--json").json for ask in (run, run_remotely))
    assert [timeless(each) for each in here] == [timeless(each) for each in there]
    assert [each["kernel"]["id"] for each in here] == TWINS
    assert {(each["kernel"]["name"], each["owner"], each["username"]) for each in here} == {
        ("python3", "shared-token", "ann")
    }


def test_a_table_has_a_line_for_each_kernel_with_ids_that_can_be_told_apart(populated: Gateway, ask: Run) -> None:
    head, *lines = ask(populated, "list").stdout.splitlines()
    assert head.split() == ["KERNEL", "SPEC", "OWNER", "USER", "STATE", "CONNS", "ACTIVE", "AGE"]
    assert [line.split()[0] for line in lines] == TWINS
    for line in lines:
        assert re.fullmatch(r"\S+  python3  shared-token  ann   idle   0      \d+[sm] ago\s+\d+[sm]", line)


@pytest.mark.parametrize("kernel_id", [TWINS[0], UNKNOWN], ids=["living", "failed"])
def test_both_ways_explain_a_kernel_alike(populated: Gateway, kernel_id: str) -> None:
    here, there = (ask(populated, "why", kernel_id, "--json").json for ask in (run, run_remotely))
    assert timeless(here) == timeless(there)


def test_both_ways_show_the_same_logs(populated: Gateway) -> None:
    here, there = (ask(populated, "logs", UNKNOWN) for ask in (run, run_remotely))
    assert (here.stdout, here.returncode) == (there.stdout, there.returncode) == ("no licence found\n", 0)


def test_a_start_that_failed_is_explained(populated: Gateway, ask: Run) -> None:
    done = ask(populated, "why", UNKNOWN)
    assert done.returncode == 0
    assert re.search(r"(?m)^State: +dead$", done.stdout)
    assert re.search(r"(?m)^Why: +the kernel did not start: exit code 3$", done.stdout)
    assert done.stdout.endswith("Last output:\n  no licence found\n")


def test_the_beginning_of_an_id_is_enough_in_any_letter_case(populated: Gateway, ask: Run) -> None:
    done = ask(populated, "why", TWINS[1].upper(), "--json")
    assert done.json["kernel"]["id"] == TWINS[1]
    start_of_another = populated.rest.start_kernel(env={"KERNEL_ID": "bbbbbbbb-0000-4000-8000-000000000003"})
    try:
        assert ask(populated, "why", "B", "--json").json["kernel"]["id"] == start_of_another
    finally:
        populated.rest.shut_down(start_of_another)


def test_an_ambiguous_beginning_is_refused_with_what_it_could_mean(populated: Gateway, ask: Run) -> None:
    done = ask(populated, "why", "aaa")
    assert done.returncode == 1
    assert done.stderr == (
        f"jupyter enterprisegateway why: 2 kernels' ids begin with 'aaa'; write more of it: {', '.join(TWINS)}\n"
    )


@pytest.mark.parametrize("command", ["why", "logs", "stop"])
def test_a_kernel_nobody_knows_is_an_error(populated: Gateway, ask: Run, command: str) -> None:
    done = ask(populated, command, "ffffffff")
    assert (done.returncode, done.stdout) == (1, "")
    assert "No kernel's id begins with 'ffffffff' at " in done.stderr
    done = ask(populated, command, "ffffffff-0000-4000-8000-000000000000")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Kernel does not exist: ffffffff-0000-4000-8000-000000000000" in done.stderr


def test_stop_ends_what_it_finds_whatever_is_wrong_with_the_rest(start_gateway: StartGateway, ask: Run) -> None:
    gateway = start_gateway()
    kernel_id = gateway.rest.start_kernel()
    kernel = agent_of(gateway, kernel_id).children()[0]
    done = ask(gateway, "stop", "ffffffff", kernel_id[:8])
    assert (done.returncode, done.stdout) == (1, f"Stopped {kernel_id}\n")
    assert "begins with 'ffffffff'" in done.stderr
    assert not kernel.is_running()
    assert ask(gateway, "list", "--json").json == []


def test_stop_takes_what_is_left_of_an_ended_kernel_and_says_why_it_ended(
    start_gateway: StartGateway, ask: Run
) -> None:
    gateway = start_gateway(kernelspecs={"broken": BROKEN})
    fail_a_start(gateway, UNKNOWN)
    done = ask(gateway, "stop", UNKNOWN)
    assert done.returncode == 1
    assert f"Kernel does not exist: {UNKNOWN} (the kernel did not start: exit code 3)" in done.stderr
    assert not (gateway.state_dir / "kernels" / UNKNOWN).exists()


def test_a_killed_gateway_leaves_kernels_that_can_be_seen_explained_and_ended(start_gateway: StartGateway) -> None:
    gateway = start_gateway(kernelspecs={"broken": BROKEN})
    kernels = {gateway.rest.start_kernel() for _ in range(3)}
    fail_a_start(gateway, UNKNOWN)
    gateway.kill()
    listed = run(gateway, "list", "--json").json
    assert {(each["kernel"]["id"], each["kernel"]["execution_state"]) for each in listed} == {
        (kernel_id, "idle") for kernel_id in kernels
    }
    assert "exit code 3" in run(gateway, "why", UNKNOWN).stdout
    assert run(gateway, "logs", UNKNOWN).stdout == "no licence found\n"
    done = run(gateway, "stop", "--all")
    assert (done.returncode, set(done.stdout.splitlines())) == (0, {f"Stopped {kernel_id}" for kernel_id in kernels})
    assert gateway.processes() == []
    assert run(gateway, "list").stdout == f"No kernels at {gateway.state_dir}\n"
    run(gateway, "stop", UNKNOWN)
    assert list((gateway.state_dir / "kernels").iterdir()) == []


def test_a_gateway_that_comes_back_agrees_with_what_was_stopped_without_it(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    stays, goes = gateway.rest.start_kernel(), gateway.rest.start_kernel()
    gateway.kill()
    assert run(gateway, "stop", goes).returncode == 0
    gateway.start()
    assert gateway.rest.kernel_ids() == {stays}


def test_a_killed_agent_is_explained_without_a_gateway(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    kernel_id = gateway.rest.start_kernel()
    gateway.kill()
    agent = agent_of(gateway, kernel_id)
    agent.kill()
    psutil.wait_procs([agent], timeout=30)
    shown = run(gateway, "why", kernel_id).stdout
    assert re.search(r"(?m)^State: +dead$", shown)
    assert re.search(r"(?m)^Why: +its agent was killed$", shown)
    assert run(gateway, "list", "--json").json == []
    assert "its agent was killed" in run(gateway, "stop", kernel_id).stderr


def test_an_agent_that_does_not_answer_leaves_the_state_unknown(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    kernel_id = gateway.rest.start_kernel()
    agent = agent_of(gateway, kernel_id)
    agent.suspend()
    (history,) = run(gateway, "list", "--json").json
    agent.resume()
    assert history["kernel"]["execution_state"] == "unknown"
    assert history["kernel"]["reason"].startswith("The kernel's agent ")


def test_where_no_gateway_ever_ran_there_are_no_kernels_and_nothing_is_made(populated: Gateway) -> None:
    nowhere = populated.home / "never"
    done = run(populated, "list", EG_STATE_DIR=str(nowhere))
    assert (done.returncode, done.stdout) == (0, f"No kernels at {nowhere}\n")
    assert not nowhere.exists()


def test_the_state_folder_may_be_named_in_a_configuration_file(populated: Gateway) -> None:
    config = populated.home / "elsewhere"
    config.mkdir()
    name = "jupyter_enterprise_gateway_config.py"
    (config / name).write_text(f"c.EnterpriseGatewayApp.state_dir = {str(populated.state_dir)!r}\n")
    done = run(populated, "list", "--json", EG_STATE_DIR="", JUPYTER_CONFIG_DIR=str(config))
    assert [each["kernel"]["id"] for each in done.json] == TWINS


@pytest.mark.parametrize(
    "arguments",
    [
        ["why"],
        ["logs", "a", "b"],
        ["stop"],
        ["stop", "--all", "a"],
        ["list", "a"],
        ["list", "--nonsense"],
        ["list", "--token-file=x"],
        ["list", "--url=localhost:8888"],
        ["list", "--url=http://localhost:99999"],
        ["list", "--url=http://localhost:1", "--token-file=/nonexistent"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_ends_with_2(populated: Gateway, arguments: list[str]) -> None:
    done = run(populated, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr


@pytest.mark.parametrize("command", ["list", "stop", "logs", "why"])
def test_each_command_explains_itself(populated: Gateway, command: str) -> None:
    done = run(populated, command, "--help")
    assert done.returncode == 0
    assert "--url" in done.stdout
    assert re.search(rf"(?m)^{command}$", run(populated, "--help").stdout)


def test_a_reader_that_goes_away_is_no_reason_for_a_traceback(populated: Gateway) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "enterprise_gateway", "list", "--json"],
            env={"PATH": os.environ["PATH"], "HOME": str(populated.home), "EG_STATE_DIR": str(populated.state_dir)},
            stdout=gone,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, b"")
