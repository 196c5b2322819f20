"""What a client gets for what it should not have sent: JSON, a status, a sentence, never a traceback."""

from __future__ import annotations

from typing import Any

import pytest
from support.gateway import Gateway
from support.rest import Rest, answer_of, assert_error


@pytest.fixture
def rest(gateway: Gateway) -> Rest:
    return gateway.rest


def test_api_tells_both_versions(rest: Rest) -> None:
    assert {"version", "gateway_version"} <= answer_of(rest.get("/api")).keys()


def test_the_interface_describes_itself_without_a_token(gateway: Gateway) -> None:
    stranger = Rest(gateway.url)
    assert "/api/kernels" in answer_of(stranger.get("/api/swagger.json"))["paths"]
    assert "/api/kernels" in stranger.get("/api/swagger.yaml").text


@pytest.mark.parametrize("path", ["/", "/tree", "/api/contents", "/api/status", "/api/nothing", "/metrics"])
def test_what_does_not_exist_is_a_json_404(rest: Rest, path: str) -> None:
    assert_error(rest.get(path), 404)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/api/kernels"),
        ("DELETE", "/api/kernels"),
        ("POST", "/api/kernelspecs"),
        ("PUT", "/api/sessions"),
    ],
)
def test_a_wrong_verb_is_a_json_405(rest: Rest, method: str, path: str) -> None:
    assert_error(rest.request(method, path), 405)


@pytest.mark.parametrize("body", ["{", "nonsense", '{"name": "python3"', b"\xff\xfe"])
def test_a_body_that_is_no_json_is_a_400(rest: Rest, body: str | bytes) -> None:
    assert_error(rest.post("/api/kernels", data=body), 400, "JSON")


@pytest.mark.parametrize("body", [[], "python3", 1])
def test_a_body_that_is_no_object_is_a_400(rest: Rest, body: Any) -> None:
    assert_error(rest.post("/api/kernels", json=body), 400)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": 1}, "name"),
        ({"name": ["python3"]}, "name"),
        ({"name": "python3", "path": {}}, "path"),
        ({"name": "python3", "env": []}, "env"),
        ({"name": "python3", "env": "KERNEL_A=1"}, "env"),
    ],
)
def test_a_wrong_field_is_a_400_that_names_it(rest: Rest, body: dict[str, Any], field: str) -> None:
    assert_error(rest.post("/api/kernels", json=body), 400, field)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("$(touch /tmp/x)", id="dollar"),
        pytest.param("`id`", id="backtick"),
        pytest.param("a\nb", id="line feed"),
        pytest.param("a\rb", id="carriage return"),
        pytest.param("a\0b", id="nul"),
        pytest.param("s3cret" * 1000, id="too long"),
        pytest.param(1, id="number"),
        pytest.param({"a": "b"}, id="object"),
    ],
)
def test_a_hostile_value_is_a_400_that_names_the_variable_and_not_its_value(rest: Rest, value: Any) -> None:
    body = {"name": "python3", "env": {"KERNEL_HOSTILE": value}}
    message = assert_error(rest.post("/api/kernels", json=body), 400, "KERNEL_HOSTILE")
    assert not isinstance(value, str) or value not in message


@pytest.mark.parametrize("path", ["/api/kernels", "/api/kernelspecs", "/api/sessions", "/api"])
def test_a_trailing_slash_changes_nothing(rest: Rest, path: str) -> None:
    with_slash = rest.get(path + "/")
    assert answer_of(with_slash).__class__ is answer_of(rest.get(path)).__class__


def test_a_start_with_a_trailing_slash_starts_a_kernel(rest: Rest) -> None:
    answer = rest.post("/api/kernels/", json={"name": "python3"})
    assert answer.status_code == 201, answer.text
    rest.shut_down(answer.json()["id"] + "/")
