"""The oracle is the launcher of gateway_provisioners: what it seals is read. Whatever else comes is explained."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.launchers import seal, server_listener
from wire_messages import accepts_or_explains, damaged, json_objects, json_values

from enterprise_gateway.agent.unseal import make_unseal
from enterprise_gateway.backends.report_key import make_report_key
from enterprise_gateway.core.records import ConnectionInfo
from enterprise_gateway.errors import ProtocolError
from enterprise_gateway.wire.launcher import MAX_REPORT, LauncherReport, decode_report, encode_signal

KERNEL = "5e755458-a114-4215-96b7-bcb016fc7b62"
HMAC_KEY = "the-key-of-the-kernel's-messages"
PORTS = {"shell_port": 1, "iopub_port": 50001, "stdin_port": 50002, "control_port": 50003, "hb_port": 65535}
FILE = {**PORTS, "key": HMAC_KEY, "ip": "0.0.0.0", "transport": "tcp", "signature_scheme": "hmac-sha256"}
REPORT = {**FILE, "kernel_name": "", "pid": 17, "pgid": 16, "comm_port": 50006, "kernel_id": KERNEL}
EXPECTED = LauncherReport(kernel_id=KERNEL, connection=ConnectionInfo(key=HMAC_KEY, **PORTS), comm_port=50006)


KEY = make_report_key()
unseal = make_unseal(KEY.private.reveal())


def opened(_: bytes, text: bytes) -> bytes:
    """For reports that are not sealed at all."""
    return text


def unsealed(info: object, version: object = 1) -> bytes:
    """A report whose inner text is in nothing but base64."""
    inner = base64.b64encode(json.dumps(info).encode()).decode()
    return base64.b64encode(json.dumps({"version": version, "key": "", "conn_info": inner}).encode())


def test_what_a_real_launcher_seals_is_read():
    assert decode_report(seal(json.dumps(REPORT).encode(), KEY.public), unseal) == EXPECTED


def test_the_connection_file_of_a_real_launcher_is_what_is_read(tmp_path):
    file = tmp_path / "connection.json"
    listener = server_listener.ServerListener(str(file), 17, 0, 0, "127.0.0.1:1", KERNEL, KEY.public)
    comm_port = listener.build_connection_file()
    chosen = json.loads(file.read_text())
    report = decode_report(listener._encrypt(json.dumps(chosen | {"kernel_id": KERNEL}).encode()), unseal)
    assert report.connection.ports == tuple(
        chosen[f"{name}_port"] for name in ("shell", "iopub", "stdin", "control", "hb")
    )
    assert (report.connection.key, report.comm_port) == (chosen["key"], None)
    assert comm_port not in report.connection.ports


def test_what_scala_writes_is_read():
    """Its JSON has line breaks, its process id is a string, and it names no group."""
    info = {name: value for name, value in REPORT.items() if name != "pgid"} | {"pid": "17"}
    envelope = json.loads(base64.b64decode(seal(json.dumps(info).encode(), KEY.public)))
    assert decode_report(base64.b64encode(json.dumps(envelope, indent=2).encode()), unseal) == EXPECTED


def test_wherever_a_launcher_says_that_it_listens_it_is_asked_on_the_loopback():
    assert decode_report(unsealed(REPORT | {"ip": "203.0.113.7"}), opened) == EXPECTED


def test_a_launcher_need_not_take_signals():
    for info in ({**REPORT, "comm_port": None}, {name: value for name, value in REPORT.items() if name != "comm_port"}):
        assert decode_report(unsealed(info), opened).comm_port is None


def test_what_is_not_known_is_skipped():
    assert decode_report(unsealed(REPORT | {"curve_publickey": "x", "more": [{}]}), opened) == EXPECTED


@pytest.mark.parametrize("port", [0, -1, 65536, 1.5, "50001", True, None, 1 << 70])
@pytest.mark.parametrize("name", [*PORTS, "comm_port"])
def test_a_port_is_a_port(name, port):
    if (name, port) == ("comm_port", None):
        return
    with pytest.raises(ProtocolError, match=f"'conn_info' .*{name}"):
        decode_report(unsealed(REPORT | {name: port}), opened)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"kernel_id": 7}, "kernel_id"),
        ({"key": ""}, "key"),
        ({"key": None}, "key"),
        ({"transport": "ipc"}, "'transport' must be 'tcp'"),
        ({"signature_scheme": "hmac-rot13"}, "signature scheme 'hmac-rot13'"),
    ],
)
def test_what_cannot_be_used_is_named(change, told):
    with pytest.raises(ProtocolError, match=told):
        decode_report(unsealed(REPORT | change), opened)


@pytest.mark.parametrize("name", [*PORTS, "key", "kernel_id"])
def test_what_is_missing_is_named(name):
    with pytest.raises(ProtocolError, match=name):
        decode_report(unsealed({other: value for other, value in REPORT.items() if other != name}), opened)


@pytest.mark.parametrize("version", [0, 2, -1])
def test_another_version_is_named(version):
    with pytest.raises(ProtocolError, match=f"of version {version}; 1 is supported"):
        decode_report(unsealed(REPORT, version), opened)


def test_version_0_is_recognised():
    """It was base64 of AES under the kernel's id, and no JSON outside of that."""
    with pytest.raises(ProtocolError, match="version 0, of old launchers, is not supported"):
        decode_report(base64.b64encode(bytes(range(128, 256))), unseal)


