"""A gateway's life: build, listen, serve, and end the right way for the signal that came."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import ssl
import sys
import uuid
from collections.abc import Coroutine, Mapping
from typing import Any, NamedTuple, TypeVar

import uvloop

from enterprise_gateway import __version__
from enterprise_gateway.aio import Tasks
from enterprise_gateway.app import logs
from enterprise_gateway.app.build import Gateway, build_gateway, chosen_backends, http_rules
from enterprise_gateway.app.reload import Configuration, follow
from enterprise_gateway.config.settings import Settings
from enterprise_gateway.core.secret import Secret
from enterprise_gateway.errors import ConfigError
from enterprise_gateway.web.hello import make_hello_app
from enterprise_gateway.web.operations import make_operations_app
from enterprise_gateway.web.server import Sites, listen, make_app, tls_context
from enterprise_gateway.web.waiting import make_waiting_app

log = logging.getLogger(__name__)

_T = TypeVar("_T")

STATE_SECONDS = 10.0
"""How long the start waits to know all kernels before it says that the gateway is available."""
STILL_SERVING_SECONDS = 1.0
"""How long requests are still taken after readiness is off, for those who have not noticed yet."""


def serve(settings: Settings, environ: Mapping[str, str], configuration: Configuration) -> int:
    """Run a gateway until a signal ends it; the process's exit code."""
    logs.configure(settings.log_level, settings.log_format, [Secret(settings.auth_token or "")])
    try:
        return uvloop.run(_serve(settings, environ, configuration))
    except ConfigError as error:
        sys.stderr.write(f"{error.message}\n")
        return 2


async def _serve(settings: Settings, environ: Mapping[str, str], configuration: Configuration) -> int:
    loop = asyncio.get_running_loop()
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(signum) is not signal.SIG_IGN:  # as nohup has it
            loop.add_signal_handler(signum, signals.put_nowait, signum)
    ports = _listen(settings)
    gateway = await _build(settings, environ, ports, signals)
    if gateway is None:
        return 0
    logs.configure(settings.log_level, settings.log_format, [gateway.token])
    tasks = Tasks("gateway")
    sites = Sites()
    draining = asyncio.Event()
    try:
        backends = [
            tasks.spawn(backend.run(), f"{name} backend") for name, backend in gateway.kernels.registry.backends.items()
        ]
        if settings.dynamic_config_interval:
            changes = follow(configuration, settings.dynamic_config_interval, gateway.follow)
            tasks.spawn(changes, "configuration")
        registry = gateway.kernels.registry
        if gateway.announce is not None and ports.agents is not None:
            await sites.serve(make_hello_app(registry, gateway.announce), ports.agents)
        app = make_app(gateway.api, gateway.channels, gateway.spark_ui, gateway.guard, http_rules(settings))
        await sites.serve(app, ports.api, ports.context)
        await sites.serve(make_operations_app(registry, draining.is_set), ports.operations)
        log.info("Operations endpoint is available at %s", _url("http", settings.ops_ip, ports.operations))
        if gateway.token_is_fresh:
            # Straight to the terminal: a token never goes through a log.
            sys.stderr.write(f"No token is configured; this start's is {gateway.token.reveal()}\n")
        await _wait_for_state(gateway)
        url = _url("https" if ports.context else "http", settings.ip, ports.api)
        log.info("Jupyter Enterprise Gateway %s is available at %s%s", __version__, url, settings.base_url.rstrip("/"))
        told = await _signal_or_end(signals, backends)
        if told is None:
            # Without what it watches, a gateway would show an older and older state; whoever started it starts another.
            log.critical("A backend has failed; the gateway ends, kernels keep running")
            return 1
        await _end(told, settings, gateway, draining)
    finally:
        await sites.close()
        await gateway.kernels.agents.close()
        await tasks.close()
    return 0


async def _signal_or_end(
    signals: asyncio.Queue[signal.Signals], backends: list[asyncio.Task[None]]
) -> signal.Signals | None:
    """The first signal; None when one of the backends' tasks, which never end, has ended before."""
    told = asyncio.ensure_future(signals.get())
    try:
        await asyncio.wait([told, *backends], return_when=asyncio.FIRST_COMPLETED)
        return told.result() if told.done() else None
    finally:
        told.cancel()


class _Ports(NamedTuple):
    """What a gateway listens on."""

    api: socket.socket
    context: ssl.SSLContext | None
    """TLS of `api`."""
    operations: socket.socket
    agents: socket.socket | None
    """Where agents of new pods come to, if there are pods."""


def _listen(settings: Settings) -> _Ports:
    agents = None
    if "kubernetes" in chosen_backends(settings):
        # From other machines, whatever EG_IP says: what comes in proves what it says.
        host = "::" if ":" in settings.response_ip else "0.0.0.0"  # noqa: S104
        agents = listen(host, settings.response_port, settings.port_retries)
    return _Ports(
        api=listen(settings.ip, settings.port, settings.port_retries),
        context=tls_context(settings.certfile, settings.keyfile, settings.client_ca, settings.ssl_version),
        operations=listen(settings.ops_ip, settings.ops_port, settings.port_retries),
        agents=agents,
    )


async def _build(
    settings: Settings, environ: Mapping[str, str], ports: _Ports, signals: asyncio.Queue[signal.Signals]
) -> Gateway | None:
    """The gateway; None when a signal came first. While a cluster is waited for, its ports say so."""
    home_port = ports.agents.getsockname()[1] if ports.agents else 0
    waiting = Sites()
    try:
        if ports.agents is not None:
            await waiting.serve(make_waiting_app(), ports.api.dup(), ports.context)
            await waiting.serve(make_waiting_app(), ports.operations.dup())
        return await _unless(signals, build_gateway(settings, environ, uuid.uuid4().hex, home_port))
    finally:
        await waiting.close()


async def _unless(signals: asyncio.Queue[signal.Signals], work: Coroutine[Any, Any, _T]) -> _T | None:
    """The result of `work`; None when a signal came first."""
    working = asyncio.ensure_future(work)
    told = asyncio.ensure_future(signals.get())
    try:
        await asyncio.wait({working, told}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        told.cancel()
        working.cancel()
        await asyncio.wait({working, told})


async def _wait_for_state(gateway: Gateway) -> None:
    """Say "available" only when kernels are known: whoever waits for that line would get 503 else."""
    try:
        async with asyncio.timeout(STATE_SECONDS):
            for backend in gateway.kernels.registry.backends.values():
                await backend.until_synced()
    except TimeoutError:
        log.warning("The state could not be read within %g s; requests get 503 until it is", STATE_SECONDS)


def _url(scheme: str, host: str, listener: socket.socket) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{listener.getsockname()[1]}"


async def _end(signum: signal.Signals, settings: Settings, gateway: Gateway, draining: asyncio.Event) -> None:
    """SIGTERM leaves kernels running and hands their clients over; Ctrl-C and a closed terminal end local kernels."""
    draining.set()
    if signum is signal.SIGTERM:
        log.info("SIGTERM: kernels keep running; their clients are told to come back")
        await asyncio.sleep(STILL_SERVING_SECONDS)
        try:
            async with asyncio.timeout(settings.drain_timeout):
                await gateway.kernels.close_websockets(gateway.replica, gateway.channels.kernel_ids)
        except TimeoutError:
            log.warning("Not every client was told within %g s", settings.drain_timeout)
    else:
        log.info("%s: ending all local kernels (SIGTERM would have left them running)", signum.name)
        await gateway.kernels.end_local("the gateway was ended at its terminal")
