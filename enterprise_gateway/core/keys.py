"""A kernel's secrets, derived from one master key, so that no replica needs to store or look up any."""

from __future__ import annotations

import functools
import hashlib

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from enterprise_gateway.core.records import KernelRecord
from enterprise_gateway.core.secret import Secret
from enterprise_gateway.errors import ConfigError

KEY_BYTES = 32


class KernelSecrets(msgspec.Struct, frozen=True):
    """What only a kernel, its agent and the gateways know."""

    token: Secret
    """Authenticates every request to the agent."""
    hmac_key: Secret
    """Signs the messages between agent and kernel."""
    tls_seed: Secret
    """The agent's private Ed25519 key, 32 bytes in hexadecimal digits."""


class MasterKeys:
    """The master keys, newest first: new kernels use the first, older kernels name theirs by id."""

    def __init__(self, keys: list[bytes]) -> None:
        if not keys:
            raise ConfigError("The master key file holds no key: one line of 64 hexadecimal digits is needed")
        self._keys = {key_id(key): key for key in keys}
        self.newest_id = key_id(keys[0])

    @classmethod
    def parse(cls, text: str) -> MasterKeys:
        """Read a key file: one key of 64 hexadecimal digits a line, newest first.

        Raises:
            ConfigError: names the line that is not a key, never its content.
        """
        keys = []
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip():
                continue
            try:
                key = bytes.fromhex(line.strip())
            except ValueError:
                key = b""
            if len(key) != KEY_BYTES:
                raise ConfigError(f"Line {number} of the master key file is not 64 hexadecimal digits")
            keys.append(key)
        return cls(keys)

    def knows(self, key_id: str) -> bool:
        """Whether secrets made with the key of that id can be derived."""
        return key_id in self._keys

    def secrets(self, key_id: str, kernel_id: str) -> KernelSecrets:
        """The secrets of a kernel; the same for the same arguments, everywhere."""
        master = self._keys[key_id]
        return KernelSecrets(
            token=Secret(_derive(master, kernel_id, "agent token")),
            hmac_key=Secret(_derive(master, kernel_id, "zmq hmac")),
            tls_seed=Secret(_derive(master, kernel_id, "agent tls")),
        )

    def spark_ui_capability(self, record: KernelRecord) -> Secret:
        """What lets its holder see the Spark UI of this kernel, and of no later one that is given the same id."""
        return Secret(_derive(self._keys[record.key_id], f"{record.kernel_id}/{record.created!r}", "spark ui"))

    def __repr__(self) -> str:
        return f"<MasterKeys {', '.join(self._keys)}>"


def key_id(key: bytes) -> str:
    """A public name for a key: the first 12 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(key).hexdigest()[:12]


@functools.lru_cache(maxsize=8192)
def _derive(master: bytes, kernel: str, purpose: str) -> str:
    info = f"jupyter enterprise gateway/{purpose}/{kernel}".encode()
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=info).derive(master).hex()
