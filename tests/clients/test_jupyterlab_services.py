"""JupyterLab's own client library, unmodified, against a running gateway."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyterlab_services import PATIENCE, Scenario, install
from support.gateway import Gateway
from support.wait import eventually

V1 = "v1.kernel.websocket.jupyter.org"


Report = dict[str, Any]
RunScenario = Callable[[str, str], Report]


@pytest.fixture(scope="module", autouse=True)
def _installed_library() -> None:
    install()


@pytest.fixture
def run_scenario(gateway: Gateway, tmp_path: Path) -> RunScenario:
    def run(script: str, name: str) -> Report:
        with Scenario(script, name, gateway, tmp_path) as scenario:
            return scenario.report()

    return run


def numbers(total: int) -> str:
    return "".join(f"{number}\n" for number in range(total))


def test_kernel_specifications_satisfy_the_library(run_scenario: RunScenario) -> None:
    report = run_scenario("sessions", "kernelspecs")
    assert report["default"] in report["names"]
    assert report["spec"]["language"] == "python"
    assert report["spec"]["argv"]
    assert "logo-64x64" in report["spec"]["resources"]


def test_a_polling_client_learns_of_kernels_and_sessions_of_another(run_scenario: RunScenario) -> None:
    report = run_scenario("sessions", "polling")
    assert report["kernel"]["id"] == report["kernelId"]
    assert report["session"]["kernel"]["id"] == report["kernelId"]
    assert (report["session"]["path"], report["session"]["type"]) == ("polled.ipynb", "notebook")
    assert not {report["kernelId"], report["sessionId"]} & set(report["afterShutdown"])
    assert report["failures"] == []


@pytest.fixture(scope="module")
def session_life(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Report:
    scratch = tmp_path_factory.mktemp("session-life")
    with Scenario("sessions", "session-life", gateway, scratch) as scenario:
        return scenario.report()


def test_a_session_is_created_with_a_kernel_that_runs_code(session_life: Report) -> None:
    assert session_life["created"]["path"] == "first.ipynb"
    assert session_life["answer"] == "42\n"


def test_a_second_session_for_the_same_path_is_the_first_one(session_life: Report) -> None:
    assert session_life["again"]["id"] == session_life["created"]["id"]
    assert session_life["again"]["kernel"]["id"] == session_life["created"]["kernel"]["id"]


def test_path_name_and_type_of_a_session_can_be_changed(session_life: Report) -> None:
    assert session_life["changes"] == ["path", "name", "type"]
    renamed = session_life["renamed"]
    assert (renamed["path"], renamed["name"], renamed["type"]) == ("second.ipynb", "second", "console")
    assert renamed["kernel"]["id"] == session_life["created"]["kernel"]["id"]


def test_a_session_changes_to_a_new_kernel_and_the_old_one_ends(session_life: Report) -> None:
    change = session_life["kernelChange"]
    assert change["newKernelId"] != change["oldKernelId"]
    assert change["newKernelId"] in change["kernelsAfterChange"]
    assert change["oldKernelId"] not in change["kernelsAfterChange"]
    assert change["answerAfterChange"] == "54\n"


def test_a_session_adopts_a_kernel_that_already_runs(session_life: Report) -> None:
    adoption = session_life["adoption"]
    assert adoption["adopted"]["kernel"]["id"] == adoption["otherKernelId"]


def test_a_deleted_session_is_gone_and_so_is_its_kernel(session_life: Report) -> None:
    assert session_life["created"]["id"] not in session_life["left"]
    assert session_life["statusOfGetAfterDelete"] == 404
    assert session_life["kernelAfterDelete"] is None


def test_execution_gives_streams_results_displays_and_errors(run_scenario: RunScenario) -> None:
    report = run_scenario("kernels", "execution")
    assert report["protocols"] == [V1]
    assert report["info"]["language_info"]["name"] == "python"
    assert report["stdout"] == numbers(200)
    assert report["stderr"] == "oops\n"
    (result,) = report["result"]["outputs"]
    assert (result["type"], result["content"]["data"]["text/plain"]) == ("execute_result", "{'a': 1}")
    (display,) = report["display"]
    assert (display["type"], display["content"]["data"]["text/html"]) == ("display_data", "<b>bold</b>")
    (error,) = report["failing"]["outputs"]
    assert (error["type"], error["content"]["ename"]) == ("error", "ZeroDivisionError")
    assert report["failing"]["reply"]["ename"] == "ZeroDivisionError"
    assert report["failing"]["reply"]["traceback"]
    assert report["statuses"][-1] == "idle"


def test_requests_without_output_are_answered(run_scenario: RunScenario) -> None:
    report = run_scenario("kernels", "execution")
    assert "import" in report["completion"]["matches"]
    assert report["incomplete"]["status"] == "incomplete"
    assert report["silent"]["reply"]["status"] == "ok"
    assert report["silent"]["outputs"] == []


def test_a_sleeping_cell_is_interrupted_and_the_kernel_goes_on(run_scenario: RunScenario) -> None:
    report = run_scenario("kernels", "interrupt")
    assert report["reply"]["ename"] == "KeyboardInterrupt"
    assert [output["type"] for output in report["outputs"]] == ["stream", "error"]
    assert report["after"]["stdout"] == "2\n"


def test_a_restart_gives_a_new_process_under_the_same_kernel_id(run_scenario: RunScenario) -> None:
    report = run_scenario("kernels", "restart")
    before, after = report["pids"]
    assert before != after
    assert report["kernelId"] in report["running"]
    assert report["executionCount"] == 1
    assert report["forgotten"]["ename"] == "NameError"
    assert "restarting" in report["statuses"]
    assert report["statuses"][-1] == "idle"


def test_a_kernel_that_dies_is_started_again_and_the_client_told(run_scenario: RunScenario) -> None:
    report = run_scenario("kernels", "autorestart")
    assert report["after"]["stdout"] == "alive\n"
    assert report["after"]["reply"]["execution_count"] == 1


def test_input_is_asked_for_and_answered(run_scenario: RunScenario) -> None:
    report = run_scenario("kernels", "stdin")
    assert report["prompts"] == [
        {"prompt": "Name? ", "password": False},
        {"prompt": "Word? ", "password": True},
    ]
    assert report["stdout"] == "answer 1 answer 2\n"
    assert report["reply"]["status"] == "ok"


def test_comms_carry_binary_buffers_both_ways(run_scenario: RunScenario) -> None:
    report = run_scenario("kernels", "comms")
    assert report["echo"] == {"data": {"sizes": [3, 1 << 20]}, "small": [3, 2, 1], "bigIsReversed": True}
    assert report["opened"] == {"data": {"hello": "client"}, "bytes": list(range(256))}


def test_two_connections_share_outputs_but_not_replies(run_scenario: RunScenario) -> None:
    report = run_scenario("kernels", "two-connections")
    assert report["stdout"] == ["from one\n", "from two\n"]
    assert report["streams"] == [["from one\n", "from two\n"]] * 2
    assert report["repliesAskedBy"] == [[client] for client in report["clients"]]
    assert report["lastReply"]["execution_count"] == 3
    assert report["connections"] == 2


@pytest.fixture(scope="module")
def killed_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Report]:
    """The report of cells that ran through a SIGKILL of the gateway; one ended while there was none."""
    scratch = tmp_path_factory.mktemp("gateway-killed")
    with Gateway() as own:
        own.start()
        with Scenario("survival", "gateway-killed", own, scratch) as scenario:
            scenario.wait_for("running")
            own.kill()
            (scratch / "meanwhile.go").touch()
            (scratch / "meanwhile.stop").touch()
            eventually((scratch / "meanwhile.total").exists, PATIENCE)
            own.start()
            scenario.say("gateway-restarted")
            report = scenario.report()
        totals = {name: int((scratch / f"{name}.total").read_text()) for name in ("throughout", "meanwhile")}
        yield report | {"totals": totals}


@pytest.mark.parametrize("cell", ["throughout", "meanwhile"])
def test_no_output_is_lost_with_a_killed_gateway(killed_gateway: Report, cell: str) -> None:
    report, total = killed_gateway[cell], killed_gateway["totals"][cell]
    assert report["stdoutOnce"] == numbers(total)
    assert report["stderr"] == ""
    assert report["result"] == str(total)
    assert report["reply"]["status"] == "ok"
    assert report["next"]["stdout"] == "next\n"
    assert report["statuses"][-1] == "idle"


def test_output_that_was_acknowledged_is_not_sent_again(killed_gateway: Report) -> None:
    assert killed_gateway["meanwhile"]["stdout"] == numbers(killed_gateway["totals"]["meanwhile"])


def test_a_question_asked_before_the_gateway_was_killed_is_answered_after(killed_gateway: Report) -> None:
    report = killed_gateway["asking"]
    assert report["prompts"] == 1
    assert report["stdout"] == "hello world\n"
    assert report["reply"]["status"] == "ok"


def test_connections_come_back_by_themselves(killed_gateway: Report) -> None:
    assert [statuses[-1] for statuses in killed_gateway["connection"]] == ["connected"] * 4
    assert "dead" not in killed_gateway["idle"]["statuses"]
    assert killed_gateway["idle"]["next"]["stdout"] == "next\n"
    opened = [socket for socket in killed_gateway["sockets"] if socket["protocol"] is not None]
    assert {socket["protocol"] for socket in opened} == {V1}


def test_lists_are_the_same_after_the_gateway_was_killed(killed_gateway: Report) -> None:
    assert set(killed_gateway["kernelIds"]) <= set(killed_gateway["running"])
    assert killed_gateway["session"]["path"] == "kept.ipynb"
    assert killed_gateway["session"]["kernel"]["id"] == killed_gateway["kernelIds"][3]
