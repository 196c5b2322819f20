from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections.abc import Callable

import msgspec
import pytest
from local_parts import new_config, new_id, new_record

from enterprise_gateway.backends.local.folder import (
    AGENT_CONFIG,
    AGENT_PID,
    KERNEL_LOG,
    LOG_TAIL,
    MAX_SOCKET_PATH,
    RECORD,
    StateFolder,
)
from enterprise_gateway.core.records import EndReport, KernelRecord
from enterprise_gateway.errors import ConfigError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")


def claimed(folder: StateFolder) -> str:
    record = new_record()
    assert folder.claim(record, new_config(record))
    return record.kernel_id


def owned_by(name: str) -> Callable[[KernelRecord], KernelRecord]:
    """A change of a record."""
    return lambda record: msgspec.structs.replace(record, owner=name)


# The folder itself.


def test_everything_is_for_its_owner_alone(folder):
    kernel_id = claimed(folder)
    assert {path.stat().st_mode & 0o077 for path in [folder.root, *folder.root.rglob("*")]} == {0}
    assert (folder.of(kernel_id) / AGENT_CONFIG).stat().st_mode & 0o777 == 0o600


def test_a_folder_that_was_open_to_others_is_closed(root):
    (root / "s").mkdir()
    (root / "s").chmod(0o755)
    StateFolder(root / "s").prepare()
    assert (root / "s").stat().st_mode & 0o777 == 0o700


@as_root
@pytest.mark.parametrize("name", ["s", "s/kernels"])
def test_somebody_elses_folder_is_refused(root, name):
    (root / name).mkdir(parents=True)
    os.chown(root / name, 12345, 12345)
    with pytest.raises(ConfigError, match="belongs to somebody else"):
        StateFolder(root / "s").prepare()


def test_a_file_in_its_place_is_refused_with_the_name_of_the_setting(root):
    (root / "s").write_text("")
    with pytest.raises(ConfigError, match="EG_STATE_DIR"):
        StateFolder(root / "s").prepare()


# Sockets.


def test_where_paths_are_short_sockets_lie_with_their_kernels(folder):
    kernel_id = new_id()
    assert folder.socket(kernel_id).parent == folder.of(kernel_id)


@pytest.fixture
def deep(root):
    """A state folder too deep for sockets in it."""
    made = StateFolder(root / ("d" * 120))
    yield made
    made.socket(new_id()).parent.rmdir()


def test_where_paths_are_too_long_sockets_lie_elsewhere_where_they_can_be_bound(deep):
    deep.prepare()
    path = deep.socket(new_id())
    assert len(os.fsencode(path)) <= MAX_SOCKET_PATH
    assert path.parent.stat().st_mode & 0o777 == 0o700
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    path.unlink()


def test_two_deep_state_folders_do_not_share_their_sockets_and_one_always_finds_its_own(root, deep):
    deep.prepare()
    kernel_id = new_id()
    assert StateFolder(deep.root).socket(kernel_id) == deep.socket(kernel_id)
    assert StateFolder(root / ("e" * 120)).socket(kernel_id) != deep.socket(kernel_id)


def test_a_socket_folder_that_is_a_link_is_refused(root, deep):
    """Anybody can make one in /tmp, and point it elsewhere later."""
    sockets = deep.socket(new_id()).parent
    (root / "ours").mkdir()
    sockets.symlink_to(root / "ours")
    try:
        with pytest.raises(ConfigError, match="EG_STATE_DIR"):
            deep.prepare()
    finally:
        sockets.unlink()
        sockets.mkdir()


# Claims.


def test_a_claim_leaves_a_record_a_configuration_and_a_connection_file(folder):
    record = new_record()
    config = new_config(record)
    assert folder.claim(record, config)
    kernel_id = record.kernel_id
    assert folder.kernel_ids() == [kernel_id]
    assert folder.record(kernel_id) == record
    assert folder.ports(kernel_id) == (1, 2, 3, 4, 5)
    assert folder.connection_file(kernel_id).name == f"kernel-{kernel_id}.json"
    assert msgspec.json.decode(folder.connection_file(kernel_id).read_bytes())["key"] == "k"


def test_of_many_who_claim_an_id_one_has_it_and_nothing_is_left_of_the_others(folder):
    record = new_record()
    start, won = threading.Barrier(8), []

    def claim() -> None:
        start.wait()
        won.append(folder.claim(record, new_config(record)))

    claimants = [threading.Thread(target=claim) for _ in range(8)]
    for claimant in claimants:
        claimant.start()
    for claimant in claimants:
        claimant.join()
    assert sorted(won) == [False] * 7 + [True]
    assert [path.name for path in folder.kernels.iterdir()] == [record.kernel_id]


