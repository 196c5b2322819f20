"""Browsers of other sites, base URLs and slashes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import websocket
from support.channels import Channels
from support.gateway import Gateway, StartGateway
from support.rest import Rest, answer_of, assert_error

FRIEND = "https://lab.example"
STRANGER = "https://evil.example"

CORS = {
    "EG_ALLOW_CREDENTIALS": "true",
    "EG_ALLOW_HEADERS": "Authorization,Content-Type",
    "EG_ALLOW_METHODS": "GET,POST,PATCH,DELETE",
    "EG_ALLOW_ORIGIN": FRIEND,
    "EG_EXPOSE_HEADERS": "Location",
    "EG_MAX_AGE": "600",
}
HEADERS = {
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Allow-Headers": "Authorization,Content-Type",
    "Access-Control-Allow-Methods": "GET,POST,PATCH,DELETE",
    "Access-Control-Allow-Origin": FRIEND,
    "Access-Control-Expose-Headers": "Location",
    "Access-Control-Max-Age": "600",
}


@pytest.fixture(scope="module")
def cors() -> Iterator[Gateway]:
    with Gateway(EG_BASE_URL="/Fake/path/", EG_WS_PING_INTERVAL_SECS="1", **CORS) as gateway:
        yield gateway.start()


@pytest.fixture(scope="module")
def friends_kernel(cors: Gateway) -> str:
    return cors.rest.start_kernel()


@pytest.mark.parametrize("path", ["/api", "/api/kernels", "/api/kernelspecs", "/api/kernels/1-2-3-4-5"])
def test_every_answer_carries_the_configured_headers(cors: Gateway, path: str) -> None:
    answer = cors.rest.get(path, headers={"Origin": FRIEND})
    assert HEADERS.items() <= dict(answer.headers).items()
    assert "Content-Security-Policy" not in answer.headers
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_preflight_needs_no_token(cors: Gateway) -> None:
    for path in ("/api/kernels", "/api/sessions", "/api/kernelspecs"):
        answer = Rest(cors.url).options(path, headers={"Origin": FRIEND})
        assert answer.status_code == 200
        assert not answer.content
        assert HEADERS.items() <= dict(answer.headers).items()


def test_an_unconfigured_gateway_sends_no_cors_headers(gateway: Gateway) -> None:
    answer = gateway.rest.get("/api")
    assert not [name for name in answer.headers if name.startswith("Access-Control-")]


def test_a_wrong_origin_is_a_403_even_with_the_token(cors: Gateway, gateway: Gateway) -> None:
    for rest in (cors.rest, gateway.rest):
        assert_error(rest.get("/api/kernels", headers={"Origin": STRANGER}), 403)
        assert_error(rest.post("/api/kernels", headers={"Origin": STRANGER}), 403)


def test_the_own_and_the_allowed_origin_are_let_in(cors: Gateway, gateway: Gateway) -> None:
    answer_of(gateway.rest.get("/api/kernels", headers={"Origin": gateway.url}))
    answer_of(cors.rest.get("/api/kernels", headers={"Origin": FRIEND}))


def test_a_websocket_checks_the_origin_too(cors: Gateway, friends_kernel: str) -> None:
    address = f"{cors.ws_url}/api/kernels/{friends_kernel}/channels?token={cors.token}"
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        websocket.create_connection(address, origin=STRANGER)
    assert refused.value.status_code == 403
    websocket.create_connection(address, origin=FRIEND).close()


def test_locations_and_resources_are_below_the_base_url(cors: Gateway) -> None:
    answer = cors.rest.post("/api/kernels")
    model = answer.json()
    assert answer.headers["Location"] == f"/Fake/path/api/kernels/{model['id']}"
    cors.rest.shut_down(model["id"])
    resources = answer_of(cors.rest.get("/api/kernelspecs/python3"))["resources"]
    assert resources["logo-64x64"] == "/Fake/path/kernelspecs/python3/logo-64x64.png"
    origin = cors.url.removesuffix("/Fake/path")
    assert Rest(origin, cors.token).get(resources["logo-64x64"]).ok


def test_nothing_is_outside_the_base_url(cors: Gateway) -> None:
    origin = cors.url.removesuffix("/Fake/path")
    assert_error(Rest(origin, cors.token).get("/api/kernels"), 404)


def test_a_websocket_opens_at_the_lower_cased_base_url(cors: Gateway, friends_kernel: str) -> None:
    """jupyter_server lower-cases the address it derives for websockets."""
    with Channels(cors.ws_url.lower(), friends_kernel, token=cors.token) as client:
        assert client.execute("print(1)").text == "1\n"


def test_the_path_credential_goes_behind_the_base_url(cors: Gateway, friends_kernel: str) -> None:
    answer_of(Rest(f"{cors.url}/t/{cors.token}").get(f"/api/kernels/{friends_kernel}"))
    with Channels(f"{cors.ws_url}/t/{cors.token}".lower(), friends_kernel) as client:
        assert client.execute("print(1)").text == "1\n"


def test_the_server_pings_at_the_configured_interval(cors: Gateway, friends_kernel: str) -> None:
    with Channels.of(cors, friends_kernel) as client:
        client.execute("1")
        # The second one cannot belong to the messages above: it comes on a silent connection.
        pings = 0
        while pings < 3:
            opcode, _ = client.socket.recv_data(control_frame=True)
            pings += opcode == websocket.ABNF.OPCODE_PING


def test_a_base_url_needs_no_slashes_and_a_star_lets_every_origin_in(start_gateway: StartGateway) -> None:
    gateway = start_gateway(EG_BASE_URL="fake/path", EG_ALLOW_ORIGIN="*")
    answer = gateway.rest.get("/api/kernels", headers={"Origin": STRANGER})
    assert answer_of(answer) == []
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
