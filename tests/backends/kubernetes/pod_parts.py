"""Plans for kernels' pods, to be changed where a test cares."""

from __future__ import annotations

from typing import Any

from enterprise_gateway.backends.base import Launch
from enterprise_gateway.backends.kubernetes.parameters import PodParameters
from enterprise_gateway.backends.kubernetes.pod import PodPlan, read_supervisor
from enterprise_gateway.core.agents import AgentRules
from enterprise_gateway.core.keys import MasterKeys
from enterprise_gateway.core.records import KernelRecord

KERNEL = "5e755458-a114-4215-96b7-bcb016fc7b62"
KEYS = MasterKeys([bytes(range(32))])


def make_parameters(**changes: Any) -> PodParameters:
    """As if nothing was asked for."""
    plain: dict[str, Any] = {
        "image": "localhost/kernel:1",
        "executor_image": "localhost/kernel:1",
        "namespace": "notebooks",
        "service_account": "",
        "mount_token": False,
        "uid": 1000,
        "gid": 100,
        "requests": {},
        "limits": {},
        "volumes": (),
        "volume_mounts": (),
        "working_dir": "",
        "node_selector": {},
        "tolerations": (),
        "priority_class": "",
        "pod_name": "",
    }
    return PodParameters(**plain | changes)


def make_launch(**changes: Any) -> Launch:
    """A Python kernel's."""
    plain: dict[str, Any] = {
        "argv": ("python", "-m", "ipykernel_launcher", "-f", "{connection_file}"),
        "namespace": {"kernel_id": KERNEL},
        "env": {"KERNEL_ID": KERNEL, "KERNEL_USERNAME": "alice"},
        "cwd": "/somewhere/on/the/gateway",
        "interrupt_mode": "signal",
        "config": {},
        "wishes": {},
        "spec_env": {},
        "language": "python",
        "custom_resource": False,
        "secrets": KEYS.secrets(KEYS.newest_id, KERNEL),
        "rules": AgentRules(start_timeout=60.0),
    }
    return Launch(**plain | changes)


def make_record(**changes: Any) -> KernelRecord:
    """Alice's kernel."""
    plain: dict[str, Any] = {
        "kernel_id": KERNEL,
        "spec_name": "python_kubernetes",
        "backend": "kubernetes",
        "owner": "alice",
        "username": "alice",
        "created": 1000.0,
        "deadline": 1060.0,
        "key_id": KEYS.newest_id,
    }
    return KernelRecord(**plain | changes)


def make_plan(
    *, parameters: dict[str, Any] | None = None, launch: dict[str, Any] | None = None, **changes: Any
) -> PodPlan:
    """The default pod; `parameters` and `launch` are changes of those."""
    plain: dict[str, Any] = {
        "record": make_record(),
        "launch": make_launch(**launch or {}),
        "parameters": make_parameters(**parameters or {}),
        "namespace": "notebooks",
        "pod_name": f"alice-{KERNEL}",
        "agent_image": "localhost/gateway:1",
        "supervisor": read_supervisor(),
        "home": "10.0.0.7:8877",
    }
    return PodPlan(**plain | changes)
