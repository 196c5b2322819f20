"""What NB2KG 0.7 does on the wire for a classic Notebook, by the same HTTP library.

The extension itself needs Notebook 5 and Tornado 5, which no Python that is supported any more can run: with Tornado 6
its websocket handler answers 200. So its requests are repeated here: a token or Basic credentials on all of them,
`KERNEL_*` of the server's environment in a start's body, no Content-Type, and a websocket without `session_id`.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.websocket import WebSocketClientConnection, websocket_connect

SECONDS = 60.0


class Nb2Kg:
    """One notebook server's half of it."""

    def __init__(self, url: str, token: str = "", user: str = "", password: str = "") -> None:
        self._url = url.rstrip("/")
        self._options: dict[str, Any] = {
            "headers": {"Authorization": f"token {token}"},
            "connect_timeout": SECONDS,
            "request_timeout": SECONDS,
        }
        if user:
            self._options |= {"auth_username": user, "auth_password": password}

    async def kernelspecs(self) -> dict[str, Any]:
        return dict(json.loads((await self._fetch("/api/kernelspecs")).body))

    async def start(self, name: str, **environ: str) -> str:
        body = json.dumps({"name": name, "env": environ})
        return str(json.loads((await self._fetch("/api/kernels", "POST", body)).body)["id"])

    async def model(self, kernel_id: str) -> dict[str, Any]:
        return dict(json.loads((await self._fetch(f"/api/kernels/{kernel_id}")).body))

    async def act(self, kernel_id: str, action: str) -> int:
        """`interrupt` or `restart`; the status."""
        return (await self._fetch(f"/api/kernels/{kernel_id}/{action}", "POST", json.dumps({}))).code

    async def shut_down(self, kernel_id: str) -> int:
        return (await self._fetch(f"/api/kernels/{kernel_id}", "DELETE")).code

    async def connect(self, kernel_id: str) -> Socket:
        url = f"{self._url.replace('http', 'ws', 1)}/api/kernels/{kernel_id}/channels"
        return Socket(await websocket_connect(HTTPRequest(url, **self._options)))

    async def _fetch(self, path: str, method: str = "GET", body: str | None = None) -> HTTPResponse:
        return await AsyncHTTPClient().fetch(f"{self._url}{path}", method=method, body=body, **self._options)


class Socket:
    """What the notebook's page sends through it and gets back, unchanged."""

    def __init__(self, connection: WebSocketClientConnection) -> None:
        self._connection = connection

    async def send_code(self, code: str) -> str:
        """As the classic notebook writes a request; its id."""
        msg_id = uuid.uuid4().hex
        header = {"msg_id": msg_id, "username": "username", "session": uuid.uuid4().hex, "version": "5.2"}
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": True,
            "stop_on_error": True,
        }
        message = {
            "header": {**header, "msg_type": "execute_request"},
            "metadata": {},
            "content": content,
            "buffers": [],
            "parent_header": {},
            "channel": "shell",
        }
        await self._connection.write_message(json.dumps(message))
        return msg_id

    async def output(self, msg_id: str, until: str = "execute_reply") -> tuple[str, dict[str, Any]]:
        """What a request printed up to a message of that type, and that message's content."""
        text = ""
        while True:
            raw = await self._connection.read_message()
            assert raw is not None, "the websocket was closed"
            message = json.loads(raw)
            if message["parent_header"].get("msg_id") != msg_id:
                continue
            text += message["content"].get("text", "")
            if message["msg_type"] == until:
                return text, message["content"]

    def close(self) -> None:
        self._connection.close()
