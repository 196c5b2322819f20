"""A full disk under the state folder: starts are refused and leave nothing, all else goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.channels import Channels
from support.gateway import Gateway
from support.rest import Rest, answer_of, assert_error
from support.specs import NULL
from support.wait import eventually

DISK = "256k"
PAGE = 4096
"""Bytes a file takes at least on the small disk."""
PAGES_OF_A_START = 10
"""More than a start writes before its answer."""


@pytest.fixture(scope="module")
def small_disk() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="eg-disk-", dir="/tmp"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=700", "tmpfs", str(folder)]
    try:
        if os.geteuid() != 0 or shutil.which("mount") is None:
            pytest.skip("only root can mount a small disk")
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
        if mounted.returncode != 0:
            pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
        yield folder
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
    finally:
        folder.rmdir()


@pytest.fixture(scope="module")
def on_small_disk(small_disk: Path) -> Iterator[Gateway]:
    with Gateway(kernelspecs={"null": NULL}, EG_STATE_DIR=str(small_disk)) as gateway:
        gateway.state_dir = small_disk
        yield gateway.start()


@pytest.fixture
def filler(small_disk: Path) -> Iterator[Path]:
    """A file to fill the disk with."""
    path = small_disk / "filler"
    yield path
    path.unlink(missing_ok=True)


def fill(filler: Path, *, spare: int = 0) -> None:
    """Leaves `spare` pages free."""
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(PAGE))
        except OSError:
            file.truncate(max(file.tell() - spare * PAGE, 0))


def left_over(gateway: Gateway, *known: str) -> list[str]:
    """Folders of kernels that are not `known`."""
    return [path.name for path in (gateway.state_dir / "kernels").iterdir() if path.name not in known]


def start(rest: Rest) -> str | None:
    """Starts a kernel; None when it was refused the way a full disk must be."""
    answer = rest.post("/api/kernels", json={"name": "null"})
    if answer.status_code == 201:
        return str(answer.json()["id"])
    assert_error(answer, 503, "space")
    assert int(answer.headers["Retry-After"]) > 0
    return None


def test_on_a_full_disk_starts_are_refused_kernels_go_on_and_deletes_work(on_small_disk: Gateway, filler: Path) -> None:
    rest = on_small_disk.rest
    kept, deleted = rest.start_kernel("null"), rest.start_kernel("null")
    fill(filler)
    assert start(rest) is None
    assert left_over(on_small_disk, kept, deleted) == []
    assert rest.kernel_ids() == {kept, deleted}
    with Channels.of(on_small_disk, kept) as client:
        assert client.execute("nothing").reply["status"] == "ok"
    assert rest.post(f"/api/kernels/{kept}/restart").status_code == 200
    with Channels.of(on_small_disk, kept) as client:
        assert client.execute("nothing").reply["status"] == "ok"
    fill(filler)
    rest.shut_down(deleted)
    assert rest.kernel_ids() == {kept}
    filler.unlink()
    recovered = rest.start_kernel("null")
    assert rest.kernel_ids() == {kept, recovered}
    rest.shut_down(kept)
    rest.shut_down(recovered)


def test_a_disk_that_fills_up_at_any_moment_of_a_start_leaves_a_kernel_or_nothing(
    on_small_disk: Gateway, filler: Path
) -> None:
    rest = on_small_disk.rest
    before = len(on_small_disk.processes())
    outcomes = []
    for spare in range(PAGES_OF_A_START + 1):
        fill(filler, spare=spare)
        kernel_id = start(rest)
        outcomes.append(kernel_id is not None)
        if kernel_id is not None:
            with Channels.of(on_small_disk, kernel_id) as client:
                assert client.execute("nothing").reply["status"] == "ok"
            rest.shut_down(kernel_id)
        eventually(lambda: left_over(on_small_disk) == [])
        eventually(lambda: len(on_small_disk.processes()) == before)
        assert rest.kernel_ids() == set()
    assert outcomes[0] is False
    assert outcomes[-1] is True


def test_a_session_cannot_be_renamed_on_a_full_disk_and_keeps_its_name(on_small_disk: Gateway, filler: Path) -> None:
    rest = on_small_disk.rest
    body = {"path": "a.ipynb", "type": "notebook", "kernel": {"name": "null"}}
    session = answer_of(rest.post("/api/sessions", json=body))
    fill(filler)
    assert_error(rest.patch(f"/api/sessions/{session['id']}", json={"path": "b.ipynb"}), 503, "space")
    assert answer_of(rest.get(f"/api/sessions/{session['id']}"))["path"] == "a.ipynb"
    rest.shut_down(session["kernel"]["id"])
