from __future__ import annotations

import itertools

import pytest

from enterprise_gateway.core.keys import KEY_BYTES, KernelSecrets, MasterKeys, key_id
from enterprise_gateway.errors import ConfigError

OLD, NEW = b"\x01" * KEY_BYTES, b"\x02" * KEY_BYTES
KERNELS = ["00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"]


def secrets_of(keys: MasterKeys, kernel_id: str = KERNELS[0]) -> KernelSecrets:
    return keys.secrets(keys.newest_id, kernel_id)


def test_every_replica_derives_the_same_secrets():
    assert secrets_of(MasterKeys([NEW])) == secrets_of(MasterKeys.parse(NEW.hex() + "\n"))


def test_secrets_stay_what_they_were_in_earlier_versions():
    """A gateway of the next version must reach the kernels that this one started. (RFC 5869, computed by hand.)"""
    secrets = secrets_of(MasterKeys([OLD]))
    assert secrets.token.reveal() == "6bed8b93ff9dd1580331d687d9d5ff37b9b1e2bb7da264a8b1064b457967ed27"
    assert secrets.hmac_key.reveal() == "a14e9cd13721c1dbe9c3ee509775bce310a40d3655995dc84054e62389e6d7cd"


def test_no_two_secrets_are_the_same():
    tables = [MasterKeys([OLD]), MasterKeys([NEW])]
    secrets = [secrets_of(keys, kernel_id) for keys, kernel_id in itertools.product(tables, KERNELS)]
    texts = [secret.reveal() for each in secrets for secret in (each.token, each.hmac_key)]
    assert len(set(texts)) == len(texts) == 8


def test_kernels_of_an_older_key_are_still_reached_after_a_rotation():
    before, after = MasterKeys([OLD]), MasterKeys([NEW, OLD])
    assert after.newest_id == key_id(NEW) != before.newest_id
    assert after.knows(before.newest_id)
    assert after.secrets(before.newest_id, KERNELS[0]) == secrets_of(before)
    assert not before.knows(after.newest_id)


def test_a_key_file_may_have_blank_lines_and_white_space():
    keys = MasterKeys.parse(f"\n{NEW.hex().upper()}  \n\n\t{OLD.hex()}\r\n")
    assert keys.newest_id == key_id(NEW)
    assert keys.knows(key_id(OLD))


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_a_file_without_a_key_is_refused(text):
    with pytest.raises(ConfigError, match="no key"):
        MasterKeys.parse(text)


@pytest.mark.parametrize("line", ["zz" * 32, "ab" * 31, "ab" * 33, "not-hex", "é" * 64])
def test_a_bad_line_is_named_by_its_number_and_never_quoted(line):
    with pytest.raises(ConfigError, match="Line 2") as caught:
        MasterKeys.parse(f"{OLD.hex()}\n{line}\n")
    assert line not in str(caught.value)


def test_no_secret_is_in_a_repr():
    keys = MasterKeys([OLD])
    assert OLD.hex() not in repr(keys)
    assert secrets_of(keys).token.reveal() not in repr(secrets_of(keys))
