"""Times as clients parse them. Lists repeat the same ones, so the last few thousand are remembered."""

from __future__ import annotations

import datetime
import functools


@functools.lru_cache(maxsize=8192)
def utc(timestamp: float) -> str:
    """`timestamp` (Unix seconds) as `2026-01-31T12:00:00.123456Z`.

    jupyter_server's gateway client parses exactly `%Y-%m-%dT%H:%M:%S.%fZ`: the fraction and the `Z` are not optional.
    """
    moment = datetime.datetime.fromtimestamp(timestamp, datetime.UTC)
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
