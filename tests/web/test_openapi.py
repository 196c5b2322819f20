"""The description at /api/swagger.json is true: it drives a real gateway, and every answer is as it says."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
import websocket
import yaml
from fakes.backend import FakeBackend
from openapi_core import OpenAPI
from openapi_core.contrib.requests import RequestsOpenAPIRequest, RequestsOpenAPIResponse
from support.gateway import Gateway
from support.rest import Rest, answer_of
from support.served import http_rules, new_guard, new_manager

from enterprise_gateway import __version__
from enterprise_gateway.web.api import Api
from enterprise_gateway.web.channels import ChannelsRoute
from enterprise_gateway.web.server import make_app
from enterprise_gateway.web.spark_ui import SparkUiRoute

Document = dict[str, Any]

UNKNOWN = "00000000-0000-4000-8000-000000000000"
MAX_BODY = 64 * 1024
ECHO_KERNEL = [sys.executable, str(Path(__file__).parents[1] / "fakes" / "kernel.py"), "-f", "{connection_file}"]
DESCRIPTION: Document = yaml.safe_load(resources.files("enterprise_gateway.web").joinpath("openapi.yaml").read_text())
OPERATIONS = [
    (method.upper(), path)
    for path, item in DESCRIPTION["paths"].items()
    for method in item
    if method in {"get", "head", "options", "post", "patch", "delete"}
]
OPENS_WEBSOCKET = ("GET", "/api/kernels/{kernel_id}/channels")
SPARK_UI = "/api/kernels/{kernel_id}/spark-ui/~{capability}/{path}"
"""Answered for kernels in pods alone, so what it answers is claimed in test_spark_ui.py."""
ANSWERED_HERE = [each for each in OPERATIONS if each[1] != SPARK_UI]
RESOURCE = "/kernelspecs/{name}/{path}"
WRONG = {"string": 1, "object": "no object", "array": {}, "integer": "1"}
"""For each type a value of another one."""


def resolved(node: Document) -> Document:
    """`node`, or what it refers to."""
    reference = node.get("$ref")
    if reference is None:
        return node
    target: Any = DESCRIPTION
    for step in reference.removeprefix("#/").split("/"):
        target = target[step]
    return resolved(target)


def strict(node: Any) -> Any:
    """A schema in which every object has the described fields alone."""
    if isinstance(node, list):
        return [strict(each) for each in node]
    if not isinstance(node, dict):
        return node
    copied = {key: strict(value) for key, value in node.items()}
    if node.get("type") == "object" and "properties" in node:
        copied.setdefault("additionalProperties", False)
    return copied


class Driver:
    """Sends what the description says may be sent, and holds every answer against it."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        document = answer_of(gateway.rest.get("/api/swagger.json"))
        document["components"]["schemas"] = strict(document["components"]["schemas"])
        document["servers"] = [{"url": gateway.url}]
        self._api = OpenAPI.from_dict(document)

    def call(
        self, method: str, path: str, ids: dict[str, str], *, token: str | None = "", **options: Any
    ) -> requests.Response:
        """One request with the described examples; `ids` fill the path, `token` None leaves the credential out."""
        parameters = {**self._path_examples(path), **ids}
        address = path.format_map({name: quote(value) for name, value in parameters.items()})
        rest = Rest(self.gateway.url, self.gateway.token if token == "" else token)
        answer = rest.request(method, address, **options)
        self._api.validate_response(RequestsOpenAPIRequest(answer.request), RequestsOpenAPIResponse(answer))
        return answer

    def _path_examples(self, path: str) -> dict[str, str]:
        parameters = map(resolved, DESCRIPTION["paths"][path].get("parameters", []))
        return {each["name"]: each["example"] for each in parameters if each["in"] == "path"}


def bodies(method: str, path: str) -> list[Document]:
    """The described examples of a request's body."""
    operation = DESCRIPTION["paths"][path][method.lower()]
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return [example["value"] for example in content.get("examples", {}).values()]


