from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enterprise_gateway.core.timestamps import utc

JUPYTER_SERVER_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"
"""jupyter_server/gateway/managers.py parses `last_activity` by exactly this."""
YEAR_1970, YEAR_2100 = 0, 4_102_444_800


@given(st.integers(YEAR_1970 * 10**6, YEAR_2100 * 10**6))
def test_jupyter_server_reads_the_moment_that_was_meant(microseconds):
    parsed = datetime.datetime.strptime(utc(microseconds / 1e6), JUPYTER_SERVER_FORMAT)  # noqa: DTZ007 - as it does
    meant = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=microseconds)  # noqa: DTZ001
    assert abs(parsed - meant) <= datetime.timedelta(microseconds=1)


@pytest.mark.parametrize("timestamp", [0, 0.0, 1_700_000_000])
def test_a_whole_second_has_its_fraction_all_the_same(timestamp):
    assert utc(timestamp).endswith(".000000Z")
