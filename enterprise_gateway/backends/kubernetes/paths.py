"""Where the API server keeps what belongs to kernels, and which of it that is."""

from __future__ import annotations

from enterprise_gateway.backends.kubernetes.objects import Metadata

KERNEL_PODS = {"labelSelector": "app=enterprise-gateway,component=kernel"}
OPERATOR_GROUP, OPERATOR_VERSION, APPLICATIONS = "sparkoperator.k8s.io", "v1beta2", "sparkapplications"
POD_EVENTS = {"fieldSelector": "involvedObject.kind=Pod"}


def pods_path(namespace: str) -> str:
    """The collection."""
    return f"/api/v1/namespaces/{namespace}/pods"


def secrets_path(namespace: str) -> str:
    """The collection."""
    return f"/api/v1/namespaces/{namespace}/secrets"


def events_path(namespace: str) -> str:
    """The collection."""
    return f"/api/v1/namespaces/{namespace}/events"


def applications_path(namespace: str) -> str:
    """The collection of SparkApplications."""
    return f"/apis/{OPERATOR_GROUP}/{OPERATOR_VERSION}/namespaces/{namespace}/{APPLICATIONS}"


def pod_path(metadata: Metadata) -> str:
    """One pod, by its name."""
    return f"{pods_path(metadata.namespace)}/{metadata.name}"
