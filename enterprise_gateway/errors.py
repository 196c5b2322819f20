"""Every error the gateway raises on purpose, in one flat file.

The message of each is written for the person who will read it in a notebook or a terminal: it names
what is wrong and what would be right. `web.errors` holds the one table from these types to HTTP statuses;
nothing below `web` knows a status.
"""

from __future__ import annotations


class GatewayError(Exception):
    """The gateway could not do what was asked."""

    def __init__(self, message: str | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").split("\n", 1)[0]
        super().__init__(self.message)


class InvalidRequest(GatewayError):
    """The request is malformed."""


class Unauthenticated(GatewayError):
    """No valid credential came with the request: send 'Authorization: token <token>'."""


class Forbidden(GatewayError):
    """This principal may not do that."""


class LimitReached(GatewayError):
    """A limit on kernels is reached."""


class KernelNotFound(GatewayError):
    """Kernel does not exist."""

    def __init__(self, kernel_id: str, reason: str = "") -> None:
        self.kernel_id = kernel_id
        super().__init__(f"Kernel does not exist: {kernel_id}" + (f" ({reason})" if reason else ""))


class KernelSpecNotFound(GatewayError):
    """No such kernel spec."""


class SessionNotFound(GatewayError):
    """Session does not exist."""


class ResourceNotFound(GatewayError):
    """No such file in the kernel spec's folder."""


class KernelConflict(GatewayError):
    """A kernel with this id exists already and is somebody else's or another spec's."""


class StartFailed(GatewayError):
    """The kernel did not start."""


class KernelUnresponsive(GatewayError):
    """The kernel's agent did not answer in time."""

    retry_after = 1
    """Seconds after which a client should ask again."""


class NotReady(GatewayError):
    """The gateway has not read its state yet; ask again in a moment."""

    retry_after = 1
    """Seconds after which a client should ask again."""


class BackendUnavailable(GatewayError):
    """The place where kernels run cannot be reached or written; running kernels are not affected."""

    retry_after = 5
    """Seconds after which a client should ask again."""


class ConfigError(GatewayError):
    """The configuration is wrong."""


class ProtocolError(GatewayError):
    """Bytes that do not follow their protocol."""
