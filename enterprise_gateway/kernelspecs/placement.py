"""Where a kernel.json says its kernel runs, by table.

EG imports the class that kernel.json names; here the name is looked up, so a kernel.json runs no code of its
own in the gateway. A name nobody knows is kept: such a spec can be listed, and its start is refused by name.

Pure functions.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ..errors import ConfigError


class BackendKind(enum.StrEnum):
    """The kinds of place that kernel.json files ask for."""

    LOCAL = "local"
    KUBERNETES = "kubernetes"
    CUSTOM_RESOURCE = "custom-resource"
    SPARK_OPERATOR = "spark-operator"
    DOCKER = "docker"
    DOCKER_SWARM = "docker-swarm"
    DISTRIBUTED = "distributed"
    YARN = "yarn"
    CONDUCTOR = "conductor"
    UNKNOWN = "unknown"
    """Something this gateway has no name for; `Placement.named` tells what."""


class Placement(msgspec.Struct, frozen=True):
    """The place a kernel.json names and what it says about it."""

    backend: BackendKind
    config: dict[str, Any] = {}
    """The stanza's `config` as it stands: `image_name`, `port_range`, `remote_hosts`, …"""
    named: str = ""
    """The class or provisioner as kernel.json spells it; empty without a stanza."""
    authorized_users: frozenset[str] = frozenset()
    """`config.authorized_users`; when not empty it replaces the gateway's own allow set."""
    unauthorized_users: frozenset[str] = frozenset()
    """`config.unauthorized_users`, which adds to the gateway's own deny set."""

    @property
    def served_by(self) -> BackendKind:
        """The backend that runs its kernels: what makes a custom resource, and the pod of it, is in a cluster."""
        of_a_cluster = self.backend in (BackendKind.CUSTOM_RESOURCE, BackendKind.SPARK_OPERATOR)
        return BackendKind.KUBERNETES if of_a_cluster else self.backend


_EG_CLASSES: Final = {
    f"enterprise_gateway.services.processproxies.{path}": backend
    for path, backend in {
        "processproxy.LocalProcessProxy": BackendKind.LOCAL,
        "k8s.KubernetesProcessProxy": BackendKind.KUBERNETES,
        "crd.CustomResourceProcessProxy": BackendKind.CUSTOM_RESOURCE,
        "spark_operator.SparkOperatorProcessProxy": BackendKind.SPARK_OPERATOR,
        "docker_swarm.DockerProcessProxy": BackendKind.DOCKER,
        "docker_swarm.DockerSwarmProcessProxy": BackendKind.DOCKER_SWARM,
        "distributed.DistributedProcessProxy": BackendKind.DISTRIBUTED,
        "yarn.YarnClusterProcessProxy": BackendKind.YARN,
        "conductor.ConductorClusterProcessProxy": BackendKind.CONDUCTOR,
    }.items()
}

_PROVISIONERS: Final = {
    "local-provisioner": BackendKind.LOCAL,
    "kubernetes-provisioner": BackendKind.KUBERNETES,
    "spark-operator-provisioner": BackendKind.SPARK_OPERATOR,
    "docker-provisioner": BackendKind.DOCKER,
    "docker-swarm-provisioner": BackendKind.DOCKER_SWARM,
    "distributed-provisioner": BackendKind.DISTRIBUTED,
    "yarn-provisioner": BackendKind.YARN,
}


def placement_of(kernel_json: Mapping[str, Any]) -> Placement:
    """Reads the stanza of a decoded kernel.json.

    In this order, the first that is there: `metadata.process_proxy` (EG), `metadata.kernel_provisioner`
    (gateway_provisioners and jupyter_client), top-level `process_proxy` (EG in 2018). A spec without any is
    local.

    Raises:
        ConfigError: a stanza is malformed. Guessing "local" could run a kernel where it must not run.
    """
    metadata = _object(kernel_json.get("metadata"), "metadata")
    if stanza := metadata.get("process_proxy"):
        return _parse_stanza(stanza, "metadata.process_proxy", "class_name", _EG_CLASSES)
    if stanza := metadata.get("kernel_provisioner"):
        return _parse_stanza(stanza, "metadata.kernel_provisioner", "provisioner_name", _PROVISIONERS)
    if stanza := kernel_json.get("process_proxy"):
        return _parse_stanza(stanza, "process_proxy", "class_name", _EG_CLASSES)
    return Placement(BackendKind.LOCAL)


def _parse_stanza(value: Any, path: str, name_key: str, known: Mapping[str, BackendKind]) -> Placement:
    stanza = _object(value, path)
    named = stanza.get(name_key) or ""
    if not isinstance(named, str):
        raise ConfigError(f"{path}.{name_key} must be a string")
    config = _object(stanza.get("config"), f"{path}.config")
    return Placement(
        backend=known.get(named, BackendKind.UNKNOWN) if named else BackendKind.LOCAL,
        config=dict(config),
        named=named,
        authorized_users=_user_names(config.get("authorized_users"), f"{path}.config.authorized_users"),
        unauthorized_users=_user_names(config.get("unauthorized_users"), f"{path}.config.unauthorized_users"),
    )


def _object(value: Any, path: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{path} must be an object")
    return value


def _user_names(value: Any, path: str) -> frozenset[str]:
    """A comma-separated string, EG's form, or a list of strings."""
    names = value.split(",") if isinstance(value, str) else [] if value is None else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{path} must be names separated by commas")
    return frozenset(stripped for name in names if (stripped := name.strip()))
