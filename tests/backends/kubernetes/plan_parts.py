"""From a kernel spec and a client's variables to a plan, and what a client may try."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backend_parts import settings
from pod_parts import KERNEL, make_launch, make_record

from enterprise_gateway.backends.kubernetes.plan import Planner
from enterprise_gateway.backends.kubernetes.pod import PodPlan
from enterprise_gateway.backends.kubernetes.policy import PodPolicy
from enterprise_gateway.core.environment import EnvironmentSources, build_environment, parse_client_env

HOSTILE = (
    "x'}}, {name: evil, hostPath: {path: /data}}, {name: y, emptyDir: {",
    "x'}}, {name: evil, hostPath: {path: 'y",
    'x"}}, {"name": "evil", "hostPath": {"path": "/data"}}, {"name": "y", "emptyDir": {',
    "x}}\n- {name: evil, hostPath: {path: /}}",
    "*evil",
    "&a [*a, *a]",
    "!!python/object/apply:os.system ['id']",
    "{{ 7 * 7 }}",
    "{% include '/etc/passwd' %}",
    "$docker_image",
    "../../data",
    "/",
    "..",
    ".",
    "x: y",
    "evil\0",
)


def plan(
    argv: tuple[str, ...] = ("python", "-f", "{connection_file}"),
    *,
    folder: Path = Path("/nowhere"),
    config: dict[str, Any] | None = None,
    spec_env: dict[str, str] | None = None,
    client: dict[str, str] | None = None,
    username: str = "alice",
    policy: PodPolicy | None = None,
) -> PodPlan:
    """From a kernel spec and a client's variables to a plan, as a gateway goes there."""
    wishes = parse_client_env(client or {}, ())
    sources = EnvironmentSources(
        gateway={},
        inherited_envs=(),
        spec=spec_env or {},
        client=wishes,
        kernel_id=KERNEL,
        username=username,
        language="python",
        same_machine=False,
    )
    launch = make_launch(
        argv=argv,
        namespace={"kernel_id": KERNEL, "resource_dir": str(folder)},
        env=build_environment(sources),
        config=config or {},
        wishes=wishes,
        spec_env=spec_env or {},
    )
    return Planner(settings("notebooks"), policy or PodPolicy()).plan(make_record(username=username), launch)
