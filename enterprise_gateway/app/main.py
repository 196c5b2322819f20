"""A gateway's life: build, listen, serve, and end the right way for the signal that came."""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import socket
import sys
import uuid
from collections.abc import Callable, Mapping

import uvloop

from enterprise_gateway import __version__
from enterprise_gateway.aio import Tasks
from enterprise_gateway.app import logs
from enterprise_gateway.app.build import Gateway, build_gateway, http_rules, read_tokens
from enterprise_gateway.app.reload import Configuration, follow
from enterprise_gateway.config.settings import Settings
from enterprise_gateway.core.secret import Secret
from enterprise_gateway.core.tokens import token_from
from enterprise_gateway.errors import ConfigError
from enterprise_gateway.web.operations import make_operations_app
from enterprise_gateway.web.server import Sites, listen, make_app, tls_context

log = logging.getLogger(__name__)

STATE_SECONDS = 10.0
"""How long the start waits to know all kernels before it says that the gateway is available."""
STILL_SERVING_SECONDS = 1.0
"""How long requests are still taken after readiness is off, for those who have not noticed yet."""


def serve(settings: Settings, environ: Mapping[str, str], configuration: Configuration) -> int:
    """Run a gateway until a signal ends it; the process's exit code."""
    fresh = settings.auth_token is None and settings.token_file is None
    token = Secret(token_from(secrets.token_bytes(20)) if fresh else settings.auth_token or "")
    logs.configure(settings.log_level, settings.log_format, [] if fresh else [token])
    try:
        gateway = build_gateway(settings, environ, read_tokens(settings, token), replica=uuid.uuid4().hex)
        return uvloop.run(_serve(settings, gateway, configuration, token if fresh else None))
    except ConfigError as error:
        sys.stderr.write(f"{error.message}\n")
        return 2


async def _serve(settings: Settings, gateway: Gateway, configuration: Configuration, fresh_token: Secret | None) -> int:
    loop = asyncio.get_running_loop()
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(signum) is not signal.SIG_IGN:  # as nohup has it
            loop.add_signal_handler(signum, signals.put_nowait, signum)
    tasks = Tasks("gateway")
    sites = Sites()
    draining = asyncio.Event()
    try:
        tasks.spawn(gateway.backend.run(), "local backend")
        if settings.dynamic_config_interval:
            changes = follow(configuration, settings.dynamic_config_interval, gateway.follow)
            tasks.spawn(changes, "configuration")
        url = await _serve_api(settings, gateway, sites)
        operations_url = await _serve_operations(settings, gateway, sites, draining.is_set)
        log.info("Operations endpoint is available at %s", operations_url)
        if fresh_token is not None:
            # Straight to the terminal: a token never goes through a log.
            sys.stderr.write(f"No token is configured; this start's is {fresh_token.reveal()}\n")
        await _wait_for_state(gateway)
        log.info("Jupyter Enterprise Gateway %s is available at %s", __version__, url)
        await _end(await signals.get(), settings, gateway, draining)
    finally:
        await sites.close()
        await gateway.kernels.agents.close()
        await tasks.close()
    return 0


async def _wait_for_state(gateway: Gateway) -> None:
    """Say "available" only when kernels are known: whoever waits for that line would get 503 else."""
    try:
        async with asyncio.timeout(STATE_SECONDS):
            await gateway.backend.until_synced()
    except TimeoutError:
        log.warning("The state could not be read within %g s; requests get 503 until it is", STATE_SECONDS)


async def _serve_api(settings: Settings, gateway: Gateway, sites: Sites) -> str:
    context = tls_context(settings.certfile, settings.keyfile, settings.client_ca, settings.ssl_version)
    listener = listen(settings.ip, settings.port, settings.port_retries)
    app = make_app(gateway.api, gateway.channels, gateway.guard, http_rules(settings))
    await sites.serve(app, listener, context)
    return _url("https" if context else "http", settings.ip, listener) + settings.base_url.rstrip("/")


async def _serve_operations(settings: Settings, gateway: Gateway, sites: Sites, draining: Callable[[], bool]) -> str:
    listener = listen(settings.ops_ip, settings.ops_port, settings.port_retries)
    await sites.serve(make_operations_app(gateway.kernels.registry, draining), listener)
    return _url("http", settings.ops_ip, listener)


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
        await gateway.kernels.end_all("the gateway was ended at its terminal")
