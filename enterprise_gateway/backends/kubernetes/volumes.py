"""Volumes and their mounts as clients and kernel specs may ask for them. Pure.

What is inside a volume's source is the cluster's to check, but for the Secrets that it names: every kernel's own
secrets are Secrets of the same namespace.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import msgspec

from enterprise_gateway.core.pods import SECRET_FOLDER, SHARED_FOLDER
from enterprise_gateway.errors import Forbidden, InvalidRequest

Volume: TypeAlias = dict[str, Any]
"""One of a pod's `volumes`, in the API's form."""
Mount: TypeAlias = dict[str, Any]
"""One of a container's `volumeMounts`, in the API's form."""

SOURCES = frozenset(
    {
        *("awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "configMap", "csi", "downwardAPI"),
        *("emptyDir", "ephemeral", "fc", "flexVolume", "flocker", "gcePersistentDisk", "glusterfs", "hostPath"),
        *("image", "iscsi", "nfs", "persistentVolumeClaim", "photonPersistentDisk", "portworxVolume", "projected"),
        *("quobyte", "rbd", "scaleIO", "secret", "storageos", "vsphereVolume"),
    }
)
"""The kinds of volume of Kubernetes' API v1. Not gitRepo: it lets a repository run its hooks as root on the node."""
PROJECTED_SOURCES = frozenset({"secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle"})
"""What a `projected` volume can be made of."""

DNS_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")

_OWN_NAMES = re.compile(r"enterprise-gateway.*", re.DOTALL)
_RESERVED_SECRETS = re.compile(r"(?:kernel-|enterprise-gateway).*", re.DOTALL)
_RESERVED_FOLDERS = ("/proc", "/sys", "/dev", SECRET_FOLDER, SHARED_FOLDER)
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - a folder in the kernel's container, larger for those who train models
_MAX_PATH_CHARS = 1024


