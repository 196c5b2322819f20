"""From settings to the objects that serve them."""

from __future__ import annotations

import logging
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from enterprise_gateway.backends.base import Backend
from enterprise_gateway.backends.local.backend import LocalBackend
from enterprise_gateway.backends.local.folder import StateFolder
from enterprise_gateway.backends.local.nursery import Nursery
from enterprise_gateway.backends.local.state import ensure_master_keys, state_dir
from enterprise_gateway.config.rules import is_loopback
from enterprise_gateway.config.settings import Settings
from enterprise_gateway.core.agents import AgentRules
from enterprise_gateway.core.culling import CullPolicy
from enterprise_gateway.core.environment import EnvironmentSources, build_environment
from enterprise_gateway.core.keys import MasterKeys
from enterprise_gateway.core.launch import render_argv
from enterprise_gateway.core.lifecycle import RestartPolicy
from enterprise_gateway.core.records import LOOPBACK
from enterprise_gateway.core.secret import Secret
from enterprise_gateway.core.tokens import TokenTable, token_from
from enterprise_gateway.core.warm import Recipe
from enterprise_gateway.errors import ConfigError, KernelSpecNotFound
from enterprise_gateway.kernels.manager import KernelManager
from enterprise_gateway.kernels.policy import StartRules
from enterprise_gateway.kernelspecs.catalog import Catalog, jupyter_kernel_dirs
from enterprise_gateway.web.api import Api
from enterprise_gateway.web.channels import ChannelsRoute
from enterprise_gateway.web.identity import Guard
from enterprise_gateway.web.server import HttpRules
from enterprise_gateway.web.spark_ui import SparkUiRoute

log = logging.getLogger(__name__)

Announce: TypeAlias = Callable[[str, str], None]
"""Takes a kernel id and the host at which its agent listens."""
FRESH_TOKEN_BYTES = 20


@dataclass(frozen=True)
class Gateway:
    """One replica, ready to serve."""

    api: Api
    channels: ChannelsRoute
    spark_ui: SparkUiRoute
    guard: Guard
    kernels: KernelManager
    announce: Announce | None
    """What is to be told of agents' hellos, if kernels run as pods."""
    replica: str
    """A name no other replica has."""
    token: Secret
    """What requests must carry; empty when nothing is asked for."""
    token_is_fresh: bool
    """Whether nobody can know the token yet."""

    def follow(self, settings: Settings) -> None:
        """Use what changed settings say about kernels and logs; sockets, tokens and folders stay as they are."""
        self.kernels.follow(start_rules(settings))
        logging.getLogger().setLevel(settings.log_level)


async def build_gateway(settings: Settings, environ: Mapping[str, str], replica: str, home_port: int) -> Gateway:
    """Everything but the sockets.

    Args:
        settings: what the operator wants.
        environ: the gateway's own environment.
        replica: a name no other replica has.
        home_port: where agents of new pods come to.

    Raises:
        ConfigError: a file, folder or cluster the settings name cannot be used.
    """
    catalog = Catalog(
        jupyter_kernel_dirs(),
        default_name=settings.default_kernel_name,
        allowed=frozenset(settings.allowed_kernels) or None,
    )
    backends: dict[str, Backend] = {}
    keys: dict[str, MasterKeys] = {}
    if "local" in chosen_backends(settings):
        folder = StateFolder(state_dir(settings))
        folder.prepare()
        nursery = Nursery(environ, warm_recipe(catalog, settings, environ), settings.warm_kernels)
        backends["local"] = LocalBackend(
            folder, nursery, settings.port_range, settings.reason_retention, settings.response_ip or LOOPBACK
        )
        keys["local"] = ensure_master_keys(folder.root)
    announce, shared_token = None, None
    if "kubernetes" in chosen_backends(settings):
        # Its imports take a third of a second, which gateways without pods need not spend.
        from enterprise_gateway.app.cluster import build_cluster  # noqa: PLC0415

        cluster = await build_cluster(settings, environ, home_port)
        backends["kubernetes"], keys["kubernetes"] = cluster.backend, cluster.keys
        announce, shared_token = cluster.backend.announce, cluster.token
    token, fresh = _access_token(settings, shared_token)
    kernels = KernelManager(backends, catalog, start_rules(settings), keys, environ)
    channels = ChannelsRoute(kernels.registry, kernels.agents, replica)
    public_path = urlsplit(settings.public_url).path if settings.public_url else settings.base_url
    spark_ui = SparkUiRoute(kernels.registry, public_path)
    api = Api(kernels, settings.base_url, list_kernels=settings.list_kernels)
    tokens = read_tokens(settings, token)
    guard = Guard(tokens, settings.allow_origin, settings.authorized_origin, is_loopback(settings.ip))
    return Gateway(api, channels, spark_ui, guard, kernels, announce, replica, token, fresh)


