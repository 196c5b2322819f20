"""Requests as bytes: methods, paths, queries, headers and lengths that no client should send. Seeded, so repeatable.

None of them ends the kernel it is given: DELETE and restart go to kernels that do not exist.
"""

from __future__ import annotations

import random

UNKNOWN = "00000000-0000-4000-8000-000000000000"
PARTS = [*["path"] * 4, *["query"] * 4, *["headers"] * 3, "method", "version", "length", "line ends"]
METHODS = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "PROPFIND",
    "get",
    "G\xe9T",
    "",
    "A" * 300,
]
SPOILERS = [
    *(
        "%00",
        "%0a",
        "%0d%0a",
        "%ff",
        "%c3%28",
        "%2f",
        "%2e%2e",
        "%",
        "%zz",
        "%u0041",
        "\xff\xfe",
        "\xc3\xa9",
        "..",
        "/../",
        "//",
    ),
    *(
        ";",
        "?",
        "??",
        "#",
        "&",
        "=",
        "\\",
        "'",
        '"',
        "<script>",
        "{",
        "}",
        "|",
        "^",
        "\t",
        "\x7f",
        "*",
        "~",
        "x" * 9_000,
        "/a" * 3_000,
    ),
]
QUERIES = [
    *(
        "",
        "?",
        "?token=",
        "?token=x&token=y",
        "?token=%ff",
        "?user=%00",
        "?user=a/b/c",
        "?user=" + "x" * 9_000,
        "?session_id=%ff",
    ),
    *(
        "?session_id=%0d%0aX:%201",
        "?session_id=\xff",
        "?a=1;b=2",
        "?&&&",
        "?=",
        "?%",
        "?user=\xf0\x28\x8c\x28",
        "?session_id=" + "%41" * 4_000,
    ),
]
LENGTHS = [
    "0",
    "5",
    "-1",
    "+5",
    " 5",
    "5 ",
    "0x5",
    "5, 6",
    "5, 5",
    "99999999999999999999",
    "1e3",
    "",
    "abc",
    "4294967296",
    "\xb2",
]
HEADERS = [
    *(
        "Host: ",
        "Host: a, b",
        "Host: [::1",
        "Host: x\r\nHost: y",
        "X" * 300 + ": 1",
        "X: " + "y" * 40_000,
        ": no name",
        "no colon",
    ),
    *(
        "Origin: http://[",
        "Origin: null",
        "Origin: http://\xff",
        "Origin: https://evil.example",
        "Referer: \xff",
        "X: a\0b",
        "X: a\rb",
    ),
    *(
        "X: a\r\n folded",
        "X : 1",
        "Expect: 100-continue",
        "Expect: 200-maybe",
        "Range: bytes=9-1",
        "Range: bytes=-",
        "Range: x=1-2",
    ),
    *(
        "If-None-Match: *",
        'If-None-Match: "' + "x" * 9_000,
        "If-Modified-Since: never",
        "If-Range: \xff",
        "Accept-Encoding: gzip, x;q=9",
    ),
    *(
        "Content-Type: \xff",
        "Content-Type: multipart/form-data",
        "Content-Type: application/json; charset=utf-99",
        "Cookie: a=\x01",
    ),
    *(
        "Content-Encoding: gzip",
        "Content-Encoding: deflate",
        "Content-Encoding: br",
        "Content-Encoding: nonsense",
        "Authorization: Basic ==",
    ),
    *(
        "Authorization: token \xff",
        "Authorization: Bearer",
        "Authorization: ",
        "X-Forwarded-For: \xff",
        "X-Gateway-Replica: forged",
    ),
    *(
        "Upgrade: websocket",
        "Upgrade: h2c",
        "Connection: upgrade",
        "Connection: close, upgrade",
        "Connection: \xff",
        "Keep-Alive: x",
    ),
    *(
        "Sec-WebSocket-Version: 99",
        "Sec-WebSocket-Key: x",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Version: 13",
    ),
    *(
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding: identity",
    ),
]
VERSIONS = ["HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/9.9", "http/1.1", "HTTP/1.1 ", "", "ICY"]
BODIES = [
    "",
    "hello",
    "5\r\nhello\r\n0\r\n\r\n",
    "zz\r\nhello\r\n",
    "ffffffffffffffff\r\nx",
    "5;x=\xff\r\nhello\r\n0\r\n\r\n",
    "5\nhello\n0\n\n",
]
LINE_ENDS = ["\n", "\r", "\n\r"]


