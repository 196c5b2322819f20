"""Files that other processes read: whole or not at all, and for their owner alone."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Write `content` to `path` (mode 0600) so that a reader sees the old content or the new, never a part.

    Raises:
        OSError: nothing was changed; a full disk, for example.
    """
    # A random name: two writers may share a process id, in containers or after a crash.
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    try:
        write_new(temporary, content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def write_new(path: Path, content: bytes) -> None:
    """Create `path` (mode 0600) with `content`.

    Raises:
        FileExistsError: it is there already.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
