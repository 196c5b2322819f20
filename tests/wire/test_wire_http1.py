from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_messages import accepts_or_explains, damaged

from enterprise_gateway.errors import ProtocolError
from enterprise_gateway.wire import http1

token_characters = "!#$%&'*+-.^_`|~0123456789abcxyzABCXYZ"
names = st.text(token_characters, min_size=1, max_size=10)
value_characters = st.characters(exclude_categories=["Cs", "Cc"])
values = st.text(value_characters, max_size=20).map(lambda value: value.strip(" \t"))
header_lists = st.lists(st.tuples(names, values), max_size=6)
targets = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20)
requests = st.tuples(names, targets, header_lists)
responses = st.tuples(st.integers(100, 599), st.text(value_characters, max_size=10), header_lists)

GET = b"GET / HTTP/1.1\r\n"


def request_with(*headers: tuple[str, str]) -> http1.RequestHead:
    return http1.RequestHead("POST", "/", headers)


@given(requests)
def test_a_request_comes_back_as_it_was(request):
    method, target, headers = request
    head = http1.encode_request(method, target, headers)
    assert http1.parse_request(head) == (method, target, tuple(headers))


@given(responses)
def test_a_response_comes_back_as_it_was(response):
    status, reason, headers = response
    head = http1.encode_response(status, reason, headers)
    assert http1.parse_response(head) == (status, reason, tuple(headers))


@given(st.binary(max_size=30))
def test_bytes_that_are_not_utf8_are_passed_on_unchanged(raw):
    raw = raw.translate(None, bytes(range(0x21)) + b"\x7f")
    head = GET + b"Name: " + raw + b"\r\n\r\n"
    assert http1.encode_request(*http1.parse_request(head)) == head


def test_a_field_is_found_in_any_case_and_the_first_one_counts():
    head = http1.parse_response(b"HTTP/1.1 200 OK\r\nA-b:1\r\na-B: \t2 \r\n\r\n")
    assert (head.get("a-B"), head.get("A-C")) == ("1", None)
    assert http1.parse_request(GET + b"X:\r\n\r\n").get("x") == ""


def test_a_list_is_gathered_from_all_its_fields():
    head = request_with(("A", "x, y ,"), ("b", "no"), ("a", "\tz"))
    assert http1.tokens(head, "a") == ["x", "y", "z"]


def test_a_reason_may_be_missing_or_have_spaces():
    assert http1.parse_response(b"HTTP/1.1 204\r\n\r\n") == (204, "", ())
    assert http1.parse_response(b"HTTP/1.1 204 \r\n\r\n") == (204, "", ())
    assert http1.parse_response(b"HTTP/1.1 404 Not Found\r\n\r\n") == (404, "Not Found", ())


@pytest.mark.parametrize(
    ("head", "complaint"),
    [
        (b"", "blank line"),
        (b"GET / HTTP/1.1\r\nA: b\r\n", "blank line"),
        (b"GET / HTTP/1.1\n\n", "blank line"),
        (GET + b"\r\nA: b\r\n\r\n", "no colon"),
        (b"\r\n" + GET + b"\r\n", "no colon"),
        (b"GET /\r\n\r\n", "three parts"),
        (b"GET / HTTP/1.0\r\n\r\n", "HTTP/1.1"),
        (b"GET / HTTP/1.1 \r\n\r\n", "HTTP/1.1"),
        (b"GET  / HTTP/1.1\r\n\r\n", "only HTTP/1.1"),
        (b"GET  HTTP/1.1\r\n\r\n", "target"),
        (b"GET /\xc3\xa9 HTTP/1.1\r\n\r\n", "target"),
        (b"GET /\0 HTTP/1.1\r\n\r\n", "target"),
        (b"G(T / HTTP/1.1\r\n\r\n", "method"),
        (b" / HTTP/1.1\r\n\r\n", "method"),
        (GET + b"A: b\r\n folded\r\n\r\n", "continued"),
        (GET + b"\tA: b\r\n\r\n", "continued"),
        (GET + b"A : b\r\n\r\n", "token"),
        (GET + b": b\r\n\r\n", "token"),
        (GET + b"A\xc3\xa9: b\r\n\r\n", "token"),
        (GET + b"A: b\nB: c\r\n\r\n", "control character"),
        (GET + b"A: b\rB: c\r\n\r\n", "control character"),
        (GET + b"A: b\0\r\n\r\n", "control character"),
        (GET + b"A: b\x7f\r\n\r\n", "control character"),
        (GET + b"A: " + b"x" * http1.MAX_HEAD + b"\r\n\r\n", "allowed"),
    ],
)
def test_a_request_that_two_readers_may_read_differently_is_refused(head, complaint):
    with pytest.raises(ProtocolError, match=complaint):
        http1.parse_request(head)


