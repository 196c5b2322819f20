"""Which kernels may start in an interpreter that was started ahead of them."""

from __future__ import annotations

import msgspec
import pytest

from enterprise_gateway.core.warm import NurseryRequest, Recipe

ARGV = ["/usr/bin/python3", "-Xfrozen_modules=off", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
ENV = {"PATH": "/bin", "LANG": "C.UTF-8"}


def recipe() -> Recipe:
    made = Recipe.of(ARGV, ENV)
    assert made is not None
    return made


def test_a_python_module_has_a_recipe():
    assert recipe() == Recipe(("/usr/bin/python3", "-Xfrozen_modules=off"), "ipykernel_launcher", ENV)


@pytest.mark.parametrize(
    "argv",
    [[], ["python3"], ["python3", "-m"], ["R", "-m", "kernel"], ["python3", "script.py", "-m", "x"], ["sh", "-c", "x"]],
)
def test_nothing_else_has_one(argv):
    assert Recipe.of(argv, ENV) is None


def test_another_connection_file_and_other_variables_fit():
    argv = [*ARGV[:-1], "/tmp/kernel.json"]
    assert recipe().fits(argv, ENV | {"KERNEL_USERNAME": "ann", "PATH": "/usr/bin"})


@pytest.mark.parametrize("name", ["PYTHONPATH", "PYTHONHASHSEED", "LD_PRELOAD", "LC_ALL", "TZ"])
def test_a_variable_that_an_interpreter_reads_at_its_start_does_not_fit(name):
    assert not recipe().fits(ARGV, ENV | {name: "x"})


@pytest.mark.parametrize("position", range(4))
def test_another_command_does_not_fit(position):
    assert not recipe().fits([*ARGV[:position], "other", *ARGV[position + 1 :]], ENV)


def test_a_request_arrives_as_it_was_sent():
    request = NurseryRequest(recipe=recipe(), count=2)
    assert msgspec.json.decode(msgspec.json.encode(request), type=NurseryRequest) == request