def accepts(method: str, path: str, status: str) -> bool:
    return status in DESCRIPTION["paths"][path][method.lower()]["responses"]


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    echo = {"argv": ECHO_KERNEL}
    kernelspecs = {"python3": echo, "other": echo, "broken": {"argv": ["/no/such/command"]}}
    # Our python3 is to be found before the environment's.
    settings = {"EG_MAX_BODY_SIZE": str(MAX_BODY), "JUPYTER_PREFER_ENV_PATH": "0"}
    with Gateway(kernelspecs=kernelspecs, **settings) as gateway:
        (gateway.home / "data/kernels/python3/logo-64x64.png").write_bytes(b"\x89PNG")
        yield Driver(gateway.start())


@contextlib.contextmanager
def session(rest: Rest, path: str) -> Iterator[dict[str, str]]:
    """The ids of a session for the document `path`, and of its kernel."""
    body = {"path": path, "type": "notebook", "kernel": {"name": "python3"}}
    model = answer_of(rest.post("/api/sessions", json=body))
    yield {"kernel_id": model["kernel"]["id"], "session_id": model["id"]}
    rest.delete(f"/api/sessions/{model['id']}")


@pytest.fixture(scope="module")
def ids(driver: Driver) -> Iterator[dict[str, str]]:
    """A session and a kernel for all tests that change neither."""
    with session(driver.gateway.rest, "kept.ipynb") as ids:
        yield ids


@pytest.fixture
def own_ids(driver: Driver, path: str) -> Iterator[dict[str, str]]:
    """A session and a kernel for one test, where its path needs any."""
    with session(driver.gateway.rest, "own.ipynb") if "_id}" in path else contextlib.nullcontext({}) as ids:
        yield ids


def end_what_was_started(driver: Driver, answer: requests.Response) -> None:
    if answer.status_code == 201:
        model = answer.json()
        driver.gateway.rest.shut_down(model.get("kernel", model)["id"])


@pytest.mark.parametrize(("method", "path"), [each for each in ANSWERED_HERE if each != OPENS_WEBSOCKET])
def test_every_example_gets_a_described_success(
    driver: Driver, method: str, path: str, own_ids: dict[str, str]
) -> None:
    for body in bodies(method, path) or [None]:
        answer = driver.call(method, path, own_ids, json=body)
        assert answer.ok, answer.text
        end_what_was_started(driver, answer)


@pytest.mark.parametrize("path", [OPENS_WEBSOCKET[1]])
def test_the_websocket_opens_as_described(driver: Driver, path: str, ids: dict[str, str]) -> None:
    operation = DESCRIPTION["paths"][path]["get"]
    protocol = operation["responses"]["101"]["headers"]["Sec-WebSocket-Protocol"]["schema"]["const"]
    address = driver.gateway.ws_url + path.format_map(ids)
    session_id = operation["parameters"][0]["example"]
    socket = websocket.create_connection(
        f"{address}?session_id={session_id}&token={driver.gateway.token}", subprotocols=[protocol]
    )
    assert (socket.getstatus(), socket.subprotocol) == (101, protocol)
    socket.close()


@pytest.mark.parametrize(("method", "path"), ANSWERED_HERE)
def test_a_credential_is_wanted_where_the_description_says_so(driver: Driver, method: str, path: str) -> None:
    is_public = DESCRIPTION["paths"][path][method.lower()].get("security") == []
    answer = driver.call(method, path, {}, token=None)
    assert answer.status_code == (200 if is_public else 401)


