"""What all replicas of a gateway share: the master keys and the access token, in a Secret of the gateway's own.

Made by the first replica that needs it, so that a deployment is complete with its manifest; an operator may create it
before, or add a newer key in front of the older ones.
"""

from __future__ import annotations

import base64
import binascii
import logging
import secrets
from typing import NamedTuple

import msgspec

from enterprise_gateway.backends.kubernetes.answers import ApiError
from enterprise_gateway.backends.kubernetes.api import KubernetesApi
from enterprise_gateway.core.keys import KEY_BYTES, MasterKeys
from enterprise_gateway.core.secret import Secret
from enterprise_gateway.core.tokens import token_from
from enterprise_gateway.errors import ConfigError

log = logging.getLogger(__name__)

SECRET_NAME = "enterprise-gateway"  # noqa: S105 - the name of one
MASTER_KEY = "master-key"
AUTH_TOKEN = "auth-token"  # noqa: S105 - the name of one
HTTP_NOT_FOUND, HTTP_CONFLICT = 404, 409


class Credentials(NamedTuple):
    """What the Secret holds."""

    keys: MasterKeys
    token: Secret
    """What clients must show where EG_AUTH_TOKEN says nothing."""


class _Secret(msgspec.Struct):
    data: dict[str, str] = {}
    """Base64."""


async def ensure_credentials(api: KubernetesApi, namespace: str) -> Credentials:
    """The content of the gateway's Secret; made on first use.

    Raises:
        ApiUnavailable: ask again.
        ConfigError: the Secret may not be read or made, or is wrong.
    """
    path = f"/api/v1/namespaces/{namespace}/secrets"
    try:
        secret = await _read(api, path)
        if secret is None:
            secret = await _make(api, path, namespace) or await _read(api, path)
    except ApiError as error:
        raise ConfigError(f"Secret {SECRET_NAME} in namespace {namespace}: {error.message}") from None
    if secret is None:
        raise ConfigError(f"Secret {SECRET_NAME} in namespace {namespace} vanishes as soon as it is made")
    token = Secret(_text(secret, AUTH_TOKEN).strip())
    if not token:
        raise ConfigError(f"{AUTH_TOKEN!r} in Secret {SECRET_NAME} is empty; EG_AUTH_TOKEN= is how to ask for no token")
    return Credentials(MasterKeys.parse(_text(secret, MASTER_KEY)), token)


async def _read(api: KubernetesApi, path: str) -> _Secret | None:
    try:
        return await api.get(f"{path}/{SECRET_NAME}", _Secret)
    except ApiError as error:
        if error.status == HTTP_NOT_FOUND:
            return None
        raise


async def _make(api: KubernetesApi, path: str, namespace: str) -> _Secret | None:
    """The Secret; None when another replica made it first."""
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET_NAME, "labels": {"app": "enterprise-gateway", "component": "enterprise-gateway"}},
        "data": {
            MASTER_KEY: base64.b64encode(f"{secrets.token_hex(KEY_BYTES)}\n".encode()).decode(),
            AUTH_TOKEN: base64.b64encode(token_from(secrets.token_bytes(20)).encode()).decode(),
        },
    }
    try:
        made = await api.create(path, body, _Secret)
    except ApiError as error:
        if error.status == HTTP_CONFLICT:
            return None
        raise
    log.info("Made Secret %s in namespace %s with a new master key and access token", SECRET_NAME, namespace)
    return made


def _text(secret: _Secret, key: str) -> str:
    try:
        return base64.b64decode(secret.data[key], validate=True).decode()
    except KeyError:
        raise ConfigError(f"Secret {SECRET_NAME} has no key {key!r}") from None
    except (binascii.Error, UnicodeDecodeError):
        raise ConfigError(f"{key!r} in Secret {SECRET_NAME} is not text") from None
