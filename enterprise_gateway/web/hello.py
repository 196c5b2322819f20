"""Where agents of new pods say that they listen, on a port of its own: the cluster itself would tell a second later.

What comes in is a hint that only the kernel's own agent can give (it proves that it knows the kernel's token), and
no more than a hint: the gateway's connection to that address must find the kernel's key there.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable

import msgspec
from aiohttp import web

from enterprise_gateway.core.pods import HELLO_PATH, Hello, hello_proof
from enterprise_gateway.errors import KernelUnresponsive, NotReady
from enterprise_gateway.kernels.registry import Registry

MAX_BODY = 1024
"""Bytes."""


def make_hello_app(registry: Registry, announce: Callable[[str, str], None]) -> web.Application:
    """The application of the agents' port; `announce(kernel_id, host)` is told of every true hello."""

    async def hello(request: web.Request) -> web.Response:
        kernel_id = request.match_info["kernel_id"]
        try:
            said = msgspec.json.decode(await request.read(), type=Hello)
            ipaddress.ip_address(said.host)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return web.Response(status=400, text="a hello has a host, a port and a proof\n")
        try:
            true = _is_true(registry, kernel_id, said)
        except NotReady as error:  # the agent asks again
            return web.Response(status=503, text=f"{error.message}\n")
        if not true:
            return web.Response(status=404, text="no such kernel, or not its proof\n")
        announce(kernel_id, said.host)
        return web.Response(status=204)

    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_post(f"{HELLO_PATH}{{kernel_id}}", hello)
    return app


def _is_true(registry: Registry, kernel_id: str, said: Hello) -> bool:
    observed = registry.lookup(kernel_id)
    if observed is None:
        return False
    try:
        token = registry.secrets(observed.record).token.reveal()
    except KernelUnresponsive:  # the key it was made with is no longer among the keys
        return False
    expected = hello_proof(token, kernel_id, said.host, said.port)
    return hmac.compare_digest(expected.encode(), said.proof.encode())
