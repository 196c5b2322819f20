"""What a start request may say about its kernel's pod: `KERNEL_*` variables as typed, bounded values.

Text comes in, checked as environment variables by `core.environment`; what comes out can be put into a pod as it is.
For each parameter the client's value counts before the kernel spec's, and that before the gateway's default; the policy
is asked about a client's value that differs from what would hold without it. Knows nothing of pods' other parts, of
templates (but for the names of their volumes) and of the cluster, which has the last word. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from enterprise_gateway.backends.kubernetes import values
from enterprise_gateway.backends.kubernetes.choices import Choices
from enterprise_gateway.backends.kubernetes.plain_yaml import load_plain
from enterprise_gateway.backends.kubernetes.policy import TEMPLATE, Ceiling, Ids, Keys, Names, PodPolicy
from enterprise_gateway.backends.kubernetes.quantities import Quantity
from enterprise_gateway.backends.kubernetes.volumes import (
    Mount,
    Volume,
    parse_volume_mounts,
    parse_volumes,
    sources_of,
)
from enterprise_gateway.errors import Forbidden, InvalidRequest, StartFailed

DEFAULT_UID: Final = 1000
DEFAULT_GID: Final = 100
GPU: Final = "nvidia.com/gpu"

_VOLUMES, _MOUNTS = "KERNEL_VOLUMES", "KERNEL_VOLUME_MOUNTS"


class _Resource(NamedTuple):
    key: str
    variable: str
    """Of the request; with `_LIMIT` behind it, of the limit."""
    parse: Callable[[str, str], Quantity]
    rule: Callable[[PodPolicy], Ceiling]


_RESOURCES: Final = (
    _Resource("cpu", "KERNEL_CPUS", values.cpus, lambda policy: policy.cpus),
    _Resource("memory", "KERNEL_MEMORY", values.memory, lambda policy: policy.memory),
    _Resource(GPU, "KERNEL_GPUS", values.count, lambda policy: policy.gpus),
)

GATEWAY_ACCOUNT = "enterprise-gateway"
"""The service account of the gateway's own manifest, which no policy and no kernel spec gives away."""


class ParameterDefaults(msgspec.Struct, frozen=True, kw_only=True):
    """The operator's side of a start: what holds where the client says nothing."""

    namespace: str
    service_account: str = ""
    """EG_DEFAULT_KERNEL_SERVICE_ACCOUNT_NAME; its token is not mounted."""
    gateway_image: str = ""
    """EG_KERNEL_IMAGE."""
    spec_config: dict[str, Any] = {}
    """`config` of the kernel spec's stanza: `image_name`, `executor_image_name`."""
    spec_env: dict[str, str] = {}
    """`env` of kernel.json as it stands, `${NAME}` not replaced: its `KERNEL_*` are the spec's defaults."""
    mirror_working_dirs: bool = False
    """EG_MIRROR_WORKING_DIRS: whether KERNEL_WORKING_DIR is taken."""
    template_volumes: frozenset[str] = frozenset()
    """Names of the volumes that the operator's pod template has."""


class PodParameters(msgspec.Struct, frozen=True, kw_only=True):
    """What a kernel's pod is made of, beside what every kernel's pod has."""

    image: str
    executor_image: str
    """Of the pods that the kernel itself makes, if it is a Spark driver."""
    namespace: str
    service_account: str
    """Empty: the namespace's own default."""
    mount_token: bool
    """Whether the service account's token is mounted in the kernel's container."""
    uid: int
    gid: int
    requests: dict[str, str]
    """`resources.requests` of the kernel's container: some of cpu, memory, nvidia.com/gpu."""
    limits: dict[str, str]
    """`resources.limits` likewise."""
    volumes: tuple[Volume, ...]
    """To be added to the pod's own; none has the name of one of the template's."""
    volume_mounts: tuple[Mount, ...]
    """For the kernel's container; each is of one of `volumes` or of the template's."""
    working_dir: str
    """Empty: the image's."""
    node_selector: dict[str, str]
    tolerations: tuple[dict[str, Any], ...]
    """In the API's form."""
    priority_class: str
    """`priorityClassName`; empty: none."""
    pod_name: str
    """KERNEL_POD_NAME as it came, for `names.pod_name`; empty: the default name."""


