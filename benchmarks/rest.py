"""The gateway's REST interface, as much of it as a benchmark needs. Blocking; one connection a call."""

from __future__ import annotations

import http.client
import json
from typing import Any

import msgspec

TIMEOUT = 120
"""Seconds a call may take: twenty kernels that start at once are slow on a small machine."""


class Rest(msgspec.Struct):
    """Address and token of a gateway."""

    port: int
    token: str
    host: str = "127.0.0.1"

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The decoded answer, None when empty; RuntimeError with status and body when it is an error."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT)
        try:
            headers = {"Authorization": f"token {self.token}"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status >= 400:
            raise RuntimeError(f"{method} {path}: {response.status} {answer.decode(errors='replace')}")
        return json.loads(answer) if answer else None

    def start_kernel(self, spec: str) -> str:
        """Start a kernel; returns its id."""
        return str(self.call("POST", "/api/kernels", {"name": spec})["id"])
