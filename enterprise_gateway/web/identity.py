"""Which principal a request comes from, and whether its page may ask at all. Decides; never answers."""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import web

from enterprise_gateway.core.principals import ANONYMOUS, Principal
from enterprise_gateway.core.tokens import TokenTable, parse_authorization
from enterprise_gateway.errors import Forbidden, Unauthenticated

PRINCIPAL = web.RequestKey("principal", Principal)
PATH_CREDENTIAL = "credential"
"""Name of the path parameter in `/t/{credential}/api/…`, for clients that can send no header on a websocket."""


def authenticate(request: web.Request, tokens: TokenTable) -> Principal:
    """The principal whose credential the request carries: `?token=`, then the header, then the path.

    Raises:
        Unauthenticated: there is none, or nobody's.
    """
    if tokens.open:
        return ANONYMOUS
    if "token" in request.query:
        principal = tokens.authenticate(request.query["token"])
    elif PATH_CREDENTIAL in request.match_info:
        principal = tokens.authenticate_path(request.match_info[PATH_CREDENTIAL])
    else:
        credential = parse_authorization(request.headers.get("Authorization", ""))
        principal = tokens.authenticate(credential) if credential else None
    if principal is None:
        raise Unauthenticated
    return principal


def check_origin(request: web.Request, allow_origin: str) -> None:
    """Whether the page that sent the request may: it is of the same host, or the operator allows its origin.

    Raises:
        Forbidden: it may not.
    """
    origin = request.headers.get("Origin")
    if not origin or allow_origin == "*" or origin == allow_origin:
        return
    if urlsplit(origin).netloc.lower() != request.headers.get("Host", "").lower():
        raise Forbidden("Pages of this origin may not use the gateway; its operator can set EG_ALLOW_ORIGIN")