def chosen_backends(settings: Settings) -> tuple[str, ...]:
    """Where kernels may run."""
    return settings.backends or (("kubernetes",) if settings.kubernetes_namespace else ("local",))


def _access_token(settings: Settings, shared: Secret | None) -> tuple[Secret, bool]:
    """The token every request must carry, and whether it was made for this start alone.

    `shared` is the one all replicas have, where there are replicas.
    """
    if settings.auth_token is not None or settings.token_file is not None:
        return Secret(settings.auth_token or ""), False
    if shared is not None:
        return shared, False
    return Secret(token_from(secrets.token_bytes(FRESH_TOKEN_BYTES))), True


def warm_recipe(catalog: Catalog, settings: Settings, environ: Mapping[str, str]) -> Recipe | None:
    """How to start interpreters ahead for the default kernel spec; None when none are wanted, or it cannot be done."""
    if not settings.warm_kernels:
        return None
    try:
        spec = catalog.get(catalog.default)
    except KernelSpecNotFound as error:
        log.warning("EG_WARM_KERNELS has no effect: %s", error.message)
        return None
    sources = EnvironmentSources(
        gateway=environ,
        inherited_envs=settings.inherited_envs,
        spec=spec.env,
        client={},
        kernel_id="",
        username="",
        language=spec.language,
    )
    recipe = Recipe.of(render_argv(spec.argv, {}, sys.executable), build_environment(sources))
    if recipe is None:
        log.warning("EG_WARM_KERNELS has no effect: %r does not run a Python module", spec.name)
    return recipe


def read_tokens(settings: Settings, token: Secret) -> TokenTable:
    """The shared token and those of the token file.

    Raises:
        ConfigError: the file cannot be read or is wrong.
    """
    if settings.token_file is None:
        return TokenTable(token)
    try:
        return TokenTable(token, Path(settings.token_file).read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"EG_TOKEN_FILE: {error}") from None


def start_rules(settings: Settings) -> StartRules:
    """What the settings say about starts."""
    return StartRules(
        client_envs=settings.client_envs,
        inherited_envs=settings.inherited_envs,
        authorized_users=settings.authorized_users,
        unauthorized_users=settings.unauthorized_users,
        max_kernels=settings.max_kernels,
        max_kernels_per_user=settings.max_kernels_per_user,
        launch_timeout=settings.kernel_launch_timeout,
        start_wait=settings.start_wait,
        root_dir=str(Path.cwd()),
        agent=AgentRules(
            start_timeout=settings.kernel_launch_timeout,
            shutdown_wait=settings.shutdown_wait_time,
            restart=RestartPolicy(enabled=settings.autorestart, limit=settings.restart_limit),
            cull=CullPolicy(
                idle_timeout=settings.cull_idle_timeout,
                cull_connected=settings.cull_connected,
                cull_busy=settings.cull_busy,
                max_age=settings.cull_max_age,
                orphan_timeout=settings.orphan_timeout,
            ),
            replay_bytes=settings.replay_buffer_size,
            session_grace=settings.session_grace,
            max_message=settings.max_message_size,
            ping_interval=settings.ws_ping_interval,
            linger=settings.reason_retention,
        ),
        public_url=settings.public_url,
    )


def http_rules(settings: Settings) -> HttpRules:
    """What the settings say about requests."""
    cors = {
        "Access-Control-Allow-Credentials": settings.allow_credentials,
        "Access-Control-Allow-Headers": settings.allow_headers,
        "Access-Control-Allow-Methods": settings.allow_methods,
        "Access-Control-Allow-Origin": settings.allow_origin,
        "Access-Control-Expose-Headers": settings.expose_headers,
        "Access-Control-Max-Age": settings.max_age,
    }
    return HttpRules(
        base_url=settings.base_url,
        cors={name: value for name, value in cors.items() if value},
        max_body=settings.max_body_size,
        trust_xheaders=settings.trust_xheaders,
    )
