"""Which principal a request comes from, and whether its page may ask at all. Decides; never answers."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from aiohttp import web

from enterprise_gateway.config.rules import is_loopback
from enterprise_gateway.core.principals import ANONYMOUS, Principal
from enterprise_gateway.core.tokens import TokenTable, parse_authorization
from enterprise_gateway.errors import Forbidden, Unauthenticated

PRINCIPAL = web.RequestKey("principal", Principal)
PATH_CREDENTIAL = "credential"
"""Name of the path parameter in `/t/{credential}/api/…`, for clients that can send no header on a websocket."""

CAPABILITY = "capability"
"""Name of the path parameter of routes whose address is the credential, for browsers."""


class Guard(NamedTuple):
    """What a request must show to be let in."""

    tokens: TokenTable
    allow_origin: str
    """The one origin besides the gateway's own whose pages may ask; `*` for all."""
    authorized_origin: str
    """The host name a client's TLS certificate must carry; empty for any."""
    local_only: bool
    """Whether the gateway listens on this machine's loopback address alone."""

    def admit(self, request: web.Request) -> Principal:
        """The principal behind a request that may come in.

        Raises:
            Unauthenticated: it carries no valid credential.
            Forbidden: its certificate or its page is not one that may ask.
        """
        self.check_connection(request)
        principal = self._authenticate(request)
        self._check_origin(request)
        return principal

    def check_connection(self, request: web.Request) -> None:
        """What holds for every request, whatever its credential.

        Raises:
            Forbidden: its certificate is another host's, or its name for this machine is.
        """
        if self.authorized_origin:
            self._check_certificate(request)
        if self.tokens.open and self.local_only:
            _check_host(request)

    def _authenticate(self, request: web.Request) -> Principal:
        """`?token=` beats the path, which beats the header."""
        tokens = self.tokens
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

    def _check_origin(self, request: web.Request) -> None:
        origin = request.headers.get("Origin")
        if not origin or self.allow_origin in ("*", origin):
            return
        if _host_of(origin) != request.headers.get("Host", "").lower():
            raise Forbidden("Pages of this origin may not use the gateway; its operator can set EG_ALLOW_ORIGIN")

    def _check_certificate(self, request: web.Request) -> None:
        certificate = request.get_extra_info("peercert") or {}
        names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
        if self.authorized_origin not in names:
            raise Forbidden("This client certificate is for another host than EG_AUTHORIZED_ORIGIN names")


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _check_host(request: web.Request) -> None:
    """Refuse a foreign name in `Host`: a page whose name was pointed at this machine would be of the same origin."""
    host = request.headers.get("Host", "")
    try:
        is_own = is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:  # a bracket that is not closed
        is_own = False
    if not is_own:
        raise Forbidden(f"A gateway without a token answers to this machine's own names, not to {host!r}")


def client_address(request: web.Request, *, trust_xheaders: bool) -> str:
    """Where a request comes from, for the log; a proxy is believed only where the operator says so."""
    if trust_xheaders:
        forwarded = request.headers.get("X-Real-IP") or request.headers.get("X-Forwarded-For", "").rpartition(",")[2]
        if forwarded.strip():
            return forwarded.strip()
    return request.remote or "?"
