"""Which gateway `--url` means, and the token to show it.

A token is no option of its own: every user of a machine can read its processes' command lines. It is looked for in
`--token-file`, in the URL itself (`?token=…` or `/t/…`, as people copy it), in `EG_AUTH_TOKEN`, and in
`JUPYTER_GATEWAY_AUTH_TOKEN`; the first that is given counts. However it was given, it is sent in a header, so it gets
into no proxy's log. Pure, but for reading that file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from enterprise_gateway.core.secret import Secret
from enterprise_gateway.errors import ConfigError

ENVIRONMENT = ("EG_AUTH_TOKEN", "JUPYTER_GATEWAY_AUTH_TOKEN")


class GatewayAddress(NamedTuple):
    """A gateway's address, taken apart."""

    scheme: str
    host: str
    port: int | None
    """None for the scheme's own."""
    path: str
    """The base URL, without a slash at the end."""
    token: Secret

    @property
    def shown(self) -> str:
        """The address without the token."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}{'' if self.port is None else f':{self.port}'}{self.path}"


def parse_address(url: str, token_file: str | None, environ: Mapping[str, str]) -> GatewayAddress:
    """Read `--url` and find its token; an empty one when there is none.

    Raises:
        ConfigError: it is no URL of a gateway, or the token cannot be had or sent. Never quotes a token.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"--url: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError("--url must look like http://host:8888 or https://host/base")
    path, in_path = _split_path(parts.path)
    in_url = parse_qs(parts.query).get("token", [in_path])[-1]
    token = _read(token_file) if token_file is not None else in_url or _from_environ(environ)
    if not all("!" <= character <= "~" for character in token):
        raise ConfigError("The token holds spaces or characters that no header can carry")
    return GatewayAddress(parts.scheme, host, port, path, Secret(token))


def has_token(url: str) -> bool:
    """Whether `url`, an argument everybody can see, holds a token."""
    parts = urlsplit(url)
    return bool(_split_path(parts.path)[1] or parse_qs(parts.query).get("token"))


def _split_path(path: str) -> tuple[str, str]:
    """The base URL and the credential of `/base/t/credential`."""
    path = path.rstrip("/")
    base, marker, credential = path.rpartition("/t/")
    return (base, credential) if marker and "/" not in credential else (path, "")


def _read(path: str) -> str:
    try:
        token = Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--token-file: {error}") from None
    if not token:
        raise ConfigError(f"--token-file: {path} is empty; it must hold the token and nothing else")
    return token


def _from_environ(environ: Mapping[str, str]) -> str:
    return next((environ[name].strip() for name in ENVIRONMENT if environ.get(name)), "")
