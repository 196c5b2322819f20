"""jupyter_kernel_client, which agents and jupyter-mcp-server use: Bearer token and legacy framing.

Its v1 mode is left out: it formats each message it receives in a way that raises KeyError (1.0.2).
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import support.run_kernel_client
from support.gateway import Gateway
from support.rest import assert_error

Report = dict[str, Any]


@pytest.fixture(scope="module")
def report(gateway: Gateway, kernel_id: str) -> Report:
    """What the client saw in the life of one kernel, and of the module's kernel that it joined."""
    program = [sys.executable, support.run_kernel_client.__file__, gateway.url, gateway.token, kernel_id]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_it_runs_code_and_collects_outputs(report: Report) -> None:
    reply = report["code"]
    assert reply["status"] == "ok"
    assert [output["output_type"] for output in reply["outputs"]] == ["stream", "execute_result"]
    assert reply["outputs"][0]["text"] == "out"
    assert reply["outputs"][1]["data"]["text/plain"] == "42"


def test_it_reads_the_kernel_and_its_last_activity(report: Report) -> None:
    assert report["info"]["status"] == "ok"
    assert report["id"] in report["listed"]
    assert report["last_activity"].endswith("+00:00")


def test_it_sets_and_reads_variables(report: Report) -> None:
    assert report["variable"] == 7


def test_it_answers_input(report: Report) -> None:
    assert report["input"]["questions"] == ["who? "]
    assert report["input"]["outputs"][0]["text"] == "hello world"


def test_it_interrupts_running_code(report: Report) -> None:
    assert report["interrupted"]["ename"] == "KeyboardInterrupt"


def test_it_restarts_and_goes_on_over_the_same_websocket(report: Report) -> None:
    assert report["restarted"]["outputs"][0]["ename"] == "NameError"


def test_it_ends_the_kernel_it_started(gateway: Gateway, report: Report) -> None:
    assert_error(gateway.rest.get(f"/api/kernels/{report['id']}"), 404, report["id"])


def test_it_leaves_the_kernel_it_joined(gateway: Gateway, kernel_id: str, report: Report) -> None:
    assert report["joined"]["outputs"][0]["data"]["text/plain"] == "42"
    assert kernel_id in gateway.rest.kernel_ids()