def parse_parameters(env: Mapping[str, str], policy: PodPolicy, defaults: ParameterDefaults) -> PodParameters:
    """Reads the `KERNEL_*` variables that reach a pod. An empty value is as good as none.

    Args:
        env: the client's variables, with KERNEL_USERNAME and KERNEL_ID as the gateway decided them.
        policy: what the operator lets clients choose.
        defaults: what holds otherwise.

    Raises:
        InvalidRequest: a value is malformed.
        Forbidden: a value is not for clients to choose.
        StartFailed: the kernel spec lacks an image, or its own values cannot be used.
    """
    choices = Choices(env, defaults.spec_env)
    service_account, mount_token = _service_account(choices, policy.service_account, defaults.service_account)
    requests, limits = _resources(choices, policy)
    volumes, mounts = _volumes_and_mounts(choices, policy, defaults.template_volumes)
    image = _image(choices, policy.image, defaults)
    return PodParameters(
        image=image,
        executor_image=_executor_image(choices, policy.image, defaults, image),
        namespace=choices.choose("KERNEL_NAMESPACE", values.namespace, defaults.namespace, policy.namespace.refusal),
        service_account=service_account,
        mount_token=mount_token,
        uid=_id(choices, "KERNEL_UID", DEFAULT_UID, policy.uid),
        gid=_id(choices, "KERNEL_GID", DEFAULT_GID, policy.gid),
        requests=requests,
        limits=limits,
        volumes=volumes,
        volume_mounts=mounts,
        # Every Jupyter server sends its own folder: where that is not wanted, it is no mistake of the client's.
        working_dir=_free(choices, "KERNEL_WORKING_DIR", values.working_dir) if defaults.mirror_working_dirs else "",
        node_selector=_node_selector(choices, policy.node_selector),
        tolerations=_tolerations(choices, policy.tolerations),
        priority_class=choices.choose("KERNEL_PRIORITY_CLASS_NAME", values.object_name, "", policy.priority.refusal),
        pod_name=_free(choices, "KERNEL_POD_NAME", values.pod_name),
    )


def _image(choices: Choices, rule: Names, defaults: ParameterDefaults) -> str:
    named = _named_image("image_name", defaults)
    chosen = choices.choose("KERNEL_IMAGE", values.image, named or defaults.gateway_image, rule.refusal)
    if not chosen:
        raise StartFailed(
            "No image was given for the kernel: set image_name in the config of the kernel spec's process_proxy, "
            "or EG_KERNEL_IMAGE for all kernel specs"
        )
    return _checked_image("image_name" if named else "EG_KERNEL_IMAGE", chosen)


def _executor_image(choices: Choices, rule: Names, defaults: ParameterDefaults, image: str) -> str:
    named = _named_image("executor_image_name", defaults) or image
    chosen = choices.choose("KERNEL_EXECUTOR_IMAGE", values.image, named, rule.refusal)
    return _checked_image("executor_image_name", chosen)


def _named_image(key: str, defaults: ParameterDefaults) -> str:
    named = defaults.spec_config.get(key) or ""
    if not isinstance(named, str):
        raise StartFailed(f"config.{key} of the kernel spec must be a string")
    return named


def _checked_image(whose: str, chosen: str) -> str:
    try:
        return values.image(whose, chosen)
    except InvalidRequest as error:
        raise StartFailed(error.message) from error


def _service_account(choices: Choices, rule: Names, default: str) -> tuple[str, bool]:
    """The account, and whether its token is mounted: if the kernel spec names it, or the client and may.

    A client may name what would be taken anyway, but gets no token by that.
    """
    name = "KERNEL_SERVICE_ACCOUNT_NAME"
    from_spec = choices.default(name, values.object_name, "")
    chosen = choices.choose(name, values.object_name, default, rule.refusal)
    if chosen == GATEWAY_ACCOUNT:
        raise Forbidden(f"{name}={chosen}: a kernel with the gateway's own account could do all that the gateway can")
    by_spec = from_spec != "" and chosen == from_spec
    return chosen, by_spec or (choices.asked(name) and not rule.refusal(chosen))


