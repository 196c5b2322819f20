"""Records are read by other replicas, some of another version, so their JSON is a promise."""

from __future__ import annotations

import json

import msgspec
import pytest

from enterprise_gateway.core.records import ConnectionInfo, EndReport, KernelRecord, SessionRecord

RECORD = KernelRecord(
    kernel_id="00000000-0000-4000-8000-000000000001",
    spec_name="python3",
    backend="local",
    owner="ann",
    username="ann",
    created=1.5,
    deadline=61.5,
    key_id="0123456789ab",
    sessions=(SessionRecord("s1", "a/b.ipynb", "b.ipynb", "notebook"),),
)
CONNECTION = ConnectionInfo(shell_port=1, iopub_port=2, stdin_port=3, control_port=4, hb_port=5, key="k")


@pytest.mark.parametrize("value", [RECORD, CONNECTION, EndReport(reason="it died", time=2.0, exit_code=-9)])
def test_what_one_replica_writes_another_reads(value):
    assert msgspec.json.decode(msgspec.json.encode(value), type=type(value)) == value


def test_a_record_of_a_newer_version_is_read():
    newer = json.loads(msgspec.json.encode(RECORD)) | {"colour": "blue"}
    assert msgspec.json.decode(json.dumps(newer), type=KernelRecord) == RECORD


def test_a_record_is_changed_by_making_another():
    with pytest.raises(AttributeError):
        RECORD.owner = "bob"
    assert hash(RECORD) == hash(msgspec.structs.replace(RECORD))


def test_a_connection_file_is_one_that_kernels_read():
    """https://jupyter-client.readthedocs.io/en/stable/kernels.html#connection-files"""
    assert json.loads(msgspec.json.encode(CONNECTION)) == {
        "shell_port": 1,
        "iopub_port": 2,
        "stdin_port": 3,
        "control_port": 4,
        "hb_port": 5,
        "ip": "127.0.0.1",
        "transport": "tcp",
        "key": "k",
        "signature_scheme": "hmac-sha256",
        "kernel_name": "",
    }
    assert CONNECTION.ports == (1, 2, 3, 4, 5)
