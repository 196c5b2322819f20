"""The Secret that all replicas share: made once, read by everybody, and never quoted."""

from __future__ import annotations

import asyncio
import base64
import logging
from typing import Any

import pytest
from fakes.api_server import FakeApi

from enterprise_gateway.backends.kubernetes.api import KubernetesApi
from enterprise_gateway.backends.kubernetes.credentials import ensure_credentials
from enterprise_gateway.errors import BackendUnavailable, ConfigError

KEY = "ab" * 32


def encoded(text: str | bytes) -> str:
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


def add_secret(fake: FakeApi, **data: str) -> None:
    fake.add("secrets", {"metadata": {"name": "enterprise-gateway"}, "data": data})


async def test_racing_replicas_make_one_secret_and_all_read_it(
    fake: FakeApi, api: KubernetesApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    made = await asyncio.gather(*(ensure_credentials(api, fake.namespace) for _ in range(5)))
    later = await ensure_credentials(api, fake.namespace)
    assert len({each.token.reveal() for each in (*made, later)}) == 1
    assert len({each.keys.newest_id for each in (*made, later)}) == 1
    (secret,) = fake.secrets.values()
    assert secret["metadata"]["labels"]["app"] == "enterprise-gateway"
    assert later.token.reveal() not in caplog.text
    assert later.token.reveal() not in repr(later)


async def test_an_operators_secret_counts_with_its_newest_key_first(fake: FakeApi, api: KubernetesApi) -> None:
    older = "cd" * 32
    keys = {"master-key": encoded(f"{KEY}\n{older}\n"), "auth-token": encoded("of-the-operator\n")}
    add_secret(fake, **keys)
    read = await ensure_credentials(api, fake.namespace)
    assert read.token.reveal() == "of-the-operator"
    assert fake.requests["create", "secrets"] == 0
    (only_old,) = [await ensure_credentials(api, fake.namespace)]
    assert only_old.keys.newest_id == read.keys.newest_id


GOOD_KEY, GOOD_TOKEN = encoded(KEY), encoded("hunter2-hunter2")
WRONG: dict[str, tuple[dict[str, str], str]] = {
    "no key": ({"auth-token": GOOD_TOKEN}, "no key 'master-key'"),
    "no token": ({"master-key": GOOD_KEY}, "no key 'auth-token'"),
    "empty token": ({"master-key": GOOD_KEY, "auth-token": encoded(" \n")}, "'auth-token' .* is empty"),
    "short key": ({"master-key": encoded(KEY[:-2]), "auth-token": GOOD_TOKEN}, "Line 1 .*64 hexadecimal"),
    "no key at all": ({"master-key": encoded("\n"), "auth-token": GOOD_TOKEN}, "no key"),
    "not text": ({"master-key": encoded(b"\xff" + KEY.encode()), "auth-token": GOOD_TOKEN}, "'master-key' .*not text"),
}


@pytest.mark.parametrize(("data", "says"), WRONG.values(), ids=WRONG)
async def test_a_wrong_secret_is_named_and_not_quoted(
    fake: FakeApi, api: KubernetesApi, data: dict[str, str], says: str
) -> None:
    add_secret(fake, **data)
    with pytest.raises(ConfigError, match=says) as raised:
        await ensure_credentials(api, fake.namespace)
    assert KEY[:-2] not in str(raised.value)
    assert "hunter2" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("verb", ["get", "create"])
async def test_a_missing_right_is_named(fake: FakeApi, api: KubernetesApi, verb: str) -> None:
    words = (
        f'secrets is forbidden: User "x" cannot {verb} resource "secrets" in API group "" in the namespace "kernels"'
    )
    fake.faults.fail(verb, "secrets", 403, "Forbidden", words)
    with pytest.raises(ConfigError, match=f'cannot {verb} resource "secrets"'):
        await ensure_credentials(api, fake.namespace)


async def test_an_api_server_that_is_away_can_be_asked_again(fake: FakeApi, api: KubernetesApi) -> None:
    await fake.refuse()
    with pytest.raises(BackendUnavailable):
        await ensure_credentials(api, fake.namespace)
    await fake.accept()
    await ensure_credentials(api, fake.namespace)


async def test_a_secret_whose_creation_was_not_confirmed_is_read(fake: FakeApi, api: KubernetesApi) -> None:
    fake.faults.cut("create", "secrets")
    with pytest.raises(BackendUnavailable):
        await ensure_credentials(api, fake.namespace)
    read: Any = await ensure_credentials(api, fake.namespace)
    assert len(fake.secrets) == 1
    assert read.token.reveal()
