from __future__ import annotations

import os
import threading

import pytest

from enterprise_gateway.files import replace_file, write_new


@pytest.fixture(params=[0o000, 0o077])
def _umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_umask")
@pytest.mark.parametrize("write", [replace_file, write_new])
def test_a_file_is_for_its_owner_alone(tmp_path, write):
    write(tmp_path / "f", b"secret")
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o600


def test_a_replaced_file_was_for_its_owner_alone_at_every_moment(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    path.chmod(0o644)
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_is_there_is_not_written_over_as_new(tmp_path):
    (tmp_path / "f").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"old"


def test_a_failed_replacement_leaves_the_old_content_and_nothing_else(tmp_path):
    (tmp_path / "f").mkdir()
    with pytest.raises(OSError, match="directory"):
        replace_file(tmp_path / "f", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        replace_file(tmp_path / "none" / "f", b"x")


def test_a_reader_never_sees_a_part_and_writers_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "f"
    contents = [bytes([letter]) * 100_000 for letter in b"abcd"]
    replace_file(path, contents[0])
    failures: list[BaseException] = []

    def write(content: bytes) -> None:
        try:
            for _ in range(50):
                replace_file(path, content)
        except OSError as error:
            failures.append(error)

    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert path.read_bytes() in contents
    for writer in writers:
        writer.join()
    assert not failures
    assert [left.name for left in tmp_path.iterdir()] == ["f"]
