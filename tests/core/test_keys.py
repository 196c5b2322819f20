"""Secrets come from one master key: the same everywhere, of no use for anything else, and rotated without a gap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enterprise_gateway.core.keys import KEY_BYTES, MasterKeys, key_id
from enterprise_gateway.core.records import KernelRecord
from enterprise_gateway.errors import ConfigError

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
KERNEL = "5f0c2e1a-9a3b-4c57-8a61-0d2f6f1f7b90"


def test_secrets_are_the_same_in_every_process_and_every_release() -> None:
    """Kernels outlive gateways: what this release derives, the next one must derive, too."""
    secrets = MasterKeys([OLD]).secrets(key_id(OLD), KERNEL)
    assert key_id(OLD) == "630dcd2966c4"
    assert secrets.token.reveal() == "2ff4bf49e97956398ca0c1a31abe080b1c10b86cb498d24dada0e4e5294e43ac"
    assert secrets.hmac_key.reveal() == "4e02fe72640131097b9663a79183d01e6c3eda31647f5b7165d6d6340c8712ab"


def test_no_two_secrets_are_the_same() -> None:
    keys = MasterKeys([NEW, OLD])
    made = [
        getattr(keys.secrets(key_id(key), kernel_id), purpose).reveal()
        for key in (OLD, NEW)
        for kernel_id in (KERNEL, KERNEL.replace("5", "6"))
        for purpose in ("token", "hmac_key")
    ]
    assert len(set(made)) == len(made)
    assert all(len(bytes.fromhex(secret)) == KEY_BYTES for secret in made)


def test_a_new_key_in_front_is_for_new_kernels_and_old_kernels_keep_theirs() -> None:
    before, after = MasterKeys([OLD]), MasterKeys([NEW, OLD])
    assert after.newest_id == key_id(NEW)
    assert after.knows(before.newest_id)
    assert after.secrets(before.newest_id, KERNEL) == before.secrets(before.newest_id, KERNEL)


def test_a_key_that_was_taken_out_is_not_known() -> None:
    assert not MasterKeys([NEW]).knows(key_id(OLD))


def record(kernel_id: str = KERNEL, created: float = 1.5, key: bytes = OLD) -> KernelRecord:
    return KernelRecord(
        kernel_id=kernel_id,
        spec_name="",
        backend="",
        owner="",
        username="",
        created=created,
        deadline=0.0,
        key_id=key_id(key),
    )


def test_the_capability_for_a_spark_ui_is_of_one_kernel_and_one_start() -> None:
    keys = MasterKeys([NEW, OLD])
    others = [record(KERNEL.replace("5", "6")), record(created=1.6), record(key=NEW)]
    made = {keys.spark_ui_capability(each).reveal() for each in (record(), *others)}
    assert len(made) == 4
    secrets = keys.secrets(key_id(OLD), KERNEL)
    assert not made & {secrets.token.reveal(), secrets.hmac_key.reveal(), secrets.tls_seed.reveal()}


def test_the_capability_is_the_same_in_every_process_and_every_release() -> None:
    capability = MasterKeys([OLD]).spark_ui_capability(record())
    assert capability.reveal() == "7717a7abbddea47b067d0f37449bfa1a74e269cd4cac7c8fd30027d56f44ee59"
    assert capability.reveal() not in repr(capability)


def test_neither_keys_nor_secrets_show_in_a_repr() -> None:
    keys = MasterKeys([OLD])
    secrets = keys.secrets(keys.newest_id, KERNEL)
    shown = repr(keys) + repr(secrets) + str(secrets.token)
    assert OLD.hex() not in shown
    assert secrets.token.reveal() not in shown
    assert secrets.hmac_key.reveal() not in shown


@pytest.mark.parametrize("text", ["{new}\n{old}\n", "{new}\n{old}", "\n  {new}\r\n\n{old} \n", "{NEW}\n{OLD}"])
def test_a_file_holds_one_key_a_line_newest_first(text: str) -> None:
    lines = {"new": NEW.hex(), "old": OLD.hex(), "NEW": NEW.hex().upper(), "OLD": OLD.hex().upper()}
    keys = MasterKeys.parse(text.format_map(lines))
    assert keys.newest_id == key_id(NEW)
    assert keys.knows(key_id(OLD))


@pytest.mark.parametrize("text", ["", "\n", " \n\t\n"])
def test_a_file_without_a_key_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="64 hexadecimal digits"):
        MasterKeys.parse(text)


@pytest.mark.parametrize(
    "line", ["5ec2e7", "zz" * 32, "ab" * 31, "ab" * 33, "0x" + "ab" * 31, "ab " * 31, "# comment", "é" * 64]
)
def test_a_line_that_is_no_key_is_named_by_its_number_and_never_quoted(line: str) -> None:
    with pytest.raises(ConfigError, match="Line 3") as refused:
        MasterKeys.parse(f"{NEW.hex()}\n\n{line}\n")
    assert line not in str(refused.value)
    assert NEW.hex() not in str(refused.value)


@given(st.lists(st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES), min_size=1, max_size=4, unique=True))
def test_a_file_of_keys_reads_as_those_keys(keys: list[bytes]) -> None:
    read = MasterKeys.parse("\n".join(key.hex() for key in keys))
    assert read.newest_id == key_id(keys[0])
    assert all(read.knows(key_id(key)) for key in keys)


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        MasterKeys.parse(text)
    except ConfigError:
        return