@pytest.mark.parametrize(("method", "path"), [each for each in ANSWERED_HERE if "{" in each[1]])
def test_what_does_not_exist_is_a_described_404(driver: Driver, method: str, path: str) -> None:
    ids = {"kernel_id": UNKNOWN, "session_id": UNKNOWN, "name": "fortran66", "path": "no.png"}
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    key = {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
    answer = driver.call(method, path, ids, json={}, headers={**headers, **key} if "channels" in path else {})
    assert answer.status_code == 404


@pytest.mark.parametrize(("method", "path"), [each for each in ANSWERED_HERE if accepts(*each, "400")])
def test_a_malformed_request_is_a_described_400(driver: Driver, method: str, path: str, ids: dict[str, str]) -> None:
    assert driver.call(method, path, ids, data=b"{").status_code == 400
    for field, schema in body_fields(method, path):
        answer = driver.call(method, path, ids, json={"path": "a", "type": "b", field: WRONG[schema]})
        assert answer.status_code == 400
        assert field in answer.json()["message"]


def body_fields(method: str, path: str) -> list[tuple[str, str]]:
    """Each described field of a request's body with its type."""
    body = DESCRIPTION["paths"][path][method.lower()].get("requestBody")
    if body is None:
        return []
    schema = resolved(body["content"]["application/json"]["schema"])
    parts = [resolved(part) for part in (schema, *schema.get("allOf", ()))]
    fields = {name: resolved(field)["type"] for part in parts for name, field in part.get("properties", {}).items()}
    return [(name, kind if isinstance(kind, str) else kind[0]) for name, kind in fields.items()]


@pytest.mark.parametrize(("method", "path"), [each for each in OPERATIONS if accepts(*each, "413")])
def test_a_body_too_large_is_a_described_413(driver: Driver, method: str, path: str, ids: dict[str, str]) -> None:
    assert driver.call(method, path, ids, data=b" " * (MAX_BODY + 1)).status_code == 413


@pytest.mark.parametrize(("method", "path"), [each for each in ANSWERED_HERE if accepts(*each, "403")])
def test_a_foreign_page_gets_a_described_403(driver: Driver, method: str, path: str) -> None:
    for origin in ("https://elsewhere.example", "http://[", "null"):
        assert driver.call(method, path, {}, headers={"Origin": origin}).status_code == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [each for each in OPERATIONS if accepts(*each, "304") and "/kernelspecs/{name}/{" not in each[1]],
)
def test_an_etag_gets_a_described_304(driver: Driver, method: str, path: str, ids: dict[str, str]) -> None:
    etag = driver.call(method, path, ids).headers["ETag"]
    answer = driver.call(method, path, ids, headers={"If-None-Match": etag})
    assert answer.status_code == 304
    assert answer.headers["ETag"] == etag


def test_a_taken_kernel_id_is_a_described_409(driver: Driver) -> None:
    taken = driver.gateway.rest.start_kernel()
    body = {"name": "other", "env": {"KERNEL_ID": taken}}
    assert driver.call("POST", "/api/kernels", {}, json=body).status_code == 409
    driver.gateway.rest.shut_down(taken)


def test_a_command_that_cannot_run_is_a_described_500(driver: Driver) -> None:
    assert driver.call("POST", "/api/kernels", {}, json={"name": "broken"}).status_code == 500


def test_every_route_is_described_and_every_described_route_exists() -> None:
    described = set(OPERATIONS)
    for variant in ("{}", "{}/", "/t/{{credential}}{}", "/t/{{credential}}{}/"):
        wanted = {(method, variant.format(path)) for method, path in described}
        assert wanted <= served_routes(), variant
    assert len(served_routes()) == 4 * len(described)


def served_routes() -> set[tuple[str, str]]:
    manager = new_manager(FakeBackend())
    channels = ChannelsRoute(manager.registry, manager.agents, "replica")
    spark_ui = SparkUiRoute(manager.registry, "/")
    app = make_app(Api(manager, "/", list_kernels=True), channels, spark_ui, new_guard(""), http_rules())
    return {(route.method, route.resource.canonical) for route in app.router.routes() if route.resource}


def test_both_forms_are_the_same_document_with_the_version_of_the_package(driver: Driver) -> None:
    stranger = Rest(driver.gateway.url)
    as_json = answer_of(stranger.get("/api/swagger.json"))
    assert as_json["info"]["version"] == __version__
    assert yaml.safe_load(stranger.get("/api/swagger.yaml").text) == as_json
    assert as_json["paths"] == DESCRIPTION["paths"]
