"""A gateway in the test's own event loop, over whatever backend the test gives it: no process, no settings."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from enterprise_gateway.backends.base import Backend
from enterprise_gateway.core.agents import AgentRules
from enterprise_gateway.core.keys import MasterKeys
from enterprise_gateway.core.principals import SHARED_TOKEN_PRINCIPAL
from enterprise_gateway.core.records import KernelRecord
from enterprise_gateway.core.secret import Secret
from enterprise_gateway.core.tokens import TokenTable
from enterprise_gateway.kernels.manager import KernelManager
from enterprise_gateway.kernels.policy import StartRules
from enterprise_gateway.kernelspecs.catalog import Catalog
from enterprise_gateway.web.api import Api
from enterprise_gateway.web.channels import ChannelsRoute
from enterprise_gateway.web.identity import Guard
from enterprise_gateway.web.server import HttpRules, Sites, listen, make_app
from enterprise_gateway.web.spark_ui import SparkUiRoute

TOKEN = "a-token-of-no-value"
REPLICA = "this-replica"
KEYS = MasterKeys([bytes(range(32))])

RULES = StartRules(
    client_envs=(),
    inherited_envs=(),
    authorized_users=frozenset(),
    unauthorized_users=frozenset(),
    max_kernels=None,
    max_kernels_per_user=-1,
    launch_timeout=60.0,
    start_wait=10.0,
    root_dir="/",
    agent=AgentRules(start_timeout=60.0),
)


@dataclass
class Served:
    """Its parts and its address."""

    kernels: KernelManager
    channels: ChannelsRoute
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def new_manager(backend: Backend, folders: Sequence[Path] = (), **rules: object) -> KernelManager:
    """A manager over one backend, with the native kernel spec and those in `folders`."""
    catalog = Catalog(folders, default_name="python3")
    return KernelManager({"local": backend}, catalog, msgspec.structs.replace(RULES, **rules), {"local": KEYS}, {})


@contextlib.asynccontextmanager
async def served(
    backend: Backend, *, token: str = TOKEN, agent_wait: float = 30.0, cors: Mapping[str, str] = {}, **rules: object
) -> AsyncIterator[Served]:
    """Serves on a free port until it is left; `agent_wait` is how long a websocket handshake waits for its agent."""
    kernels = new_manager(backend, **rules)
    channels = ChannelsRoute(kernels.registry, kernels.agents, REPLICA, agent_wait)
    api = Api(kernels, "/", list_kernels=True)
    app = make_app(api, channels, SparkUiRoute(kernels.registry, "/"), new_guard(token), http_rules(cors))
    sites = Sites()
    listener = listen("127.0.0.1", 0, 0)
    await sites.serve(app, listener)
    try:
        yield Served(kernels, channels, listener.getsockname()[1])
    finally:
        await kernels.agents.close()
        await sites.close()


def new_guard(token: str) -> Guard:
    """Lets in who has `token`, or everybody where it is empty, and serves this machine alone."""
    return Guard(TokenTable(Secret(token)), allow_origin="", authorized_origin="", local_only=True)


def http_rules(cors: Mapping[str, str] = {}) -> HttpRules:
    """No operator has decided anything, but `cors`."""
    return HttpRules(base_url="/", cors=dict(cors), max_body=1024 * 1024, trust_xheaders=False)


def new_record(kernel_id: str = "", owner: str = SHARED_TOKEN_PRINCIPAL.name) -> KernelRecord:
    """The record of a kernel that was started just now."""
    now = time.time()
    return KernelRecord(
        kernel_id=kernel_id or str(uuid.uuid4()),
        spec_name="python3",
        backend="local",
        owner=owner,
        username=owner,
        created=now,
        deadline=now + 60,
        key_id=KEYS.newest_id,
    )
