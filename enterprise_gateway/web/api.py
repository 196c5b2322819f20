"""The REST handlers: each reads a request, asks `kernels` once, and shapes the answer."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Any
from urllib.parse import quote

import msgspec
from aiohttp import web

from enterprise_gateway import __version__
from enterprise_gateway.core.principals import Principal
from enterprise_gateway.errors import Forbidden
from enterprise_gateway.kernels.manager import KernelManager
from enterprise_gateway.kernels.policy import StartRequest
from enterprise_gateway.kernels.sessions import SessionChange, SessionManager, new_session
from enterprise_gateway.kernelspecs.access import Decision, may_use, split_user
from enterprise_gateway.kernelspecs.model import KernelSpec
from enterprise_gateway.web import metrics
from enterprise_gateway.web.identity import PRINCIPAL
from enterprise_gateway.web.responses import LastAnswers, json_response, read_json, tagged_response

JUPYTER_SERVER_VERSION = "2.17.0"
"""The release of jupyter_server whose REST interface this one follows; clients ask `/api` for it."""


class _KernelReference(msgspec.Struct):
    id: str | None = None
    name: str | None = None


class _Notebook(msgspec.Struct):
    path: str | None = None
    name: str | None = None


class _SessionBody(msgspec.Struct):
    path: str | None = None
    name: str | None = None
    type: str | None = None
    kernel: _KernelReference | None = None
    notebook: _Notebook | None = None
    env: dict[str, Any] | None = None


class Api:
    """Handlers of one gateway."""

    def __init__(self, kernels: KernelManager, base_url: str, *, list_kernels: bool) -> None:
        self._kernels = kernels
        self._sessions = SessionManager(kernels)
        self._base = base_url.rstrip("/")
        self._list_kernels = list_kernels
        self._last_lists = LastAnswers()

    async def version(self, request: web.Request) -> web.Response:  # noqa: ARG002 - a handler's shape
        """GET /api."""
        return json_response({"version": JUPYTER_SERVER_VERSION, "gateway_version": __version__})

    # Kernel specs.

    async def kernelspecs(self, request: web.Request) -> web.Response:
        """GET /api/kernelspecs[?user=]."""
        user, name = split_user(request.query.get("user", ""))
        if name is not None:
            return tagged_response(request, self._spec(request[PRINCIPAL], user, name).to_json(self._base))
        specs = {
            spec.name: spec.to_json(self._base)
            for spec in self._kernels.catalog.all().values()
            if self._may_use(request[PRINCIPAL], user, spec).allowed
        }
        return tagged_response(request, {"default": self._kernels.catalog.default, "kernelspecs": specs})

    async def kernelspec(self, request: web.Request) -> web.Response:
        """GET /api/kernelspecs/{name}[?user=]."""
        user, _ = split_user(request.query.get("user", ""))
        spec = self._spec(request[PRINCIPAL], user, request.match_info["name"])
        return tagged_response(request, spec.to_json(self._base))

    async def kernelspec_resource(self, request: web.Request) -> web.StreamResponse:
        """GET /kernelspecs/{name}/{path}."""
        match = request.match_info
        return web.FileResponse(self._kernels.catalog.resource(match["name"], match["path"]))

    # Kernels.

    async def kernels(self, request: web.Request) -> web.Response:
        """GET /api/kernels."""
        self._check_listing()
        principal = request[PRINCIPAL]
        return self._last_lists.response(request, principal.name, await self._kernels.list(principal))

    async def start_kernel(self, request: web.Request) -> web.Response:
        """POST /api/kernels."""
        body = await read_json(request, StartRequest)
        with metrics.counted_start():
            model = await self._kernels.start(request[PRINCIPAL], body)
        return json_response(model, 201, {"Location": f"{self._base}/api/kernels/{quote(model.id)}"})

    async def kernel(self, request: web.Request) -> web.Response:
        """GET /api/kernels/{id}."""
        model = await self._kernels.get(request[PRINCIPAL], request.match_info["kernel_id"])
        return tagged_response(request, model)

    async def delete_kernel(self, request: web.Request) -> web.Response:
        """DELETE /api/kernels/{id}."""
        await self._kernels.delete(request[PRINCIPAL], request.match_info["kernel_id"])
        return web.Response(status=204)

    async def interrupt_kernel(self, request: web.Request) -> web.Response:
        """POST /api/kernels/{id}/interrupt."""
        await self._kernels.interrupt(request[PRINCIPAL], request.match_info["kernel_id"])
        return web.Response(status=204)

    async def restart_kernel(self, request: web.Request) -> web.Response:
        """POST /api/kernels/{id}/restart."""
        model = await self._kernels.restart(request[PRINCIPAL], request.match_info["kernel_id"])
        return json_response(model)

    async def kernel_logs(self, request: web.Request) -> web.Response:
        """GET /api/kernels/{id}/logs: what the kernel wrote outside of cells."""
        return web.Response(text=await self._kernels.logs(request[PRINCIPAL], request.match_info["kernel_id"]))

    async def kernel_why(self, request: web.Request) -> web.Response:
        """GET /api/kernels/{id}/why: what is known of a kernel, also for a while after its end."""
        return json_response(await self._kernels.why(request[PRINCIPAL], request.match_info["kernel_id"]))

    # Sessions.

    async def sessions(self, request: web.Request) -> web.Response:
        """GET /api/sessions."""
        self._check_listing()
        return tagged_response(request, await self._sessions.list(request[PRINCIPAL]))

    async def start_session(self, request: web.Request) -> web.Response:
        """POST /api/sessions."""
        body = await read_json(request, _SessionBody)
        notebook = body.notebook or _Notebook()
        kind = body.type or ("notebook" if body.notebook else "")
        session = new_session(body.path or notebook.path or "", body.name or notebook.name or "", kind)
        kernel = body.kernel or _KernelReference()
        start = StartRequest(name=kernel.name, path=_folder(session.path), env=body.env)
        with metrics.counted_start():
            model = await self._sessions.start(request[PRINCIPAL], session, kernel.id, start)
        return json_response(model, 201, {"Location": f"{self._base}/api/sessions/{quote(model.id)}"})

    async def session(self, request: web.Request) -> web.Response:
        """GET /api/sessions/{id}."""
        model = await self._sessions.get(request[PRINCIPAL], request.match_info["session_id"])
        return tagged_response(request, model)

    async def change_session(self, request: web.Request) -> web.Response:
        """PATCH /api/sessions/{id}."""
        body = await read_json(request, _SessionBody)
        kernel = body.kernel or _KernelReference()
        notebook = body.notebook or _Notebook()
        change = SessionChange(
            path=body.path or notebook.path or None,
            name=body.name if body.name is not None else notebook.name or None,
            type=body.type or None,
            kernel_id=kernel.id,
            kernel_name=kernel.name,
        )
        session_id = request.match_info["session_id"]
        return json_response(await self._sessions.change(request[PRINCIPAL], session_id, change))

    async def delete_session(self, request: web.Request) -> web.Response:
        """DELETE /api/sessions/{id}."""
        await self._sessions.delete(request[PRINCIPAL], request.match_info["session_id"])
        return web.Response(status=204)

    # The description of all this.

    async def description_json(self, request: web.Request) -> web.Response:  # noqa: ARG002 - a handler's shape
        """GET /api/swagger.json."""
        return web.Response(body=_description("json"), content_type="application/json")

    async def description_yaml(self, request: web.Request) -> web.Response:  # noqa: ARG002 - a handler's shape
        """GET /api/swagger.yaml."""
        return web.Response(body=_description("yaml"), content_type="application/yaml")

    def _check_listing(self) -> None:
        if not self._list_kernels:
            raise Forbidden("Listing is switched off on this gateway (EG_LIST_KERNELS)")

    def _spec(self, principal: Principal, user: str, name: str) -> KernelSpec:
        spec = self._kernels.catalog.get(name)
        decision = self._may_use(principal, user, spec)
        if not decision.allowed:
            raise Forbidden(decision.reason)
        return spec

    def _may_use(self, principal: Principal, user: str, spec: KernelSpec) -> Decision:
        """Whether the user that `?user=` names may; without one, whoever speaks for nobody else asks for itself."""
        if user and not principal.may_speak_for(user):
            raise Forbidden(f"{principal.name!r} may not ask in the name of {user!r}")
        user = user or ("" if principal.speaks_for_others else principal.name)
        rules = self._kernels.rules
        if not user:
            return Decision(allowed=True)
        return may_use(spec, user, rules.authorized_users, rules.unauthorized_users)


@functools.cache
def _description(kind: str) -> bytes:
    text = resources.files("enterprise_gateway.web").joinpath("openapi.yaml").read_bytes()
    document = msgspec.yaml.decode(text)
    document["info"]["version"] = __version__
    return msgspec.yaml.encode(document) if kind == "yaml" else msgspec.json.encode(document)


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
