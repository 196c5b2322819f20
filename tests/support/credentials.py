"""The secrets of a deployment and of its kernels, as an administrator can know them."""

from __future__ import annotations

import base64

from support.cluster import Namespace

from enterprise_gateway.core.keys import KernelSecrets, MasterKeys
from enterprise_gateway.core.tls import make_identity

KEY_ID_LABEL = "enterprise-gateway/key-id"


def stored(namespace: Namespace) -> dict[str, str]:
    """The content of the gateway's Secret: `master-key` and `auth-token`."""
    data = namespace.get("secret", "enterprise-gateway")["data"]
    return {name: base64.b64decode(value).decode() for name, value in data.items()}


def key_id_of(namespace: Namespace, kernel_id: str) -> str:
    """The name of the master key that a kernel's secrets come from."""
    return str(namespace.kernel_pod(kernel_id)["metadata"]["labels"][KEY_ID_LABEL])


def kernel_secrets(namespace: Namespace, kernel_id: str) -> KernelSecrets:
    """A kernel's secrets, from the master key, as every replica derives them."""
    keys = MasterKeys.parse(stored(namespace)["master-key"])
    return keys.secrets(key_id_of(namespace, kernel_id), kernel_id)


def secret_texts(namespace: Namespace, kernel_id: str) -> dict[str, str]:
    """Everything secret about a deployment and one of its kernels, by what it is, as it is written in files."""
    shared, own = stored(namespace), kernel_secrets(namespace, kernel_id)
    return {
        "master key": shared["master-key"].split()[0],
        "access token": shared["auth-token"].strip(),
        "agent token": own.token.reveal(),
        "message key": own.hmac_key.reveal(),
        "agent identity": make_identity(own.tls_seed).decode().splitlines()[1],
    }