class _VolumeMount(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """The fields that may be asked for. Not: `mountPropagation`, which reaches the node, and `subPathExpr`."""

    name: str
    mount_path: str
    sub_path: str = ""
    read_only: bool = False


def parse_volumes(variable: str, value: Any) -> tuple[Volume, ...]:
    """A list of volumes, each with a name and one source.

    Args:
        variable: what to call it in errors.
        value: as `load_plain` reads it.

    Raises:
        InvalidRequest: it is malformed.
        Forbidden: it names a Secret that belongs to a kernel or to the gateway.
    """
    if not isinstance(value, list):
        raise InvalidRequest(f"{variable} must be a list of volumes: [{{name: work, emptyDir: {{}}}}]")
    volumes = tuple(_volume(variable, item) for item in value)
    _refuse_repeated(variable, "name", [volume["name"] for volume in volumes])
    return volumes


def parse_volume_mounts(variable: str, value: Any) -> tuple[Mount, ...]:
    """A list of mounts for the kernel's container; whether their volumes exist is not looked at.

    Raises:
        InvalidRequest: it is malformed, or would hide what the kernel needs to run.
    """
    try:
        mounts = msgspec.convert(value, tuple[_VolumeMount, ...])
    except msgspec.ValidationError as error:
        raise InvalidRequest(
            f"{variable} must be a list of mounts: [{{name: work, mountPath: /home/work}}], with subPath and readOnly "
            f"where needed: {error}"
        ) from error
    checked = tuple(_mount(variable, mount) for mount in mounts)
    _refuse_repeated(variable, "mountPath", [mount["mountPath"] for mount in checked])
    return checked


def sources_of(volumes: Iterable[Volume]) -> Iterator[str]:
    """The kinds of source the volumes are made of, those inside `projected` ones included."""
    for volume in volumes:
        (source,) = volume.keys() - {"name"}
        yield source
        if source == "projected":
            for part in volume[source]["sources"]:
                yield from part


def _volume(variable: str, item: Any) -> Volume:
    if not isinstance(item, dict):
        raise InvalidRequest(f"{variable} must be a list of mappings, each with a name and a source")
    name = item.get("name")
    if not isinstance(name, str) or not DNS_LABEL.fullmatch(name):
        raise InvalidRequest(
            f"{variable}: a volume's name must be 1 to 63 lower-case letters, digits and '-', not {_shown(name)}"
        )
    if _OWN_NAMES.fullmatch(name):
        raise InvalidRequest(f"{variable}: names that begin with 'enterprise-gateway' are taken, {name!r} too")
    sources = item.keys() - {"name"}
    if len(sources) != 1 or not sources <= SOURCES:
        raise InvalidRequest(
            f"{variable}: volume {name!r} must have exactly one source, such as persistentVolumeClaim or emptyDir; "
            f"it has {_shown(sorted(sources))}"
        )
    (source,) = sources
    if not isinstance(item[source], dict):
        raise InvalidRequest(f"{variable}: {source} of volume {name!r} must be a mapping; {{}} where it has no fields")
    if source == "projected":
        _check_projected(variable, name, item[source])
    if source == "hostPath":
        _check_host_path(variable, name, item[source])
    for secret in _secrets_named(item[source]):
        if _RESERVED_SECRETS.fullmatch(secret):
            raise Forbidden(f"{variable}: Secret {_shown(secret)} belongs to a kernel or to the gateway")
    return item


def _check_projected(variable: str, name: str, source: dict[str, Any]) -> None:
    parts = source.get("sources")
    if not isinstance(parts, list) or not all(
        isinstance(part, dict) and len(part) == 1 and part.keys() <= PROJECTED_SOURCES for part in parts
    ):
        raise InvalidRequest(
            f"{variable}: projected.sources of volume {name!r} must be a list of mappings with one source each: "
            + ", ".join(sorted(PROJECTED_SOURCES))
        )


def _check_host_path(variable: str, name: str, source: dict[str, Any]) -> None:
    path = source.get("path")
    if not isinstance(path, str) or not _is_absolute(path):
        raise InvalidRequest(f"{variable}: hostPath.path of volume {name!r} must be an absolute path without '..'")


def _secrets_named(value: Any, *, inside: bool = False) -> Iterator[str]:
    """The Secrets that a source names, by whichever key: `secretName`, `secretRef.name`, a projected `secret.name`."""
    if isinstance(value, list):
        for item in value:
            yield from _secrets_named(item, inside=inside)
    elif isinstance(value, dict):
        for key, item in value.items():
            of_secret = "secret" in key.lower()
            if isinstance(item, str) and (of_secret or (inside and key == "name")):
                yield item
            yield from _secrets_named(item, inside=inside or of_secret)


def _mount(variable: str, mount: _VolumeMount) -> Mount:
    path = mount.mount_path.removesuffix("/")
    if not _is_absolute(path) or ":" in path:
        raise InvalidRequest(
            f"{variable}: mountPath must be an absolute path other than /, without '.', '..', '//' and ':', "
            f"not {_shown(mount.mount_path)}"
        )
    if path != _SHARED_MEMORY:
        for folder in _RESERVED_FOLDERS:
            if is_within(path, folder) or is_within(folder, path):
                raise InvalidRequest(f"{variable}: mountPath {_shown(path)} would hide {folder}; choose another")
    sub_path = mount.sub_path
    if sub_path and (sub_path.startswith("/") or ".." in sub_path.split("/") or not _is_clean(sub_path)):
        raise InvalidRequest(f"{variable}: subPath must be a relative path without '..', not {_shown(sub_path)}")
    built: Mount = msgspec.to_builtins(mount)
    return built | {"mountPath": path}


def is_within(path: str, folder: str) -> bool:
    """Whether an absolute, normal path is a folder or something below it."""
    return path == folder or path.startswith(f"{folder}/")


def _is_absolute(path: str) -> bool:
    """Absolute, in normal form, of printable characters, and not the root."""
    return (
        path.startswith("/") and path.strip("/") != "" and posixpath.normpath(path) == path and _is_clean(path)
        # POSIX gives two leading slashes a meaning of their own, and `normpath` keeps them.
        and not path.startswith("//")
    )  # fmt: skip


def _is_clean(path: str) -> bool:
    return len(path) <= _MAX_PATH_CHARS and path.isprintable()


def _refuse_repeated(variable: str, what: str, values: Sequence[str]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise InvalidRequest(f"{variable}: {what} {_shown(value)} is there twice")


def _shown(value: Any) -> str:
    return repr(value)[:100]
