"""One Jupyter message as bytes, the form between every two protocols of this package.

The parts of a message stay the raw JSON their author wrote: nothing here parses content, and only
`parse_header` looks into a header. Pure values, safe to share between tasks once made.
Source: https://jupyter-client.readthedocs.io/en/stable/messaging.html
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from enterprise_gateway.errors import ProtocolError

CHANNELS = frozenset({"shell", "control", "stdin"})
"""The channels a client may send to; a kernel also speaks on `iopub`."""

Part = bytes | memoryview
"""A run of bytes that `b"".join`, `len` and a socket take as it is; a memoryview has items of one byte."""


class UnknownChannel(ProtocolError):
    """A message for a channel that no client may send to. Jupyter servers ignore such a message."""

    def __init__(self, channel: str) -> None:
        super().__init__(f"There is no channel {channel[:40]!r} to send to, only {', '.join(sorted(CHANNELS))}.")


# gc=False: no field can lead back to the message, and a ring holds many thousands of them.
class Message(msgspec.Struct, frozen=True, gc=False):
    """The channel and the raw parts of one message."""

    channel: str
    """`shell`, `control`, `stdin` or `iopub`."""
    header: bytes
    parent_header: bytes
    metadata: bytes
    content: bytes
    buffers: Sequence[Part]
    """Raw binary attachments. Memoryviews keep the frame alive that they were cut from."""

    @property
    def size(self) -> int:
        """Bytes of all parts together."""
        size = len(self.header) + len(self.parent_header) + len(self.metadata) + len(self.content)
        return size + sum(map(len, self.buffers)) if self.buffers else size


class Header(msgspec.Struct, frozen=True, gc=False):
    """What is read of a header; a missing field is empty, further fields are skipped."""

    msg_id: str = ""
    msg_type: str = ""
    session: str = ""


_decode_header = msgspec.json.Decoder(Header).decode


def parse_header(raw: bytes) -> Header:
    """Read a `header` or `parent_header`, `{}` included.

    Raises:
        ProtocolError: it is not a JSON object, or a field is there and not a string.
    """
    try:
        return _decode_header(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"The header of a message cannot be read: {error}.") from None
