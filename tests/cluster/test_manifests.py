"""The manifests that are shipped: the API server takes them, and they ask for no more than they must."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.cluster import Namespace, kubectl
from support.deployed import Deployed, render

pytestmark = pytest.mark.cluster

ETC = Path(__file__).parents[2] / "etc"
HERE = Path(__file__).parent
FOLDERS = (
    *(ETC / "kubernetes", *sorted((ETC / "kubernetes-overlays").iterdir())),
    *(HERE, HERE / "spark", HERE / "spark_submit", HERE / "spark_operator"),
)

RIGHTS = {
    ("pods", "get"), ("pods", "list"), ("pods", "watch"), ("pods", "create"), ("pods", "patch"), ("pods", "delete"),
    ("pods/log", "get"), ("events", "list"), ("events", "watch"), ("secrets", "create"),
}  # fmt: skip
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_api_server_takes_every_kustomization_without_a_warning(folder: Path, namespace: Namespace) -> None:
    kubectl(
        "apply", "--server-side", "--dry-run=server", "--validate=strict", "--warnings-as-errors", "--filename", "-",
        # The namespace is there, and another field manager's.
        "--force-conflicts", stdin=render(folder, namespace.name),
    )  # fmt: skip


def test_everything_carries_the_label_by_which_it_is_found() -> None:
    for found in objects(ETC / "kubernetes"):
        assert found["metadata"]["labels"]["app"] == "enterprise-gateway", found["kind"]


def test_no_selector_of_the_gateway_selects_kernels() -> None:
    kernel = {"app": "enterprise-gateway", "component": "kernel", "kernel_id": "x"}
    of_kernels = [
        (found["kind"], found["metadata"]["name"])
        for found in objects(ETC / "kubernetes")
        for selector in (selector_of(found),)
        if selector and selector.items() <= kernel.items()
    ]
    assert of_kernels == [("NetworkPolicy", "enterprise-gateway-kernels")]


def test_nothing_is_asked_for_outside_of_the_namespace() -> None:
    assert not {"ClusterRole", "ClusterRoleBinding"} & {found["kind"] for found in objects(ETC / "kubernetes")}


@pytest.mark.parametrize("resource", ["pods", "pods/log", "pods/exec", "events", "secrets", "configmaps", "services"])
def test_the_gateway_may_do_what_it_does_and_nothing_else(deployed: Deployed, resource: str) -> None:
    assert allowed(deployed.namespace, resource) == {verb for name, verb in RIGHTS if name == resource}


def test_of_all_secrets_the_gateway_may_read_its_own_alone(deployed: Deployed) -> None:
    assert allowed(deployed.namespace, "secrets", "enterprise-gateway") == {"get", "create"}
    assert allowed(deployed.namespace, "secrets", "kernel-1") == {"create"}


def allowed(namespace: Namespace, resource: str, name: str = "") -> set[str]:
    """The verbs that the API server grants to the gateway's service account."""
    kind, _, subresource = resource.partition("/")
    what = {"namespace": namespace.name, "resource": kind, "subresource": subresource, "name": name}
    account = f"system:serviceaccount:{namespace.name}:enterprise-gateway"
    reviews = [
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": account, "resourceAttributes": {**what, "verb": verb}},
        }
        for verb in VERBS
    ]
    body = json.dumps({"apiVersion": "v1", "kind": "List", "items": reviews})
    answers = kubectl("create", '--output=jsonpath={.status.allowed}{"\\n"}', "--filename", "-", stdin=body).split()
    return {verb for verb, answer in zip(VERBS, answers, strict=True) if answer == "true"}


def objects(folder: Path) -> list[dict[str, Any]]:
    """What a kustomization consists of."""
    return list(yaml.safe_load_all(kubectl("kustomize", str(folder))))


def selector_of(found: dict[str, Any]) -> dict[str, str]:
    """The labels that an object selects pods by."""
    spec = found.get("spec", {})
    selector = spec.get("podSelector") or spec.get("selector") or {}
    return dict(selector.get("matchLabels", selector))