def _id(choices: Choices, name: str, default: int, rule: Ids) -> int:
    chosen = choices.choose(name, values.user_or_group, default, rule.refusal)
    if chosen in rule.prohibited:
        raise Forbidden(f"{name}={chosen}: this gateway prohibits this id; choose another")
    return chosen


def _free(choices: Choices, name: str, parse: Callable[[str, str], str]) -> str:
    return choices.choose(name, parse, "", lambda _: "")


def _resources(choices: Choices, policy: PodPolicy) -> tuple[dict[str, str], dict[str, str]]:
    """Requests and limits, in Kubernetes' words."""
    requests = _quantities(choices, policy, "")
    limits = _quantities(choices, policy, "_LIMIT")
    for resource in _RESOURCES:
        request, limit = requests.get(resource.key), limits.get(resource.key)
        if request is None or limit is None:
            continue
        names = (resource.variable, f"{resource.variable}_LIMIT")
        if request > limit:
            raise choices.contradiction(f"{names[0]}={request} is more than {names[1]}={limit}", *names)
        if resource.key == GPU and request != limit:
            raise choices.contradiction(
                f"{names[0]}={request} and {names[1]}={limit} must be equal: a GPU is not shared", *names
            )
    if GPU in requests:
        limits[GPU] = requests[GPU]  # Kubernetes refuses a device's request without its limit
    return _in_words(requests), _in_words(limits)


def _quantities(choices: Choices, policy: PodPolicy, suffix: str) -> dict[str, Quantity]:
    found: dict[str, Quantity] = {}
    for resource in _RESOURCES:
        refusal = resource.rule(policy).refusal
        quantity = choices.choose(f"{resource.variable}{suffix}", resource.parse, None, refusal)
        if quantity is not None:
            found[resource.key] = quantity
    return found


def _in_words(quantities: Mapping[str, Quantity]) -> dict[str, str]:
    return {resource: str(quantity) for resource, quantity in quantities.items()}


def _volumes_and_mounts(
    choices: Choices, policy: PodPolicy, template_volumes: frozenset[str]
) -> tuple[tuple[Volume, ...], tuple[Mount, ...]]:
    from_spec = choices.default(_VOLUMES, parse_volumes, (), load=load_plain)
    volumes = choices.choose(
        _VOLUMES, parse_volumes, (), lambda them: policy.volumes.refusal(frozenset(sources_of(them))), load=load_plain
    )
    names = _names(volumes)
    if taken := sorted(names & template_volumes):
        raise choices.contradiction(f"{_VOLUMES}: the pod has a volume {taken[0]!r} already", _VOLUMES)
    operators = template_volumes | (names if volumes == from_spec else frozenset())

    def refusal(mounts: tuple[Mount, ...]) -> str:
        """A volume that the operator mounts read-only or in part is not the client's to mount otherwise."""
        if TEMPLATE in policy.volumes.allowed or not (reserved := sorted(_names(mounts) & operators)):
            return ""
        return f"volume {reserved[0]!r} is the operator's; this gateway does not let clients choose where it is mounted"

    mounts = choices.choose(_MOUNTS, parse_volume_mounts, (), refusal, load=load_plain)
    if missing := sorted(_names(mounts) - names - template_volumes):
        raise choices.contradiction(
            f"{_MOUNTS}: there is no volume {missing[0]!r}; describe it in {_VOLUMES}", _VOLUMES, _MOUNTS
        )
    return volumes, mounts


def _names(items: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    return frozenset(item["name"] for item in items)


def _node_selector(choices: Choices, rule: Keys) -> dict[str, str]:
    def refusal(labels: dict[str, str]) -> str:
        return rule.refusal(frozenset(labels))

    nothing: dict[str, str] = {}
    return choices.choose("KERNEL_NODE_SELECTOR", values.node_selector, nothing, refusal, load=load_plain)


def _tolerations(choices: Choices, rule: Keys) -> tuple[dict[str, Any], ...]:
    def refusal(tolerations: tuple[dict[str, Any], ...]) -> str:
        return rule.refusal(frozenset(toleration.get("key", "") for toleration in tolerations))

    return choices.choose("KERNEL_TOLERATIONS", values.tolerations, (), refusal, load=load_plain)
