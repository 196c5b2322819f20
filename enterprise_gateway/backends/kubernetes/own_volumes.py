"""The volumes that every kernel's pod has, and where its two containers mount them. Pure.

Each container sees its part of the kernel's Secret and no more; a service account's token is the kernel's alone,
which automounting cannot do. Names begin with `enterprise-gateway`, which no client's volume may.
"""

from __future__ import annotations

from typing import Any

from enterprise_gateway.core import pods

_KERNEL = "enterprise-gateway-kernel"
_AGENT = "enterprise-gateway-agent"
_SHARED = "enterprise-gateway-shared"
_TOKEN = "enterprise-gateway-token"  # noqa: S105 - a name
_TOKEN_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path
_TOKEN_SECONDS = 3607
"""What Kubernetes itself asks for; kubelet renews it before its end."""
_SHARED_SIZE = "4Mi"
_READABLE_BY_ALL = 0o444


def own_volumes(secret: str, *, token: bool) -> list[dict[str, Any]]:
    """A pod's `volumes`.

    Args:
        secret: name of the kernel's Secret.
        token: whether the kernel gets its service account's token.
    """
    volumes = [
        _secret_volume(_KERNEL, secret, pods.CONNECTION_FILE, pods.SUPERVISOR_FILE),
        _secret_volume(_AGENT, secret, pods.AGENT_FILE, pods.TLS_FILE),
        {"name": _SHARED, "emptyDir": {"medium": "Memory", "sizeLimit": _SHARED_SIZE}},
    ]
    return [*volumes, _token_volume()] if token else volumes


def kernel_mounts(*, token: bool) -> list[dict[str, Any]]:
    """`volumeMounts` of the kernel's container."""
    mounts = [_read_only(_KERNEL, pods.SECRET_FOLDER), {"name": _SHARED, "mountPath": pods.SHARED_FOLDER}]
    return [*mounts, _read_only(_TOKEN, _TOKEN_FOLDER)] if token else mounts


def agent_mounts() -> list[dict[str, Any]]:
    """`volumeMounts` of the agent's container."""
    return [_read_only(_AGENT, pods.SECRET_FOLDER), {"name": _SHARED, "mountPath": pods.SHARED_FOLDER}]


def _read_only(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "mountPath": path, "readOnly": True}


def _secret_volume(name: str, secret: str, *files: str) -> dict[str, Any]:
    items = [{"key": file, "path": file} for file in files]
    return {"name": name, "secret": {"secretName": secret, "defaultMode": _READABLE_BY_ALL, "items": items}}


def _token_volume() -> dict[str, Any]:
    """What an automounted token would be."""
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": _TOKEN_SECONDS}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]
    return {"name": _TOKEN, "projected": {"defaultMode": _READABLE_BY_ALL, "sources": sources}}
