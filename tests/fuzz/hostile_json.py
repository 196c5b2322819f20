"""Bodies that nearly are what the interface wants, and bodies that are nothing of the kind. Seeded, so repeatable."""

from __future__ import annotations

import json
import random
from typing import Any

DEEP = 5_000
STRINGS = [
    *(
        "",
        " ",
        "\0",
        "a\nb",
        "\x1b[31m",
        "..",
        "../../etc/passwd",
        "/",
        "//",
        "a/../../b",
        "~",
        "%2e%2e",
        "$HOME",
        "`id`",
    ),
    *("\u202e", "é" * 100, "😀", "\ufeff", "x" * 5_000, "a/" * 3_000, "x" * 300 + "/y", "NaN", "null", "-1", "1e999"),
    *("python3", "fortran66", "PYTHON3", "00000000-0000-4000-8000-000000000000", "notebook", "{connection_file}"),
]
NUMBERS = [0, -1, 1, 1e308, -1e-308, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 0.1]
FIELDS = ("name", "path", "env", "kernel", "notebook", "type", "id", "kernel_id", "", "__proto__", "KERNEL_ID")
VARIABLES = (
    "KERNEL_ID",
    "KERNEL_USERNAME",
    "KERNEL_LAUNCH_TIMEOUT",
    "KERNEL_WORKING_DIR",
    "KERNEL_X",
    "PATH",
    "EG_X",
    "",
)
NOT_JSON = [
    *(b"", b" ", b"{", b"}", b"[", b"nul", b"\xff\xfe", b"{'a': 1}", b'{"a": 1,}', b'{"a" 1}', b"NaN", b"Infinity"),
    *(
        b'"\\ud800"',
        b'{"name": "\\ud800"}',
        b'{"name": "\xff"}',
        b'{"name": "\\u0000"}',
        b"\xef\xbb\xbf{}",
        b"{}{}",
        b"\0",
    ),
    *(b"1" * 5_000, b"-", b"1e", b'"' * 3, b"[" * DEEP, b"[" * DEEP + b"]" * DEEP, b'{"a":' * DEEP, b"\x80" * 64),
    *(b'{"path":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}", b'{"name": 1, "name": "python3", "name": []}'),
]


def value(rng: random.Random, depth: int = 3) -> Any:
    """Any JSON value, biased towards trouble."""
    kind = rng.randrange(8 if depth else 5)
    if kind < 2:
        return rng.choice(STRINGS)
    if kind == 2:
        return rng.choice(NUMBERS)
    if kind < 5:
        return rng.choice([None, True, False, {}, []])
    if kind == 5:
        return [value(rng, depth - 1) for _ in range(rng.randrange(4))]
    names = rng.choices(FIELDS + VARIABLES, k=rng.randrange(5))
    return {name: value(rng, depth - 1) for name in names}


def start_body(rng: random.Random) -> dict[str, Any]:
    """Nearly a body of `POST /api/kernels`."""
    body: dict[str, Any] = {"name": "python3", "path": "a/b.ipynb", "env": {"KERNEL_X": "1"}}
    return _disturbed(rng, body)


def session_body(rng: random.Random) -> dict[str, Any]:
    """Nearly a body of `POST /api/sessions`."""
    body: dict[str, Any] = {"path": "a/b.ipynb", "name": "b", "type": "notebook", "kernel": {"name": "python3"}}
    if rng.random() < 0.3:
        body = {"notebook": {"path": "a.ipynb", "name": ""}, "kernel": {"id": rng.choice(STRINGS)}}
    return _disturbed(rng, body)


def encoded(rng: random.Random, body: Any) -> bytes:
    """The body as JSON, now and then damaged, or something else altogether."""
    if rng.random() < 0.15:
        return rng.choice(NOT_JSON)
    text = bytearray(json.dumps(body, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass"))
    if rng.random() < 0.2:
        for _ in range(rng.randrange(1, 4)):
            text[rng.randrange(len(text))] = rng.randrange(256)
    return bytes(text[: rng.randrange(len(text))] if rng.random() < 0.1 else text)


def _disturbed(rng: random.Random, body: dict[str, Any]) -> dict[str, Any]:
    for _ in range(rng.choice([1, 1, 2, 3])):
        name = rng.choice([*body, rng.choice(FIELDS)])
        if name == "env" and rng.random() < 0.7:
            body["env"] = {rng.choice(VARIABLES): value(rng, 1) for _ in range(rng.randrange(1, 5))}
        elif rng.random() < 0.2:
            body.pop(name, None)
        else:
            body[name] = value(rng)
    return body
