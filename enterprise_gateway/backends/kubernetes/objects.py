"""The fields of Kubernetes objects that this backend reads; what else an object has is skipped unread.

Field names are those of the Kubernetes API (v1), and of the Spark operator's (v1beta2).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

KERNEL_CONTAINER: Final = "kernel"
DRIVER_CONTAINER: Final = "spark-kubernetes-driver"
"""The kernel's container in pods that the Spark operator makes, which looks for it by this name."""
AGENT_CONTAINER: Final = "agent"


class _Object(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Names in Python's style, keys in Kubernetes'."""


class Metadata(_Object, frozen=True):
    """`metadata` of any object."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str = ""
    """RFC 3339, whole seconds."""
    deletion_timestamp: str | None = None
    """Set when a deletion is under way."""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Terminated(_Object, frozen=True):
    """How a container ended."""

    exit_code: int = 0
    signal: int = 0
    reason: str = ""
    message: str = ""
    finished_at: str | None = None


class Waiting(_Object, frozen=True):
    """Why a container does not run yet."""

    reason: str = ""
    message: str = ""


class Running(_Object, frozen=True):
    """A container that runs."""

    started_at: str | None = None


class ContainerState(_Object, frozen=True):
    """One of the three, or none."""

    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class ContainerStatus(_Object, frozen=True):
    """What kubelet says of one container."""

    name: str
    state: ContainerState = ContainerState()
    image: str = ""


class Condition(_Object, frozen=True):
    """One of a pod's conditions."""

    type: str
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None


class PodStatus(_Object, frozen=True):
    """What the cluster says of a pod."""

    phase: str = ""
    """Pending, Running, Succeeded, Failed or Unknown."""
    reason: str = ""
    message: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    start_time: str | None = None
    conditions: tuple[Condition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()


class Resources(_Object, frozen=True):
    """`resources` of a container."""

    limits: dict[str, Any] = {}
    requests: dict[str, Any] = {}


class Container(_Object, frozen=True):
    """A container as it was asked for."""

    name: str
    image: str = ""
    resources: Resources = Resources()


class PodSpec(_Object, frozen=True):
    """What was asked for."""

    node_name: str = ""
    containers: tuple[Container, ...] = ()


class Pod(_Object, frozen=True):
    """A pod."""

    metadata: Metadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def kernel_container(self) -> str:
        """The name of the kernel's container."""
        names = {container.name for container in self.spec.containers}
        by_operator = DRIVER_CONTAINER in names and KERNEL_CONTAINER not in names
        return DRIVER_CONTAINER if by_operator else KERNEL_CONTAINER


class ApplicationState(_Object, frozen=True):
    """What the Spark operator says of a SparkApplication."""

    state: str = ""
    """SUBMITTED, RUNNING, SUBMISSION_FAILED…; empty until an operator has looked at it."""
    error_message: str = ""


class ApplicationStatus(_Object, frozen=True):
    """`status` of a SparkApplication."""

    application_state: ApplicationState = ApplicationState()


class Application(_Object, frozen=True):
    """A SparkApplication."""

    metadata: Metadata
    status: ApplicationStatus = ApplicationStatus()


class ObjectReference(_Object, frozen=True):
    """What an event is about."""

    kind: str = ""
    name: str = ""
    uid: str = ""


class Event(_Object, frozen=True):
    """Something that happened to an object, in the words of the part of Kubernetes that did it."""

    metadata: Metadata
    involved_object: ObjectReference = ObjectReference()
    reason: str = ""
    message: str = ""
    type: str = ""
    """Normal or Warning."""
    first_timestamp: str | None = None
    last_timestamp: str | None = None
    event_time: str | None = None
    """The newer field; whoever reports fills one or the other."""


class ListMetadata(_Object, frozen=True):
    """`metadata` of a list."""

    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class StatusDetails(_Object, frozen=True):
    """More about an error."""

    retry_after_seconds: int = 0


class Status(_Object, frozen=True):
    """The API server's answer to what it could not do."""

    message: str = ""
    reason: str = ""
    code: int = 0
    details: StatusDetails | None = None
