"""Names people set that are not settings: those EG has and this gateway does without, and those nobody knows.

Nothing that is set is passed over in silence: `remarks_on_environ` and `remarks_on_traits` return what
there is to say, the caller logs it. Pure.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from enterprise_gateway.config.build import Given
from enterprise_gateway.config.option import APP, table
from enterprise_gateway.config.settings import Settings


class Ignored(NamedTuple):
    """Names that are accepted and change nothing."""

    why: str
    """In words that follow "has no effect"."""
    names: tuple[str, ...]
    """Environment variables and traitlets names."""
    level: int = logging.INFO
    """WARNING where somebody may rely on what does not happen."""


IGNORED = (
    Ignored(
        "with the backends of this gateway",
        (
            "EG_KERNEL_EXECUTOR_IMAGE", "EG_DOCKER_LOG_LEVEL",
            "EG_DOCKER_NETWORK", "EG_DOCKER_MODE", "EG_REMOVE_CONTAINER", "EG_KERNEL_LOG_DIR",
            "EG_MAX_PORT_RANGE_RETRIES", "EG_ALTERNATE_SIGINT",
            "EG_REMOTE_HOSTS", "EnterpriseGatewayApp.remote_hosts",
            "EG_LOAD_BALANCING_ALGORITHM", "EnterpriseGatewayApp.load_balancing_algorithm",
            "EG_KERNEL_HEADERS", "EnterpriseGatewayApp.kernel_headers",
            "EG_IMPERSONATION_ENABLED", "EnterpriseGatewayApp.impersonation_enabled",
            "EG_YARN_ENDPOINT", "EnterpriseGatewayApp.yarn_endpoint",
            "EG_ALT_YARN_ENDPOINT", "EnterpriseGatewayApp.alt_yarn_endpoint",
            "EG_YARN_ENDPOINT_SECURITY_ENABLED", "EnterpriseGatewayApp.yarn_endpoint_security_enabled",
            "EG_YARN_LOG_LEVEL", "EG_YARN_SHUTDOWN_WAIT_TIME", "EG_YARN_CERT_BUNDLE",
            "EG_YARN_MUTUAL_AUTHENTICATION",
            "EG_CONDUCTOR_ENDPOINT", "EnterpriseGatewayApp.conductor_endpoint",
        ),
    ),
    Ignored(
        "because all kernels run in one namespace, with the rights of a Role in it",
        ("EG_SHARED_NAMESPACE", "EG_KERNEL_CLUSTER_ROLE"),
    ),
    Ignored(
        "because pods are made by the gateway itself, without files and scripts",
        ("EG_POD_TEMPLATE_DIR", "EG_KUBERNETES_LOG_LEVEL"),
    ),
    Ignored(
        "because kernels outlive every gateway and are found again without it",
        (
            "EG_AVAILABILITY_MODE", "EnterpriseGatewayApp.availability_mode",
            "EG_KERNEL_SESSION_PERSISTENCE", "EG_KERNEL_SESSION_LOCATION", "EG_PERSISTENCE_ROOT",
            "FileKernelSessionManager.enable_persistence", "FileKernelSessionManager.persistence_root",
            "EG_WEBHOOK_URL", "EG_WEBHOOK_USERNAME", "EG_WEBHOOK_PASSWORD", "EG_AUTH_TYPE",
            "WebhookKernelSessionManager.enable_persistence", "WebhookKernelSessionManager.persistence_root",
            "WebhookKernelSessionManager.webhook_url", "WebhookKernelSessionManager.webhook_username",
            "WebhookKernelSessionManager.webhook_password", "WebhookKernelSessionManager.auth_type",
            "RemoteMappingKernelManager.buffer_offline_messages",
            "AsyncMappingKernelManager.buffer_offline_messages",
            "MappingKernelManager.buffer_offline_messages",
        ),
    ),
    Ignored(
        "because no kernel's ports are sent over the network, and none is polled",
        (
            "EG_RESPONSE_PORT_RETRIES", "EG_RESPONSE_ADDR_ANY",
            "EG_PROHIBITED_LOCAL_IPS", "EG_SOCKET_TIMEOUT", "EG_POLL_INTERVAL", "EG_MAX_POLL_ATTEMPTS",
            "EG_RESTART_STATUS_POLL_INTERVAL", "KernelRestarter.time_to_dead",
        ),
    ),
    Ignored(
        "because kernels are watched all the time",
        (
            "EG_CULL_INTERVAL", "RemoteMappingKernelManager.cull_interval",
            "AsyncMappingKernelManager.cull_interval", "MappingKernelManager.cull_interval",
            "EG_KERNEL_INFO_TIMEOUT", "RemoteMappingKernelManager.kernel_info_timeout",
            "AsyncMappingKernelManager.kernel_info_timeout", "MappingKernelManager.kernel_info_timeout",
        ),
    ),
    Ignored(
        "because the environment of kernels is never logged",
        ("EG_SENSITIVE_ENV_KEYS", "EG_REDACTION_MASK"),
    ),
    Ignored(
        "because gateways and kernels' agents always speak TLS to each other, and never ssh",
        (
            "EG_ENABLE_TUNNELING", "EG_TUNNELING_ENABLED", "EG_SSH_PORT", "EG_SSH_LOG_LEVEL",
            "EG_REMOTE_USER", "EG_REMOTE_PWD", "EG_REMOTE_GSS_SSH",
        ),
    ),
    Ignored(
        "because the gateway itself holds no connection to a kernel's sockets",
        (
            "EG_ZMQ_IO_THREADS", "EG_ZMQ_MAX_SOCKETS", "RemoteMappingKernelManager.shared_context",
            "AsyncMappingKernelManager.shared_context", "MappingKernelManager.shared_context",
        ),
    ),
    Ignored(
        "because kernel specs and logs need no such switch here",
        (
            "EG_KERNELSPEC_CACHE_ENABLED", "KernelSpecCache.cache_enabled", "Application.log_format",
            "KernelSpecManager.ensure_native_kernel", "Application.log_datefmt", "Application.logging_config",
            "EnterpriseGatewayApp.log_datefmt", "EnterpriseGatewayApp.logging_config",
        ),
    ),
    Ignored(
        "because the gateway loads no classes by name; it would have to be built in",
        (
            "EG_AUTHORIZER_CLASS", "EnterpriseGatewayApp.authorizer_class",
            "EnterpriseGatewayApp.kernel_spec_manager_class", "EnterpriseGatewayApp.kernel_spec_cache_class",
            "EnterpriseGatewayApp.kernel_manager_class", "EnterpriseGatewayApp.kernel_session_manager_class",
        ),
        logging.WARNING,
    ),
    Ignored(
        "because messages between clients and kernels are passed on as they are",
        (
            "RemoteMappingKernelManager.allowed_message_types", "RemoteMappingKernelManager.allow_tracebacks",
            "AsyncMappingKernelManager.allowed_message_types", "AsyncMappingKernelManager.allow_tracebacks",
            "MappingKernelManager.allowed_message_types", "MappingKernelManager.allow_tracebacks",
        ),
        logging.WARNING,
    ),
)  # fmt: skip


class Remark(NamedTuple):
    """Something worth a line in the log."""

    level: int
    text: str


def remarks_on_environ(environ: Mapping[str, str]) -> list[Remark]:
    """What there is to say about the `EG_*` variables of `environ` that are not settings."""
    known = {name for field in table(Settings) for name in field.option.env}
    return _remarks({name: name for name in sorted(environ) if name.startswith("EG_")}, known)


def remarks_on_traits(given: Mapping[str, Given], also_known: Collection[str] = ()) -> list[Remark]:
    """What there is to say about traitlets names (`Class.trait`) that are not settings.

    Configuration files may be shared with other Jupyter programs, so names of classes that are not ours,
    nor look like a slip of the pen, are left alone. `also_known` are names that mean something to the
    caller.
    """
    origins = {name: value.origin for name, value in given.items() if _concerns_us(name)}
    return _remarks(origins, known_traits() | set(also_known))


def known_traits() -> set[str]:
    """Every traitlets name of every setting."""
    return {trait for field in table(Settings) for trait in field.traits}


def ignored_names() -> set[str]:
    """Every name that is accepted without effect."""
    return {name for ignored in IGNORED for name in ignored.names}


def nearest(name: str, candidates: Iterable[str]) -> str:
    """`; did you mean X?` for the candidate most like `name`, or nothing when none is."""
    close = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.7)
    return f"; did you mean {close[0]}?" if close else ""


def _remarks(origins: Mapping[str, str], known: set[str]) -> list[Remark]:
    without_effect = {name: ignored for ignored in IGNORED for name in ignored.names}
    remarks = []
    for name, origin in origins.items():
        if name in known:
            continue
        if (ignored := without_effect.get(name)) is not None:
            remarks.append(Remark(ignored.level, f"{origin} has no effect {ignored.why}"))
        else:
            hint = nearest(name, known | without_effect.keys())
            remarks.append(Remark(logging.WARNING, f"{origin} is not a known setting{hint}"))
    return remarks


def _concerns_us(trait: str) -> bool:
    owner = trait.partition(".")[0]
    return trait in ignored_names() or bool(difflib.get_close_matches(owner, [APP], cutoff=0.85))
