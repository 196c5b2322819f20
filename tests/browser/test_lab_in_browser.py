"""JupyterLab in a real browser, its kernels on a gateway."""

from __future__ import annotations

from pathlib import Path

import pytest
from notebook import OpenNotebook
from support.gateway import Gateway

pytestmark = pytest.mark.browser

COUNTED = "".join(f"{number}\n" for number in range(100))


def counting_code(go: Path) -> str:
    """Prints 100 numbers over some seconds, the last 80 of them once the file `go` exists."""
    return f"""
import pathlib, time
for number in range(100):
    while number == 20 and not pathlib.Path({str(go)!r}).exists():
        time.sleep(0.01)
    print(number, flush=True)
    time.sleep(0.1)
""".strip()


def test_a_cell_runs_and_shows_its_output(open_notebook: OpenNotebook) -> None:
    notebook = open_notebook("print(6 * 7)")
    notebook.screenshot("opened")
    notebook.run_cell(0)
    notebook.wait_for_output(0, "42\n".__eq__, "42")
    notebook.wait_until_done(0, 1)
    notebook.wait_until_idle()
    notebook.screenshot("ran")


def test_a_restart_from_the_menu_forgets_and_goes_on(open_notebook: OpenNotebook) -> None:
    notebook = open_notebook("known = 'yes'", "print(globals().get('known', 'no'))")
    notebook.run_cell(0)
    notebook.run_cell(1)
    notebook.wait_for_output(1, "yes\n".__eq__, "yes")
    notebook.screenshot("before-restart")
    notebook.restart_and_clear()
    notebook.wait_for_output(1, "".__eq__, "nothing")
    notebook.wait_until_idle()
    notebook.screenshot("after-restart")
    notebook.run_cell(1)
    notebook.wait_for_output(1, "no\n".__eq__, "no")
    notebook.wait_until_done(1, 1)
    notebook.screenshot("ran-again")


def test_output_is_complete_after_the_gateway_was_killed(
    open_notebook: OpenNotebook, lab_gateway: Gateway, tmp_path: Path
) -> None:
    notebook = open_notebook(counting_code(tmp_path / "go"), "print('next')")
    notebook.run_cell(0)
    notebook.wait_for_output(0, lambda text: text.count("\n") == 20, "20 lines")
    notebook.screenshot("counting")
    lab_gateway.kill()
    (tmp_path / "go").touch()
    notebook.screenshot("gateway-killed")
    lab_gateway.start()
    notebook.screenshot("gateway-started")
    notebook.wait_until_done(0, 1)
    notebook.wait_until_idle()
    notebook.screenshot("counted")
    assert notebook.output(0) == COUNTED
    assert notebook.dialogs() == []
    notebook.run_cell(1)
    notebook.wait_for_output(1, "next\n".__eq__, "next")
    notebook.wait_until_done(1, 2)
    notebook.screenshot("ran-next")
