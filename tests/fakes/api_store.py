"""What a Kubernetes API server remembers: objects, one revision counter, the history of changes.

Objects are the JSON of the API as dicts and are never changed in place: each version is a dict of its own, so a
list or a history may be kept by reference.
"""

from __future__ import annotations

import uuid
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

Object = dict[str, Any]
Collection = tuple[str, str]
"""Namespace and resource, as in ("kernels", "pods")."""


class Refusal(Exception):
    """An answer other than 2xx, with the words of its Status."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message


class Change(NamedTuple):
    """One write: `old` is None for an addition, `new` for a removal (whose last state `old` is)."""

    revision: int
    collection: Collection
    old: Object | None
    new: Object | None


class Snapshot(NamedTuple):
    """Everything as it was at a revision."""

    revision: int
    objects: dict[Collection, dict[str, Object]]


class Store:
    """The objects of all namespaces, and every change; a watch may begin at revision `compacted` or later."""

    def __init__(self) -> None:
        self.revision = 1000
        self.compacted = 1000
        self.objects: dict[Collection, dict[str, Object]] = {}
        self.history: list[Change] = []

    def collection(self, of: Collection) -> dict[str, Object]:
        return self.objects.setdefault(of, {})

    def get(self, of: Collection, name: str) -> Object:
        try:
            return self.collection(of)[name]
        except KeyError:
            raise Refusal(404, "NotFound", f'{of[1]} "{name}" not found') from None

    def snapshot(self) -> Snapshot:
        return Snapshot(self.revision, {of: dict(objects) for of, objects in self.objects.items()})

    def restore(self, backup: Snapshot) -> None:
        """Go back to an earlier state, revision included, as a restored etcd does."""
        self.revision, objects = backup
        self.objects = {of: dict(found) for of, found in objects.items()}
        self.history = [change for change in self.history if change.revision <= self.revision]
        self.compact()

    def since(self, revision: int) -> Iterator[Change]:
        """Changes after `revision`, oldest first."""
        first = bisect_right(self.history, revision, key=lambda change: change.revision)
        return (self.history[index] for index in range(first, len(self.history)))

    def compact(self) -> None:
        """Forget the history: who asks for it has to list again. Watches that are open have it still."""
        self.compacted = self.revision

    def create(self, of: Collection, body: Object) -> Object:
        metadata = dict(body.get("metadata", {}))
        if "name" not in metadata:
            metadata["name"] = metadata.get("generateName", "") + uuid.uuid4().hex[:5]
        if metadata["name"] in self.collection(of):
            raise Refusal(409, "AlreadyExists", f'{of[1]} "{metadata["name"]}" already exists')
        metadata |= {
            "namespace": of[0],
            "uid": str(uuid.uuid4()),
            "creationTimestamp": _now(),
        }
        new = {**body, "metadata": metadata}
        if of[1] == "pods":
            new.setdefault("status", {"phase": "Pending"})
        return self._write(of, None, new)

    def merge(self, of: Collection, name: str, patch: Mapping[str, Any]) -> Object:
        """Merge (RFC 7386); a `metadata.resourceVersion` in the patch must be the newest."""
        old = self.get(of, name)
        expected = patch.get("metadata", {}).get("resourceVersion")
        if expected not in (None, old["metadata"]["resourceVersion"]):
            message = f'Operation cannot be fulfilled on {of[1]} "{name}": the object has been modified'
            raise Refusal(409, "Conflict", message)
        new = merged(old, patch)
        return old if new == old else self._write(of, old, new)

    def delete(self, of: Collection, name: str, options: Mapping[str, Any]) -> Object:
        """Delete, or for a pod on a node: begin to. The test says when that ends: `remove`."""
        old = self.get(of, name)
        uid = options.get("preconditions", {}).get("uid")
        if uid not in (None, old["metadata"]["uid"]):
            message = f'Operation cannot be fulfilled on {of[1]} "{name}": the UID in the precondition does not match'
            raise Refusal(409, "Conflict", message)
        grace = options.get("gracePeriodSeconds")
        if grace == 0 or not _on_a_node(of, old):
            return self.remove(of, name)
        if "deletionTimestamp" in old["metadata"]:
            return old
        ending = {"deletionTimestamp": _now(), "deletionGracePeriodSeconds": 30 if grace is None else grace}
        return self._write(of, old, merged(old, {"metadata": ending}))

    def remove(self, of: Collection, name: str) -> Object:
        """Remove an object, and what it owned."""
        old = self.get(of, name)
        last = self._write(of, old, None)
        self._collect_garbage(old["metadata"]["uid"])
        return last

    def _collect_garbage(self, owner: str) -> None:
        owned = [
            (of, name)
            for of, objects in self.objects.items()
            for name, each in objects.items()
            if any(reference["uid"] == owner for reference in each["metadata"].get("ownerReferences", ()))
        ]
        for of, name in owned:
            self.remove(of, name)

    def _write(self, of: Collection, old: Object | None, new: Object | None) -> Object:
        self.revision += 1
        latest = new if new is not None else old
        assert latest is not None
        latest = {**latest, "metadata": {**latest["metadata"], "resourceVersion": str(self.revision)}}
        if new is None:
            del self.collection(of)[latest["metadata"]["name"]]
            self.history.append(Change(self.revision, of, latest, None))
        else:
            self.collection(of)[latest["metadata"]["name"]] = latest
            self.history.append(Change(self.revision, of, old, latest))
        return latest


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def matches(selectors: Mapping[str, str], each: Object | None) -> bool:
    """Whether an object has the labels and fields asked for: `a=b`, `a==b`, `a!=b`, or a label's name alone."""
    if each is None:
        return False
    labels = each["metadata"].get("labels", {})
    wanted = [part for part in selectors.get("labelSelector", "").split(",") if part]
    fields = [part for part in selectors.get("fieldSelector", "").split(",") if part]
    return all(_holds(part, labels.get) for part in wanted) and all(
        _holds(part, lambda p: _field(each, p)) for part in fields
    )


def _holds(requirement: str, look_up: Any) -> bool:
    if "!=" in requirement:
        key, _, value = requirement.partition("!=")
        return look_up(key) != value
    key, equals, value = requirement.partition("=")
    return look_up(key) == value.removeprefix("=") if equals else look_up(key) is not None


def _field(each: Object, path: str) -> Any:
    value: Any = each
    for key in path.split("."):
        value = value.get(key, {})
    return value


def _on_a_node(of: Collection, each: Object) -> bool:
    return (
        of[1] == "pods"
        and "nodeName" in each.get("spec", {})
        and each.get("status", {}).get("phase") not in ("Succeeded", "Failed")
    )


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
