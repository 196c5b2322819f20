"""A kernel's interpreter started ahead of its kernel: imports done, waiting for a command.

Only a Python kernel run as a module (`python … -m ipykernel_launcher …`) can be parked. The kernel itself is
unmodified: environment, working directory and arguments are set before the first line of its module runs. What an
interpreter reads at its own start (`PYTHON*`, `LD_*`) cannot be set later; `Recipe.fits` knows.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence

from enterprise_gateway.agent.process import KernelProcess, OutputLog, parent_marker, start_child
from enterprise_gateway.core.agents import KernelProcessConfig
from enterprise_gateway.core.warm import Recipe

_PROGRAM = """
import importlib, json, os, runpy, sys
for name in json.loads(sys.argv[1]):
    try:
        importlib.import_module(name)
    except ImportError:
        pass
command = json.loads(sys.stdin.buffer.readline())
with open(os.devnull) as nothing:
    os.dup2(nothing.fileno(), 0)
os.environ.clear()
os.environ.update(command["env"])
os.chdir(command["cwd"])
sys.argv = command["argv"]
runpy.run_module(command["module"], run_name="__main__", alter_sys=True)
"""
_IMPORTS = (
    *("ipykernel.kernelapp", "ipykernel.ipkernel", "ipykernel.zmqshell", "ipykernel.debugger"),
    *("IPython.core.completerlib", "IPython.core.oinspect", "IPython.extensions.storemagic", "cProfile"),
    *("sqlite3", "psutil", "tornado.platform.asyncio"),
)
"""What takes an ipykernel's start the longest; a name that is not there costs nothing."""


class ParkedProcess:
    """An interpreter that waits."""

    def __init__(self, recipe: Recipe) -> None:
        """Start it.

        Raises:
            OSError: it cannot be run.
        """
        self._recipe = recipe
        argv = [*recipe.interpreter, "-c", _PROGRAM, json.dumps(_IMPORTS)]
        self._popen = start_child(argv, recipe.env, None, subprocess.PIPE)

    @property
    def alive(self) -> bool:
        """Whether it still waits."""
        return self._popen.poll() is None

    def end(self) -> None:
        """It is not needed."""
        self._popen.kill()

    async def become(self, config: KernelProcessConfig, output: OutputLog) -> KernelProcess:
        """Make it the kernel; one that has died meanwhile is a kernel that has died.

        Raises:
            OSError: it does not listen any more.
        """
        process = KernelProcess(self._popen, output)
        await process.read_output()
        assert self._popen.stdin is not None  # noqa: S101 - it was asked for
        with self._popen.stdin as pipe:
            pipe.write(_command(self._recipe, config.argv, config.env, config.cwd))
        return process


def _command(recipe: Recipe, argv: Sequence[str], env: Mapping[str, str], cwd: str) -> bytes:
    arguments = argv[len(recipe.interpreter) + 1 :]
    command = {
        "module": recipe.module,
        "argv": list(arguments),
        "env": {**env, **parent_marker()},
        "cwd": cwd,
    }
    return json.dumps(command).encode() + b"\n"
