"""The routes, and the sockets they are served on."""

from __future__ import annotations

import errno
import logging
import random
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from enterprise_gateway.errors import ConfigError
from enterprise_gateway.web.api import Api
from enterprise_gateway.web.channels import ChannelsRoute
from enterprise_gateway.web.identity import CAPABILITY, PATH_CREDENTIAL, Guard
from enterprise_gateway.web.middleware import Handler, make_middleware
from enterprise_gateway.web.spark_ui import SparkUiRoute

log = logging.getLogger(__name__)
http_log = logging.getLogger("enterprise_gateway.http")
"""What aiohttp has to say about connections."""

KERNEL = "/api/kernels/{kernel_id:[0-9a-fA-F]+(?:-[0-9a-fA-F]+){4}}"
SESSION = r"/api/sessions/{session_id:\w+(?:-\w+){4}}"
MAX_HEADER = 32 * 1024
"""Bytes of a request's line, and of one header."""
KEEPALIVE_SECONDS = 75.0
LAST_REQUESTS_SECONDS = 5.0
"""How long requests under way may take when everything else is done."""
BACKLOG = 1024
SEQUENTIAL_RETRIES = 5
"""Ports tried one after the other before random ones nearby, as EG does it."""


@dataclass(frozen=True, kw_only=True)
class HttpRules:
    """What the operator decides about requests."""

    base_url: str
    cors: dict[str, str]
    """Headers of every response."""
    max_body: int
    """Bytes."""
    trust_xheaders: bool
    """Whether a proxy's word for the client's address is taken."""


def make_app(
    api: Api, channels: ChannelsRoute, spark_ui: SparkUiRoute, guard: Guard, rules: HttpRules
) -> web.Application:
    """The application with all routes under the base URL, each also under `/t/{credential}`."""
    middleware = make_middleware(guard, rules.cors, trust_xheaders=rules.trust_xheaders)
    app = web.Application(middlewares=[middleware], client_max_size=rules.max_body)
    base = rules.base_url.rstrip("/")
    # jupyter_server's gateway client lower-cases the address it derives for websockets.
    for prefix in (path for each in {base, base.lower()} for path in (each, f"{each}/t/{{{PATH_CREDENTIAL}}}")):
        for path, methods in _routes(api, channels, spark_ui).items():
            for slash in ("", "/"):
                resource = app.router.add_resource(f"{prefix}{path}{slash}")
                for method, handler in methods.items():
                    resource.add_route(method, handler)
    return app


def _routes(api: Api, channels: ChannelsRoute, spark_ui: SparkUiRoute) -> dict[str, dict[str, Handler]]:
    return {
        "/api": {"GET": api.version},
        "/api/swagger.json": {"GET": api.description_json},
        "/api/swagger.yaml": {"GET": api.description_yaml},
        "/api/kernelspecs": {"GET": api.kernelspecs},
        "/api/kernelspecs/{name}": {"GET": api.kernelspec},
        "/kernelspecs/{name}/{path:.+}": {"GET": api.kernelspec_resource, "HEAD": api.kernelspec_resource},
        "/api/kernels": {"GET": api.kernels, "POST": api.start_kernel},
        KERNEL: {"GET": api.kernel, "DELETE": api.delete_kernel},
        f"{KERNEL}/interrupt": {"POST": api.interrupt_kernel},
        f"{KERNEL}/restart": {"POST": api.restart_kernel},
        f"{KERNEL}/logs": {"GET": api.kernel_logs},
        f"{KERNEL}/why": {"GET": api.kernel_why},
        f"{KERNEL}/channels": {"GET": channels.carry},
        f"{KERNEL}/spark-ui": {"GET": spark_ui.show_way},
        f"{KERNEL}/spark-ui/~{{{CAPABILITY}}}/{{path:.*}}": {
            "GET": spark_ui.relay,
            "HEAD": spark_ui.relay,
            "OPTIONS": spark_ui.permit,
        },
        "/api/sessions": {"GET": api.sessions, "POST": api.start_session},
        SESSION: {"GET": api.session, "PATCH": api.change_session, "DELETE": api.delete_session},
    }


class _MalformedRequests(logging.Filter):
    """Makes one short line of the traceback that aiohttp logs for bytes that are no HTTP: a client's fault."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, HttpProcessingError | web.RequestPayloadError):
            return True
        # Its text quotes the bytes, which may hold a credential.
        record.msg, record.args = "Refused a malformed request: %s", (type(error).__name__,)
        record.levelno, record.levelname, record.exc_info = logging.INFO, "INFO", None
        return http_log.isEnabledFor(logging.INFO)


http_log.addFilter(_MalformedRequests())


class Sites:
    """What one process serves; `close` ends it all."""

    def __init__(self) -> None:
        self._runners: list[web.AppRunner] = []

    async def serve(self, app: web.Application, listener: socket.socket, context: ssl.SSLContext | None = None) -> None:
        """Serve `app` on a listening socket."""
        runner = web.AppRunner(
            app,
            access_log=None,
            logger=http_log,
            handle_signals=False,
            keepalive_timeout=KEEPALIVE_SECONDS,
            shutdown_timeout=LAST_REQUESTS_SECONDS,
            max_line_size=MAX_HEADER,
            max_field_size=MAX_HEADER,
        )
        self._runners.append(runner)
        await runner.setup()
        await web.SockSite(runner, listener, ssl_context=context).start()

    async def close(self) -> None:
        """Take no more requests, finish those under way, close every connection."""
        for runner in self._runners:
            await runner.cleanup()


def listen(host: str, port: int, retries: int) -> socket.socket:
    """A listening socket on `port`, or on one of `retries` others when that is taken; port 0 is any free one.

    Raises:
        ConfigError: none of them could be had.
    """
    for candidate in _candidates(port, retries):
        try:
            return socket.create_server((host, candidate), family=_family(host), backlog=BACKLOG, reuse_port=False)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise ConfigError(f"EG_IP: cannot listen on {host!r}: {error.strerror or error}") from None
            log.info("Port %d is in use or not allowed", candidate)
    raise ConfigError(f"EG_PORT: port {port} is in use, and so are {retries} others (EG_PORT_RETRIES)")


def tls_context(
    certfile: str | None, keyfile: str | None, client_ca: str | None, version: int | None
) -> ssl.SSLContext | None:
    """The server's TLS settings; None without a certificate.

    Raises:
        ConfigError: a file is missing or wrong.
    """
    if not certfile:
        return None
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if version is None else ssl._SSLMethod(version))  # noqa: SLF001 - how EG's integer is understood
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certfile, keyfile)
        if client_ca:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ValueError) as error:
        raise ConfigError(f"EG_CERTFILE, EG_KEYFILE, EG_CLIENT_CA or EG_SSL_VERSION: {error}") from None
    return context


def _candidates(port: int, retries: int) -> Iterator[int]:
    yield port
    if port == 0:
        return
    for step in range(1, retries + 1):
        if step <= SEQUENTIAL_RETRIES:
            yield min(port + step, 65535)
        else:
            yield min(max(1, port + random.randint(-2 * retries, 2 * retries)), 65535)  # noqa: S311 - no secret


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
