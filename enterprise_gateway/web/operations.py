"""/livez, /readyz and /metrics, on a port of their own and without authentication: they say nothing about anybody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from enterprise_gateway.core.records import Phase
from enterprise_gateway.errors import NotReady
from enterprise_gateway.kernels.registry import Registry
from enterprise_gateway.web import metrics


def make_operations_app(registry: Registry, draining: Callable[[], bool]) -> web.Application:
    """The application of the operations port."""

    async def livez(request: web.Request) -> web.Response:  # noqa: ARG001 - a handler's shape
        return web.Response(text="ok\n")

    async def readyz(request: web.Request) -> web.Response:  # noqa: ARG001 - a handler's shape
        if draining():
            return web.Response(status=503, text="draining\n")
        if not registry.ready:
            return web.Response(status=503, text="reading the state\n")
        return web.Response(text="ok\n")

    async def exposition(request: web.Request) -> web.Response:  # noqa: ARG001 - a handler's shape
        _count_kernels(registry)
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", exposition)
    return app


def _count_kernels(registry: Registry) -> None:
    try:
        phases = Counter(observed.phase for observed in registry.observed())
    except NotReady:
        return
    for phase in Phase:
        metrics.KERNELS.labels(phase.value).set(phases[phase])
