"""The secrets of a deployment: chosen by the operator, kept where they belong, changed without touching kernels.

This deployment logs all it can, so what it never writes is never written.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from support.channels import Channels
from support.cluster import Namespace
from support.credentials import key_id_of, secret_texts, stored
from support.deployed import REPLICAS, Deployed
from support.rest import assert_error
from support.wait import eventually

from enterprise_gateway.core.keys import key_id

pytestmark = pytest.mark.cluster

DEV = Path(__file__).parents[2] / "etc" / "kubernetes-overlays" / "dev"
KINDS = "pods,events,configmaps,serviceaccounts,services,endpointslices,deployments,replicasets"
USERS_SECRET = "what-only-the-kernel-needs-to-know"
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount/token"
TOKEN = "chosen-by-the-operator"


@pytest.fixture(scope="module")
def key() -> str:
    """The operator's master key."""
    return secrets.token_hex(32)


@pytest.fixture(scope="module")
def made(cluster: str, key: str) -> Iterator[Deployed]:  # noqa: ARG001 - there must be one
    """A deployment in a namespace where the operator has made the Secret before."""
    with Namespace() as namespace:
        namespace.apply(secret_with(key))
        deployed = Deployed(namespace, DEV)
        deployed.apply()
        eventually(lambda: serves(deployed))
        yield deployed


@pytest.fixture(scope="module")
def kernel_id(made: Deployed) -> Iterator[str]:
    """A kernel that has been used: it was started with a secret, ran code and was interrupted."""
    kernel_id = made.rest.start_kernel("python_kubernetes", env={"KERNEL_PASSWORD": USERS_SECRET})
    assert runs_code(made, kernel_id)
    assert made.rest.post(f"/api/kernels/{kernel_id}/interrupt").status_code == 204
    yield kernel_id
    made.rest.shut_down(kernel_id)


def test_a_secret_that_was_there_before_is_used_as_it_is(made: Deployed, kernel_id: str, key: str) -> None:
    assert stored(made.namespace) == {"master-key": key, "auth-token": TOKEN}
    assert made.token == TOKEN
    assert made.rest.kernel_ids() == {kernel_id}
    assert key_id_of(made.namespace, kernel_id) == key_id(bytes.fromhex(key))


def test_the_token_is_asked_for(made: Deployed) -> None:
    for headers in ({"Authorization": ""}, {"Authorization": "token wrong"}):
        assert made.rest.get("/api/kernels", headers=headers).status_code in (401, 403)


def test_secrets_are_in_secrets_alone(made: Deployed, kernel_id: str) -> None:
    texts = {**secret_texts(made.namespace, kernel_id), "user's": USERS_SECRET}
    of_kernel = f"Secret/kernel-{kernel_id}"
    written = {
        f"{found['kind']}/{found['metadata']['name']}": json.dumps(found)
        for found in [*objects(made.namespace), *map(readable_secret, made.namespace.list("secrets"))]
    }
    assert where(texts, written) == {
        "master key": {"Secret/enterprise-gateway"},
        "access token": {"Secret/enterprise-gateway"},
        "agent token": {of_kernel},
        "message key": {of_kernel},
        "agent identity": {of_kernel},
        "user's": {of_kernel},
    }


def test_secrets_are_in_no_log(made: Deployed, kernel_id: str) -> None:
    (gateway,) = made.replicas()
    texts = {
        **secret_texts(made.namespace, kernel_id),
        "user's": USERS_SECRET,
        "gateway's account": made.namespace.execute(gateway, "cat", ACCOUNT),
    }
    written = {
        f"{name}/{container['name']}": made.namespace.logs(name, container["name"])
        for pod in made.namespace.list("pods")
        for name in (pod["metadata"]["name"],)
        for container in pod["spec"]["containers"]
    }
    assert len(written) >= 3
    # The log is one that tells: of this kernel, and of what was asked about it.
    assert kernel_id in written[f"{gateway}/enterprise-gateway"]
    assert where(texts, written) == {}


def test_a_newer_key_is_for_new_kernels_and_old_ones_go_on(made: Deployed, kernel_id: str, key: str) -> None:
    newer = secrets.token_hex(32)
    with Channels.of(made, kernel_id) as channels:
        assert channels.execute("kept = 'kept'").reply["status"] == "ok"
    made.namespace.apply(secret_with(newer, key))
    replace(made)
    with Channels.of(made, kernel_id) as channels:
        assert channels.execute("print(kept)").text == "kept\n"
    new = made.rest.start_kernel("python_kubernetes")
    assert runs_code(made, new)
    of_kernels = [key_id_of(made.namespace, each) for each in (new, kernel_id)]
    made.rest.shut_down(new)
    assert of_kernels == [key_id(bytes.fromhex(newer)), key_id(bytes.fromhex(key))]


def test_a_kernel_whose_key_was_taken_away_is_there_and_says_so(made: Deployed, kernel_id: str) -> None:
    before = stored(made.namespace)["master-key"].split()
    made.namespace.apply(secret_with(secrets.token_hex(32)))
    replace(made)
    assert made.rest.kernel_ids() == {kernel_id}
    assert_error(made.rest.post(f"/api/kernels/{kernel_id}/interrupt"), 503, "master key", "no longer")
    made.namespace.apply(secret_with(*before))
    replace(made)
    assert runs_code(made, kernel_id)


def secret_with(*keys: str) -> dict[str, Any]:
    """The gateway's Secret as an operator writes it, newest key first."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "enterprise-gateway"},
        "stringData": {"master-key": "\n".join(keys), "auth-token": TOKEN},
    }


def replace(deployed: Deployed) -> None:
    """Restarts the gateway, and waits for the old one's end: until then the Service may still lead to it."""
    before = set(deployed.replicas())
    deployed.restart()
    eventually(lambda: not before & deployed.namespace.names("pods", REPLICAS))


def serves(deployed: Deployed) -> bool:
    """Whether the node's port leads to the gateway yet, which the network learns after the gateway is ready."""
    try:
        return deployed.rest.get("/api").ok
    except requests.ConnectionError:
        return False


def runs_code(deployed: Deployed, kernel_id: str) -> bool:
    with Channels.of(deployed, kernel_id) as channels:
        return channels.execute("print(6 * 7)").text == "42\n"


def objects(namespace: Namespace) -> list[dict[str, Any]]:
    """Everything in the namespace that is no Secret."""
    return list(json.loads(namespace.kubectl("get", KINDS, "--output=json"))["items"])


def readable_secret(secret: dict[str, Any]) -> dict[str, Any]:
    """A Secret with its values in clear, and without kubectl's copy of them, which is base64."""
    data = {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}
    return {"kind": "Secret", "metadata": {"name": secret["metadata"]["name"]}, "data": data}


def where(texts: dict[str, str], written: dict[str, str]) -> dict[str, set[str]]:
    """Which texts are written where, in clear or in base64; texts that are nowhere are left out."""
    found = {
        name: {place for place, content in written.items() if text in content or encoded(text) in content}
        for name, text in texts.items()
    }
    return {name: places for name, places in found.items() if places}


def encoded(text: str) -> str:
    """What of a text is in every base64 form of something that begins with it."""
    whole = len(text) - len(text) % 3
    return base64.b64encode(text[:whole].encode()).decode()