class Requests:
    """Makes requests to a gateway with this token and this living kernel."""

    def __init__(self, rng: random.Random, token: str, kernel_id: str) -> None:
        self._rng = rng
        self._token = token
        self._kernel_id = kernel_id

    def make(self) -> bytes:
        """What goes out on one connection: a request, several in a row, or noise."""
        rng = self._rng
        if rng.random() < 0.03:
            return rng.randbytes(rng.randrange(1, 400))
        count = rng.choice([1, 1, 1, 1, 2, 3, 20])
        whole = b"".join(self._request(last=number == count - 1) for number in range(count))
        return whole[: rng.randrange(len(whole))] if rng.random() < 0.05 else whole

    def _request(self, *, last: bool) -> bytes:
        """A request that is right but for one to three of its parts."""
        rng = self._rng
        spoilt = set(rng.sample(PARTS, k=rng.choice([1, 1, 2, 3])))
        headers = ["Host: 127.0.0.1", f"Authorization: token {self._token}"]
        if "headers" in spoilt:
            headers += rng.choices(HEADERS, k=rng.choice([1, 1, 2, 4]))
        if rng.random() < 0.15:
            return self._handshake(headers)
        method = rng.choice(METHODS) if "method" in spoilt else rng.choice(METHODS[:7])
        body = rng.choice(BODIES)
        headers.append(f"Content-Length: {rng.choice(LENGTHS) if 'length' in spoilt else len(body)}")
        if last:
            headers.append("Connection: close")
        rng.shuffle(headers)
        version = rng.choice(VERSIONS) if "version" in spoilt else "HTTP/1.1"
        query = rng.choice(QUERIES) if "query" in spoilt else ""
        end = rng.choice(LINE_ENDS) if "line ends" in spoilt else "\r\n"
        line = f"{method} {self._path(method, spoilt='path' in spoilt)}{query} {version}"
        return (end.join([line, *headers]) + end + end + body).encode("latin-1")

    def _handshake(self, headers: list[str]) -> bytes:
        """A handshake that is right but for what `headers` spoil, and noise behind it."""
        right = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        right += ["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="]
        line = f"GET /api/kernels/{self._kernel_id}/channels{self._rng.choice(QUERIES)} HTTP/1.1"
        return "\r\n".join([line, *right, *headers, "", ""]).encode("latin-1") + self._rng.randbytes(50)

    def _path(self, method: str, *, spoilt: bool) -> str:
        rng = self._rng
        kernel_id = self._kernel_id if method.upper() in {"GET", "HEAD", "OPTIONS"} else UNKNOWN
        kernel = f"/api/kernels/{kernel_id}"
        paths = [
            *(
                "/",
                "/api",
                "/api/kernels",
                "/api/kernelspecs",
                "/api/kernelspecs/python3",
                "/api/sessions",
                "/api/swagger.json",
            ),
            *(
                kernel,
                f"{kernel}/why",
                f"{kernel}/logs",
                f"{kernel}/channels",
                f"{kernel}/interrupt",
                f"{kernel}/restart",
            ),
            *(
                f"/api/sessions/{UNKNOWN}",
                "/kernelspecs/python3/kernel.json",
                "/kernelspecs/python3/logo",
                f"/t/{self._token}/api",
            ),
        ]
        path = rng.choice(paths)
        if not spoilt:
            return path
        at = rng.randrange(len(path) + 1)
        spoiled = path[:at] + rng.choice(SPOILERS) + path[at:]
        return rng.choice(["*", "http://elsewhere.example" + path, "", "//x/api", *[spoiled] * 40])
