"""What a gateway answers while it has not reached its cluster yet: alive, not ready, and "ask again" to everything."""

from __future__ import annotations

from aiohttp import web

from enterprise_gateway.errors import NotReady
from enterprise_gateway.web.responses import from_error


def make_waiting_app() -> web.Application:
    """The application of both ports until the real ones can be made."""

    async def livez(request: web.Request) -> web.Response:  # noqa: ARG001 - a handler's shape
        return web.Response(text="ok\n")

    async def later(request: web.Request) -> web.Response:  # noqa: ARG001 - a handler's shape
        return from_error(NotReady())

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_route("*", "/{path:.*}", later)
    return app
