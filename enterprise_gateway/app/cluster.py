"""What a gateway with kernels on Kubernetes has beside one with local kernels."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from enterprise_gateway.backends.kubernetes.answers import ApiError, ApiUnavailable
from enterprise_gateway.backends.kubernetes.api import KubernetesApi
from enterprise_gateway.backends.kubernetes.backend import KubernetesBackend
from enterprise_gateway.backends.kubernetes.credentials import AUTH_TOKEN, SECRET_NAME, ensure_credentials
from enterprise_gateway.backends.kubernetes.objects import Pod
from enterprise_gateway.backends.kubernetes.observe import StartPatience
from enterprise_gateway.backends.kubernetes.plan import Planner, PodSettings
from enterprise_gateway.backends.kubernetes.policy import PodPolicy, parse_policy
from enterprise_gateway.config.settings import Settings
from enterprise_gateway.core.keys import MasterKeys
from enterprise_gateway.core.secret import Secret
from enterprise_gateway.errors import ConfigError

log = logging.getLogger(__name__)

_T = TypeVar("_T")

RETRY_SECONDS = 2.0
GATEWAY_CONTAINER = "enterprise-gateway"
PROGRAM_VARIABLES = frozenset({"PATH", "HOME", "LANG", "TMPDIR", "JAVA_HOME", "SPARK_HOME", "KUBECONFIG"})


@dataclass(frozen=True)
class Cluster:
    """The Kubernetes side of one replica."""

    backend: KubernetesBackend
    keys: MasterKeys
    token: Secret
    """What clients must show where the settings name no token."""


async def build_cluster(settings: Settings, environ: Mapping[str, str], home_port: int) -> Cluster:
    """Connect, and wait for the API server as long as that takes.

    Raises:
        ConfigError: the cluster's configuration, the policy file or the rights in the cluster are not as they must be.
    """
    policy = read_policy(settings)
    kubeconfig = environ.get("KUBECONFIG")
    api = KubernetesApi.connect(Path(kubeconfig) if kubeconfig else None)
    namespace = settings.kubernetes_namespace or api.namespace
    try:
        credentials = await _patiently(lambda: ensure_credentials(api, namespace))
        agent_image = settings.agent_image or await _patiently(
            lambda: own_image(api, namespace, environ.get("HOSTNAME", ""))
        )
    except BaseException:
        await api.close()
        raise
    namespaces = (namespace, *other_namespaces(policy))
    pods = PodSettings(
        namespace=namespace,
        namespaces=frozenset(namespaces),
        agent_image=agent_image,
        kernel_image=settings.kernel_image,
        service_account=settings.default_kernel_service_account_name,
        mirror_working_dirs=settings.mirror_working_dirs,
        home=f"{settings.response_ip or own_address(api.server)}:{home_port}",
        api_server=api.server,
        program_env=program_env(environ),
    )
    patience = StartPatience(unschedulable=settings.unschedulable_grace, slow_start=settings.slow_start_timeout)
    backend = KubernetesBackend(api, Planner(pods, policy), patience, settings.reason_retention, namespaces)
    log.info("Kernels run as pods in namespace %s, with agents of image %s", namespace, agent_image)
    if settings.auth_token is None and settings.token_file is None:
        log.info("The access token is %s of Secret %s", AUTH_TOKEN, SECRET_NAME)
    return Cluster(backend, credentials.keys, credentials.token)


async def _patiently(ask: Callable[[], Awaitable[_T]]) -> _T:
    """What the API server answers, as soon as it does."""
    while True:
        try:
            return await ask()
        except ApiUnavailable as error:
            log.warning("%s; trying again every %g s", error.message, RETRY_SECONDS)
            await asyncio.sleep(RETRY_SECONDS)


def read_policy(settings: Settings) -> PodPolicy:
    """What the operator lets clients choose.

    Raises:
        ConfigError: the file cannot be read or is wrong.
    """
    try:
        text = Path(settings.pod_policy).read_text() if settings.pod_policy else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"EG_POD_POLICY: {error}") from None
    return parse_policy(text, prohibited_uids=settings.prohibited_uids, prohibited_gids=settings.prohibited_gids)


def other_namespaces(policy: PodPolicy) -> tuple[str, ...]:
    """Where clients may have kernels beside the gateway's own namespace: each is watched, so each must be named.

    Raises:
        ConfigError: they are not.
    """
    names = policy.namespace.patterns
    if names is None or any("*" in name or "?" in name or "[" in name for name in names):
        raise ConfigError("EG_POD_POLICY: namespace must be deny or a list of names without patterns")
    return names


def program_env(environ: Mapping[str, str]) -> dict[str, str]:
    """Of the gateway's own environment, what a program needs to run here and to find the cluster: no settings."""
    return {
        name: value
        for name, value in environ.items()
        if name in PROGRAM_VARIABLES or name.startswith("KUBERNETES_SERVICE_")
    }


async def own_image(api: KubernetesApi, namespace: str, pod_name: str) -> str:
    """The image this gateway itself runs from, which holds the agent too.

    Raises:
        ConfigError: it does not run in a pod of that namespace.
    """
    try:
        pod = await api.get(f"/api/v1/namespaces/{namespace}/pods/{pod_name}", Pod) if pod_name else None
    except ApiError:
        pod = None
    for container in pod.spec.containers if pod else ():
        if container.name == GATEWAY_CONTAINER:
            return container.image
    raise ConfigError(
        "EG_AGENT_IMAGE: this gateway is not in a pod of the cluster; name the image that holds the agent"
    )


def own_address(server: str) -> str:
    """The address from which this machine reaches the API server; pods reach it there, as a rule."""
    parts = urlsplit(server)
    family = socket.AF_INET6 if ":" in (parts.hostname or "") else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:  # nothing is sent
        try:
            probe.connect((parts.hostname or "", parts.port or 443))
        except OSError as error:
            raise ConfigError(f"EG_RESPONSE_IP: no address of this machine reaches {server}: {error}") from None
        host = probe.getsockname()[0]
    return f"[{host}]" if ":" in host else str(host)