@pytest.mark.parametrize(
    ("head", "complaint"),
    [
        (b"HTTP/1.1\r\n\r\n", "three parts"),
        (b"HTTP/2 200 OK\r\n\r\n", "HTTP/1.1"),
        (b"HTTP/1.1 99 Low\r\n\r\n", "status"),
        (b"HTTP/1.1 600 High\r\n\r\n", "status"),
        (b"HTTP/1.1 +20 Sign\r\n\r\n", "status"),
        ("HTTP/1.1 ٢٠٠ Digits\r\n\r\n".encode(), "status"),
        (b"HTTP/1.1 200 O\x01K\r\n\r\n", "reason"),
    ],
)
def test_a_malformed_status_line_is_refused(head, complaint):
    with pytest.raises(ProtocolError, match=complaint):
        http1.parse_response(head)


@pytest.mark.parametrize("bad", ["\r", "\n", "\0", "\r\nEvil: 1", "\ud800"])
def test_no_piece_of_a_head_can_begin_another_line(bad):
    for method, target, name, value in (
        (f"GET{bad}", "/", "A", "b"),
        ("GET", f"/{bad}", "A", "b"),
        ("GET", "/", f"A{bad}", "b"),
        ("GET", "/", "A", f"b{bad}"),
    ):
        with pytest.raises(ProtocolError):
            http1.encode_request(method, target, [(name, value)])
    with pytest.raises(ProtocolError):
        http1.encode_response(200, f"OK{bad}", [])


def test_a_status_outside_of_http_is_not_sent():
    with pytest.raises(ProtocolError, match="status"):
        http1.encode_response(1000, "Odd", [])


def test_an_error_does_not_repeat_the_value_of_a_header():
    with pytest.raises(ProtocolError) as caught:
        http1.encode_request("GET", "/", [("Authorization", "token hunter2\n")])
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize("lengths", [[], ["0"], ["17"], ["17", "17"], ["007"]])
def test_the_length_of_a_body_is_read(lengths):
    head = request_with(*(("content-length", length) for length in lengths))
    assert http1.content_length(head) == int(lengths[0] if lengths else 0)


@pytest.mark.parametrize(
    "headers",
    [
        [("Content-Length", "")],
        [("Content-Length", "-1")],
        [("Content-Length", "+1")],
        [("Content-Length", "1_0")],
        [("Content-Length", "0x1")],
        [("Content-Length", "٣")],
        [("Content-Length", "9" * 5000)],
        [("Content-Length", "1, 1")],
        [("Content-Length", "1"), ("content-length", "2")],
        [("Transfer-Encoding", "chunked")],
        [("Transfer-Encoding", ""), ("Content-Length", "1")],
    ],
)
def test_a_length_that_can_be_doubted_is_refused(headers):
    with pytest.raises(ProtocolError):
        http1.content_length(request_with(*headers))


@given(damaged(requests.map(lambda request: http1.encode_request(*request))))
def test_only_protocol_errors_leave_parse_request(head):
    accepts_or_explains(http1.parse_request, head)


@given(damaged(responses.map(lambda response: http1.encode_response(*response))))
def test_only_protocol_errors_leave_parse_response(head):
    accepts_or_explains(http1.parse_response, head)