def test_what_a_claim_that_was_cut_off_left_behind_is_no_obstacle(folder):
    """In a container every gateway has the same process id."""
    record = new_record()
    for suffix in (f"-{os.getpid()}", "", "-1"):
        (folder.kernels / f".new-{record.kernel_id}{suffix}").mkdir()
    assert folder.claim(record, new_config(record))


def test_a_claim_that_cannot_be_written_is_an_error_and_leaves_nothing(folder):
    folder.kernels.rmdir()
    with pytest.raises(OSError, match="No such file"):
        claimed(folder)
    assert list(folder.root.iterdir()) == []


def test_an_unfinished_claim_is_no_kernel_and_is_found_once_it_is_old(folder):
    claimed(folder)
    unfinished = folder.kernels / f".new-{new_id()}-1"
    unfinished.mkdir()
    assert len(folder.kernel_ids()) == 1
    assert folder.unfinished(before=time.time() - 60) == []
    assert folder.unfinished(before=time.time() + 60) == [unfinished]


# What is read and written later.


def test_a_changed_record_has_another_stamp_however_quickly_it_was_changed(folder):
    kernel_id = claimed(folder)
    stamps = [folder.record_stamp(kernel_id)]
    for number in range(200):
        folder.change_record(kernel_id, owned_by(f"owner-{number}"))
        stamps.append(folder.record_stamp(kernel_id))
    assert all(before != after for before, after in itertools.pairwise(stamps))
    assert folder.record(kernel_id).owner == "owner-199"


def test_of_changes_at_the_same_time_none_is_lost(folder):
    kernel_id = claimed(folder)
    folder.change_record(kernel_id, owned_by(""))

    def change() -> None:
        for _ in range(50):
            folder.change_record(kernel_id, lambda record: owned_by(record.owner + "x")(record))

    gateways = [threading.Thread(target=change) for _ in range(4)]
    for gateway in gateways:
        gateway.start()
    for gateway in gateways:
        gateway.join()
    assert folder.record(kernel_id).owner == "x" * 200


def test_a_change_that_fails_changes_nothing(folder):
    kernel_id = claimed(folder)
    before = folder.record(kernel_id)
    with pytest.raises(ZeroDivisionError):
        folder.change_record(kernel_id, lambda _: 1 / 0)
    assert folder.change_record(kernel_id, lambda record: record) == before
    assert folder.change_record(new_id(), lambda record: record) is None


def test_what_is_not_there_is_nothing(folder):
    kernel_id = new_id()
    assert folder.record(kernel_id) is None
    assert folder.end(kernel_id) is None
    assert folder.ports(kernel_id) == ()
    assert folder.pid(kernel_id, AGENT_PID) == 0
    assert folder.log_tail(kernel_id, KERNEL_LOG) == ""


def test_what_makes_no_sense_is_nothing(folder):
    kernel_id = claimed(folder)
    (folder.of(kernel_id) / RECORD).write_text('{"kernel_id": 1}')
    (folder.of(kernel_id) / AGENT_PID).write_text("x")
    assert folder.record(kernel_id) is None
    assert folder.pid(kernel_id, AGENT_PID) == 0


def test_an_end_is_read_as_it_was_written(folder):
    kernel_id = claimed(folder)
    report = EndReport(reason="it died", time=1.5, exit_code=-9, log_tail="é")
    folder.write_end(kernel_id, report)
    assert folder.end(kernel_id) == report


def test_of_a_long_log_the_end_is_shown_whatever_its_bytes(folder):
    kernel_id = claimed(folder)
    (folder.of(kernel_id) / KERNEL_LOG).write_bytes(b"\xff" * LOG_TAIL + b"the end")
    tail = folder.log_tail(kernel_id, KERNEL_LOG)
    assert tail.endswith("the end")
    assert len(tail) == LOG_TAIL


def test_a_removed_kernel_leaves_nothing_and_its_id_is_free(folder):
    record = new_record()
    for _ in range(2):
        assert folder.claim(record, new_config(record))
        folder.socket(record.kernel_id).write_text("")
        folder.remove(record.kernel_id)
        assert list(folder.kernels.iterdir()) == []


def test_removing_what_is_not_there_is_done_already(folder):
    folder.remove(new_id())
