"""Which container images kernel specs name, and a DaemonSet that keeps them on every node.

The DaemonSet needs no container socket: its pods use the images, so each node's kubelet pulls them, and does not remove
what is in use. One container an image, which sleeps; one that cannot be pulled does not keep the others away. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from .model import KernelSpec
from .placement import BackendKind

NAME: Final = "kernel-image-puller"
"""What EG's chart called the pods with the same task."""

_IN_CONFIG: Final = ("image_name", "executor_image_name")
_IN_ENV: Final = ("KERNEL_IMAGE", "KERNEL_EXECUTOR_IMAGE")
_LABELS: Final = {"app": "enterprise-gateway", "component": NAME}


def images_of(specs: Iterable[KernelSpec], default: str) -> list[str]:
    """The images of all kernel specs that are not this machine's own, in order and each once.

    Args:
        specs: as the catalog has them.
        default: of specs that name none; empty if there is none.
    """
    found: set[str] = set()
    for spec in specs:
        if spec.placement.backend is not BackendKind.LOCAL:
            config, env = spec.placement.config, spec.env
            named = {*(config.get(key) for key in _IN_CONFIG), *(env.get(name) for name in _IN_ENV)}
            own = config.get("image_name") or env.get("KERNEL_IMAGE")
            found |= {image for image in named | ({default} if not own else set()) if isinstance(image, str) and image}
    return sorted(found)


def daemon_set(images: Iterable[str]) -> dict[str, Any]:
    """The DaemonSet; passes Pod Security `restricted`, and has no account."""
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": NAME, "labels": dict(_LABELS)},
        "spec": {
            "selector": {"matchLabels": {"component": NAME}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "100%"}},
            "template": {
                "metadata": {"labels": dict(_LABELS)},
                "spec": {
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": 1,
                    "tolerations": [{"operator": "Exists"}],
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 65532,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [_container(number, image) for number, image in enumerate(images, 1)],
                },
            },
        },
    }


def _container(number: int, image: str) -> dict[str, Any]:
    return {
        "name": f"image-{number}",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", "exec sleep 2147483647"],
        "resources": {"requests": {"cpu": "1m", "memory": "4Mi"}, "limits": {"memory": "16Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
