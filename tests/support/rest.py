"""A stock REST client for the gateway, and what its answers must always satisfy."""

from __future__ import annotations

from typing import Any

import requests

TIMEOUT = 60.0
"""Seconds any one answer may take."""


class Rest:
    """Requests below one base URL, with `Authorization: token <token>` unless told otherwise."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url
        self._headers = {} if token is None else {"Authorization": f"token {token}"}

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {**self._headers, **options.pop("headers", {})}
        options.setdefault("allow_redirects", False)
        return requests.request(method, self.url + path, headers=headers, timeout=TIMEOUT, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.request("POST", path, **options)

    def patch(self, path: str, **options: Any) -> requests.Response:
        return self.request("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> requests.Response:
        return self.request("DELETE", path, **options)

    def options(self, path: str, **options: Any) -> requests.Response:
        return self.request("OPTIONS", path, **options)

    def start_kernel(self, name: str = "python3", **body: Any) -> str:
        """Starts a kernel and returns its id."""
        answer = self.post("/api/kernels", json={"name": name, **body})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def kernel_ids(self) -> set[str]:
        """The ids of all kernels this client is shown."""
        return {kernel["id"] for kernel in answer_of(self.get("/api/kernels"))}

    def shut_down(self, kernel_id: str) -> None:
        """Ends a kernel."""
        answer = self.delete(f"/api/kernels/{kernel_id}")
        assert answer.status_code == 204, answer.text


def answer_of(response: requests.Response) -> Any:
    """The JSON of an answer that must be a success."""
    assert response.ok, f"{response.status_code} {response.text}"
    return response.json()


def assert_error(response: requests.Response, status: int, *words: str) -> str:
    """Claims a JSON error with this status whose text holds `words`; returns its message."""
    assert response.status_code == status, f"{response.status_code} {response.text}"
    body = response.json()
    assert {"reason", "message"} <= body.keys()
    assert isinstance(body["reason"], str)
    assert isinstance(body["message"], str)
    assert "traceback" not in body
    assert "Traceback" not in response.text
    for word in words:
        assert word in body["reason"] + " " + body["message"]
    return str(body["message"])
