"""Opens what launchers have sealed with a kernel's public key.

The one module of the agent that imports `cryptography`, which is 15 ms and 2.5 MB beside an agent's 80 ms and 16 MB: it
is imported when the first report of a launcher has come, so that other kernels never pay for it.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from enterprise_gateway.wire.launcher import Unseal


def make_unseal(private_key: str) -> Unseal:
    """For what is sealed with the public half of an RSA key, which is given in PEM and trusted.

    A wrong padding is no error of its own (OpenSSL decrypts to random bytes), so nothing can be learnt from it; that
    the text is not what it should be is found out later.
    """
    key = load_pem_private_key(private_key.encode(), password=None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(key, RSAPrivateKey)  # noqa: S101 - the gateway makes no others

    def unseal(sealed_key: bytes, sealed_text: bytes) -> bytes:
        decryptor = Cipher(AES128(key.decrypt(sealed_key, PKCS1v15())), ECB()).decryptor()  # noqa: S305 - launchers do
        unpadder = PKCS7(AES128.block_size).unpadder()
        return unpadder.update(decryptor.update(sealed_text) + decryptor.finalize()) + unpadder.finalize()

    return unseal
