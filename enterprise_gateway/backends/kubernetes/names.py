"""Names and labels of kernel pods, made from text that strangers chose.

Two laws hold for any Unicode: a name is always a valid DNS-1123 label (RFC 1123; 63 characters, which also is what a
pod's host name takes), and kernels of different ids never share one. The second is so because every name holds its
kernel's id whole, and 63 characters have no room for two different UUIDs, not even overlapping ones. Pure.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping

MAX_LABEL = 63
"""Characters of a DNS-1123 label, and of a Kubernetes label's value."""

_HASH_CHARS = 10
_MARK = "--"
"""What stands before a hash; never part of the readable half before it."""

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_HASHED = re.compile(rf".*{_MARK}[a-z2-7]{{{_HASH_CHARS}}}")
_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
_NOT_IN_LABEL_VALUES = re.compile(r"[^A-Za-z0-9_.]+")
_VARIABLE = re.compile(r"\{\{\s*([A-Za-z][A-Za-z0-9_]*)\s*\}\}")


def pod_name(username: str, kernel_id: str, template: str = "", variables: Mapping[str, str] | None = None) -> str:
    """The name of a kernel's pod: `alice-5e755458-a114-4215-96b7-bcb016fc7b62`.

    A user name that is no valid label, or longer than 26 characters, is changed, and a hash of it follows, so that
    different users' names stay different: `j-doe--k3v7q2mwxa-5e755458-…`.

    Args:
        username: any text.
        kernel_id: a UUID in its canonical form.
        template: KERNEL_POD_NAME, with `{{ kernel_… }}` where a variable belongs; one that is empty, or names
            anything that is not among `variables`, gives the default name (EG's rule). The kernel's id is put
            behind what does not hold it.
        variables: the kernel's `KERNEL_*` variables, upper case; `kernel_id` is always known.
    """
    wanted = _rendered(template, _lower_names(variables or {}) | {"kernel_id": kernel_id})
    chosen = _NOT_IN_NAMES.sub("-", wanted.lower()).strip("-")
    if not chosen:
        chosen = username
    elif kernel_id in chosen and len(chosen) <= MAX_LABEL:
        return chosen
    else:
        chosen = chosen.replace(kernel_id, "").strip("-")
    room = MAX_LABEL - len(kernel_id) - 1
    if not _NAME.fullmatch(chosen) or len(chosen) > room or _HASHED.fullmatch(chosen):
        chosen = _with_hash(chosen, _NOT_IN_NAMES.sub("-", chosen.lower()), room)
    return f"{chosen}-{kernel_id}"


def label_value(text: str) -> str:
    """Any text as a label's value; different texts give different values, and what is valid stays as it is."""
    if not text:
        return ""
    if _LABEL_VALUE.fullmatch(text) and len(text) <= MAX_LABEL and not _HASHED.fullmatch(text):
        return text
    return _with_hash(text, _NOT_IN_LABEL_VALUES.sub("-", text), MAX_LABEL)


def _rendered(template: str, variables: Mapping[str, str]) -> str:
    """The template with its variables filled in; empty when that cannot be done."""
    if not all(name in variables for name in _VARIABLE.findall(template)):
        return ""
    if "{{" in _VARIABLE.sub("", template):
        return ""
    return _VARIABLE.sub(lambda match: variables[match[1]], template)


def _lower_names(variables: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in variables.items() if name.startswith("KERNEL_")}


def _with_hash(text: str, readable: str, room: int) -> str:
    """`readable`, which may begin and end with anything, cut to leave space for a hash of `text`."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    made = base64.b32encode(digest).decode().lower()[:_HASH_CHARS]
    return f"{readable.strip('-_.')[: room - len(_MARK) - len(made)].rstrip('-_.') or 'user'}{_MARK}{made}"
