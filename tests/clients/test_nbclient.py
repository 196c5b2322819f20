"""nbclient (and so papermill, Elyra, nbconvert) over a gateway: its websocket carries no header at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import support.run_notebook
from nbformat.v4 import new_code_cell, new_notebook
from support.gateway import Gateway
from support.jupyter import clean_environment

CELLS = [
    "import os; kept = 6 * 7",
    "print(kept)",
    "for i in range(50): print(i, flush=True)",
    "display({'text/html': '<b>x</b>'}, raw=True); kept",
    "1 / 0",
]


def run(url: str, home: Path) -> Any:
    """Runs the cells on the gateway at `url` and returns the notebook with its outputs."""
    cells = [new_code_cell(source) for source in CELLS]
    python3 = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    done = subprocess.run(
        [sys.executable, support.run_notebook.__file__],
        input=nbformat.writes(new_notebook(cells=cells, metadata=python3)),
        env=clean_environment(home, JUPYTER_GATEWAY_URL=url),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return nbformat.reads(done.stdout, as_version=4)


def text(outputs: list[Any]) -> str:
    """What a cell printed, in however many pieces."""
    return "".join(output["text"] for output in outputs)


def test_a_notebook_runs_with_the_token_in_the_path(gateway: Gateway, tmp_path: Path) -> None:
    before = gateway.rest.kernel_ids()
    notebook = run(f"{gateway.url}/t/{gateway.token}", tmp_path)
    outputs = [cell["outputs"] for cell in notebook["cells"]]
    assert outputs[0] == []
    assert text(outputs[1]) == "42\n"
    assert text(outputs[2]) == "".join(f"{i}\n" for i in range(50))
    assert [output["output_type"] for output in outputs[3]] == ["display_data", "execute_result"]
    assert outputs[4][0]["ename"] == "ZeroDivisionError"
    # It ends the kernel it started.
    assert gateway.rest.kernel_ids() == before
