"""A kernel that starts in a parked interpreter is a kernel like any other."""

from __future__ import annotations

import json

import psutil
from support.channels import Channels
from support.gateway import Gateway, StartGateway
from support.local import kernel_pid
from support.wait import eventually

LOOK = """
import json, os, sys
print(json.dumps({"argv": sys.argv[1:2], "cwd": os.getcwd(), "foo": os.environ.get("KERNEL_FOO"),
    "token": [name for name in os.environ if name.startswith("EG_")], "parent": os.environ["JPY_PARENT_PID"],
    "stdin": os.readlink("/proc/self/fd/0"), "main": __name__}))
"""


def parked(gateway: Gateway) -> list[int]:
    """Interpreters that wait for a kernel."""
    return [child.pid for child in psutil.Process(gateway.pid).children(recursive=True) if _waits(child)]


def _waits(process: psutil.Process) -> bool:
    try:
        return "-c" in process.cmdline()[1:3]
    except psutil.NoSuchProcess:
        return False


def test_a_parked_interpreter_becomes_the_kernel_with_an_environment_of_its_own(start_gateway: StartGateway) -> None:
    gateway = start_gateway(EG_WARM_KERNELS="1")
    (waiting,) = eventually(lambda: parked(gateway))
    kernel_id = gateway.rest.start_kernel(env={"KERNEL_FOO": "bar"})
    assert kernel_pid(gateway, kernel_id) == waiting
    with Channels.of(gateway, kernel_id) as client:
        seen = json.loads(client.execute(LOOK).text)
    assert (seen["argv"], seen["foo"], seen["token"], seen["main"]) == (["-f"], "bar", [], "__main__")
    assert seen["stdin"] == "/dev/null"
    assert int(seen["parent"]) == psutil.Process(waiting).ppid()
    assert eventually(lambda: set(parked(gateway)) - {waiting})
    gateway.rest.shut_down(kernel_id)


def test_a_kernel_that_does_not_fit_starts_as_usual_and_the_parked_one_waits_on(start_gateway: StartGateway) -> None:
    gateway = start_gateway(EG_WARM_KERNELS="1", EG_CLIENT_ENVS="PYTHONHASHSEED")
    waiting = eventually(lambda: parked(gateway))
    kernel_id = gateway.rest.start_kernel(env={"PYTHONHASHSEED": "7"})
    assert parked(gateway) == waiting
    gateway.rest.shut_down(kernel_id)


def test_parked_interpreters_end_with_their_gateway(start_gateway: StartGateway) -> None:
    gateway = start_gateway(EG_WARM_KERNELS="2")
    eventually(lambda: len(parked(gateway)) == 2)
    waiting = parked(gateway)
    gateway.kill()
    eventually(lambda: not any(psutil.pid_exists(pid) for pid in waiting))
    gateway.start()