def test_what_is_sealed_for_another_kernel_is_refused():
    with pytest.raises(ProtocolError):
        decode_report(seal(json.dumps(REPORT).encode(), make_report_key().public), unseal)


def test_a_report_has_a_limit():
    with pytest.raises(ProtocolError, match=f"longer than {MAX_REPORT} bytes"):
        decode_report(b"A" * (MAX_REPORT + 1), unseal)


def read_sealed(payload: bytes) -> LauncherReport:
    return decode_report(payload, unseal)


def read_opened(payload: bytes) -> LauncherReport:
    return decode_report(payload, opened)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_explained(payload):
    for report in (payload, base64.b64encode(payload), seal(payload, KEY.public)):
        accepts_or_explains(read_sealed, report)


@given(json_objects, st.dictionaries(st.sampled_from(sorted(REPORT)), json_values))
def test_any_json_is_read_or_explained(anything, change):
    for report in (base64.b64encode(json.dumps(anything).encode()), unsealed(anything), unsealed(REPORT | change)):
        accepts_or_explains(read_opened, report)


SEALED = seal(json.dumps(REPORT).encode(), KEY.public)


@given(damaged(st.just(SEALED)) | damaged(st.just(base64.b64decode(SEALED))).map(base64.b64encode))
def test_a_damaged_report_is_read_or_explained(payload):
    accepts_or_explains(read_sealed, payload)


@pytest.mark.parametrize("change", [{"key": [HMAC_KEY]}, {"kernel_id": [HMAC_KEY]}, {"shell_port": HMAC_KEY}])
def test_no_explanation_quotes_a_value(change):
    with pytest.raises(ProtocolError) as refused:
        decode_report(unsealed(REPORT | change), opened)
    assert HMAC_KEY not in str(refused.value)


@pytest.mark.parametrize("nested", ["[" * 40_000, '{"a":' * 8_000, '{"version": 1, "a": ' + "[" * 40_000])
def test_deep_nesting_is_explained(nested):
    inner = json.dumps({"version": 1, "key": "", "conn_info": base64.b64encode(nested[:30_000].encode()).decode()})
    for report in (nested, inner):
        accepts_or_explains(read_opened, base64.b64encode(report.encode()))


@pytest.mark.parametrize("signum", [2, 12])
def test_a_signal_is_what_a_launcher_reads(signum):
    assert json.loads(encode_signal(signum)) == {"signum": signum}
