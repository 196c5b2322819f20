"""Kernels of a gateway, through its REST interface.

Blocking requests, each with a connection of its own; several run in threads. Follows no redirect: one would carry the
token to a stranger.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TypeVar

import msgspec

from enterprise_gateway.cli.address import ENVIRONMENT, GatewayAddress
from enterprise_gateway.errors import GatewayError
from enterprise_gateway.kernels.models import KernelHistory, KernelModel

TIMEOUT = 60.0
"""Seconds without a byte; a polite end of a busy kernel takes a while."""
AT_ONCE = 8
"""Requests side by side."""
T = TypeVar("T")


class _Gone(GatewayError):
    """The gateway has no such kernel any more."""


class _ErrorBody(msgspec.Struct):
    message: str = ""


class RemoteKernels:
    """The kernels that a gateway shows to the holder of a token."""

    def __init__(self, address: GatewayAddress) -> None:
        self._address = address
        self._tls = ssl.create_default_context() if address.scheme == "https" else None
        self._headers = {"Accept": "application/json"}
        if address.token:
            self._headers["Authorization"] = f"token {address.token.reveal()}"

    @property
    def where(self) -> str:
        """The gateway's URL."""
        return self._address.shown

    def ids(self) -> list[str]:
        """The kernels that have not ended: the gateway lists no others."""
        return [model.id for model in self._get("/api/kernels", list[KernelModel])]

    def living(self) -> list[KernelHistory]:
        """All kernels that have not ended; one request for the list, one for each kernel."""
        found = _side_by_side(self._why_or_gone, self.ids())
        return sorted((each for each in found if each is not None), key=lambda history: history.created)

    def why(self, kernel_id: str) -> KernelHistory:
        """What is known of a kernel."""
        return self._get(f"/api/kernels/{kernel_id}/why", KernelHistory)

    def logs(self, kernel_id: str) -> str:
        """What the gateway has of the kernel's own output."""
        return self._request("GET", f"/api/kernels/{kernel_id}/logs").decode(errors="replace")

    def stop(self, kernel_ids: Sequence[str]) -> dict[str, str]:
        """End kernels and leave nothing of them."""
        problems = zip(kernel_ids, _side_by_side(self._stop, kernel_ids), strict=True)
        return {kernel_id: problem for kernel_id, problem in problems if problem}

    def _why_or_gone(self, kernel_id: str) -> KernelHistory | None:
        try:
            history = self.why(kernel_id)
        except _Gone:
            return None
        return None if history.kernel.execution_state == "dead" else history

    def _stop(self, kernel_id: str) -> str:
        try:
            self._request("DELETE", f"/api/kernels/{kernel_id}")
        except GatewayError as error:
            return error.message
        return ""

    def _get(self, path: str, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(self._request("GET", path), type=kind)
        except msgspec.MsgspecError:
            raise GatewayError(f"{self.where} is no gateway of this kind: its answer cannot be read") from None

    def _request(self, method: str, path: str) -> bytes:
        address = self._address
        if self._tls is None:
            connection = http.client.HTTPConnection(address.host, address.port, timeout=TIMEOUT)
        else:
            connection = http.client.HTTPSConnection(address.host, address.port, timeout=TIMEOUT, context=self._tls)
        try:
            connection.request(method, address.path + path, headers=self._headers)
            response = connection.getresponse()
            body = response.read()
        except (OSError, UnicodeError, http.client.HTTPException) as error:
            raise GatewayError(
                f"No gateway answers at {self.where}: {str(error) or type(error).__name__}. Check the address and that "
                "the gateway runs; without --url, the kernels of this machine's state folder are meant"
            ) from None
        finally:
            connection.close()
        if not HTTPStatus(200) <= response.status < HTTPStatus(300):
            raise self._refusal(path, response.status, response.reason, body)
        return body

    def _refusal(self, path: str, status: int, reason: str, body: bytes) -> GatewayError:
        try:
            message = msgspec.json.decode(body, type=_ErrorBody).message
        except (msgspec.MsgspecError, UnicodeDecodeError):
            message = ""
        if status == HTTPStatus.UNAUTHORIZED:
            return GatewayError(f"{self.where} wants a valid token: use --token-file or {' or '.join(ENVIRONMENT)}")
        if status == HTTPStatus.NOT_FOUND and message.startswith("Kernel does not exist"):
            return _Gone(message)
        return GatewayError(f"{self.where}: {message or f'{path} is answered with {status} {reason}'}")

    def __repr__(self) -> str:
        return f"<RemoteKernels {self.where}>"


def _side_by_side(ask: Callable[[str], T], kernel_ids: Iterable[str]) -> list[T]:
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ask") as pool:
        return list(pool.map(ask, kernel_ids))
