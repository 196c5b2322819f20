"""Who a credential belongs to: the one shared token, or the entries of a token file.

A table keeps SHA-256 digests only. A credential is compared with every entry in constant time; the answer's
timing tells neither which entry matched nor how much of one. Errors never quote a token.

Pure: the file's text and the random bytes are arguments. A table never changes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections import Counter

import msgspec

from ..errors import ConfigError
from .principals import ANONYMOUS, SHARED_TOKEN_PRINCIPAL, Principal, Role
from .secret import Secret

MIN_FILE_TOKEN_CHARS = 16
"""Shortest token taken from a file. The shared token may be shorter: EG's users have such."""
MIN_RANDOM_BYTES = 20
"""160 bits, which base32 turns into 32 characters without padding."""

_RESERVED_NAMES = frozenset({SHARED_TOKEN_PRINCIPAL.name, ANONYMOUS.name})


class _FileEntry(msgspec.Struct, frozen=True):
    name: str
    token: str
    role: str = Role.USER.value
    speaks_for_others: bool = False


class TokenTable:
    """The credentials a gateway accepts and the principal behind each."""

    def __init__(self, shared: Secret, file_text: str | None = None) -> None:
        """Builds the table from the shared token (empty: none) and a token file's text (None: no file).

        The file is JSON:

            {"tokens": [{"name": "ann", "token": "…", "role": "operator", "speaks_for_others": true}]}

        `role` (`user` unless `operator`) and `speaks_for_others` (false) may be left out. A name may
        have several tokens, so that they can be changed without a gap.

        Raises:
            ConfigError: naming the entry and what is wrong with it, never the token.
        """
        entries: list[tuple[str, Principal]] = []
        if shared:
            entries.append((shared.reveal(), SHARED_TOKEN_PRINCIPAL))
        if file_text is not None:
            entries.extend(_read_file(file_text))
        _refuse_duplicates(entries)
        self._entries = [(_digest(token), principal) for token, principal in entries]
        # Two tokens that differ in case alone would be one credential here, of nobody in particular.
        folded = Counter(token.casefold() for token, _ in entries)
        self._path_entries = [
            (_digest(token.casefold()), principal) for token, principal in entries if folded[token.casefold()] == 1
        ]

    @property
    def open(self) -> bool:
        """Whether no token is configured at all, so that everybody is let in."""
        return not self._entries

    def authenticate(self, credential: str) -> Principal | None:
        """The principal whose token `credential` is."""
        return _find(self._entries, credential)

    def authenticate_path(self, credential: str) -> Principal | None:
        """The principal whose token `credential` is when letter case is ignored.

        For credentials in a URL's path, which the stock Jupyter client lower-cases to make its websocket URL.
        Tokens that collide when case is ignored are not accepted here.
        """
        return _find(self._path_entries, credential.casefold())


def token_from(random: bytes) -> str:
    """A new token out of random bytes: lower-case base32, so that it survives in a lower-cased URL.

    Raises:
        ValueError: fewer than `MIN_RANDOM_BYTES` bytes.
    """
    if len(random) < MIN_RANDOM_BYTES:
        raise ValueError(f"a token takes at least {MIN_RANDOM_BYTES} random bytes, not {len(random)}")
    return base64.b32encode(random).decode().rstrip("=").lower()


def parse_authorization(value: str) -> str | None:
    """The credential in an `Authorization` header.

    `token T` and `Bearer T` in any letter case, and `Basic` (RFC 7617), whose password is the credential and
    whose user name is not looked at. An empty credential gives `""`: the stock Jupyter client sends `token `
    when nothing is configured, and means nobody. None stands for a header that holds no credential of a known
    kind.
    """
    scheme, _, rest = value.strip().partition(" ")
    match scheme.lower():
        case "token" | "bearer":
            return rest.strip()
        case "basic":
            return _basic_password(rest.strip())
        case _:
            return None


def _basic_password(encoded: str) -> str | None:
    try:
        pair = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    _, colon, password = pair.partition(":")
    return password if colon else None


def _read_file(text: str) -> list[tuple[str, Principal]]:
    # Field by field rather than by one typed decode: that would quote unknown fields and values, and in a
    # file written the wrong way round those are tokens.
    try:
        content = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ConfigError(f"the token file is not JSON: {error}") from error
    entries = content.get("tokens") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise ConfigError('the token file must be an object with a list named "tokens"')
    if not entries:
        raise ConfigError("the token file lists no tokens: nobody could log in")
    return [_read_entry(number, entry) for number, entry in enumerate(entries, start=1)]


def _read_entry(number: int, value: object) -> tuple[str, Principal]:
    where = f"entry {number} of the token file"
    fields = _FileEntry.__struct_fields__
    if not isinstance(value, dict) or not value.keys() <= set(fields):
        raise ConfigError(f"{where} must be an object with no fields but {', '.join(fields)}")
    try:
        entry = msgspec.convert(value, _FileEntry)
    except msgspec.ValidationError as error:  # tells a field and types
        raise ConfigError(f"{where} is malformed: {error}") from error
    if not entry.name.strip():
        raise ConfigError(f"{where} has no name")
    where = f"entry {number} ({entry.name!r}) of the token file"
    if entry.name in _RESERVED_NAMES:
        raise ConfigError(f"{where}: this name is the gateway's own")
    if entry.role not in set(Role):
        raise ConfigError(f"{where}: its role must be one of {', '.join(Role)}")
    if len(entry.token) < MIN_FILE_TOKEN_CHARS:
        raise ConfigError(f"{where}: its token is shorter than {MIN_FILE_TOKEN_CHARS} characters")
    if not all("!" <= character <= "~" for character in entry.token):
        raise ConfigError(f"{where}: its token holds characters that are not visible ASCII, unfit for a header")
    return entry.token, Principal(entry.name, Role(entry.role), entry.speaks_for_others)


def _refuse_duplicates(entries: list[tuple[str, Principal]]) -> None:
    owners: dict[str, str] = {}
    for token, principal in entries:
        if token in owners:
            raise ConfigError(f"the tokens of {owners[token]!r} and {principal.name!r} are the same")
        owners[token] = principal.name


def _digest(token: str) -> bytes:
    # surrogatepass: headers and the environment may hold bytes that are no UTF-8, which must not raise here.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _find(entries: list[tuple[bytes, Principal]], credential: str) -> Principal | None:
    digest = _digest(credential)
    found = None
    for known, principal in entries:
        if hmac.compare_digest(known, digest):  # no early exit: the time must not tell the entry
            found = principal
    return found
