"""Every way a client can carry the one token, and what happens without it."""

from __future__ import annotations

import base64

import pytest
import websocket
from support.channels import Channels
from support.gateway import Gateway, GatewayEndedError, StartGateway
from support.rest import Rest, answer_of, assert_error


@pytest.fixture
def stranger(gateway: Gateway) -> Rest:
    """A client without a credential."""
    return Rest(gateway.url)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize("scheme", ["token", "Token", "TOKEN", "bearer", "Bearer", "BEARER"])
def test_the_header_takes_both_schemes_in_any_case(gateway: Gateway, stranger: Rest, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {gateway.token}"}
    answer_of(stranger.get("/api/kernels", headers=headers))


def test_basic_takes_the_token_as_password(gateway: Gateway, stranger: Rest) -> None:
    answer_of(stranger.get("/api/kernels", headers={"Authorization": basic("anyone", gateway.token)}))


def test_the_query_takes_the_token(gateway: Gateway, stranger: Rest) -> None:
    answer_of(stranger.get(f"/api/kernels?token={gateway.token}"))


def test_the_path_takes_the_token(gateway: Gateway, stranger: Rest) -> None:
    for path in ("/api", "/api/kernels", "/api/kernelspecs", "/api/sessions", "/api/kernels/"):
        answer_of(stranger.get(f"/t/{gateway.token}{path}"))
    assert stranger.get(f"/t/{gateway.token}/kernelspecs/python3/logo-64x64.png").ok


def test_the_query_wins_over_the_header(gateway: Gateway, stranger: Rest) -> None:
    good, bad = {"Authorization": f"token {gateway.token}"}, {"Authorization": "token wrong"}
    answer_of(stranger.get(f"/api/kernels?token={gateway.token}", headers=bad))
    assert_error(stranger.get("/api/kernels?token=wrong", headers=good), 401)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "token wrong",
        "Bearer wrong",
        "token ",
        "token",
        "Bearer",
        "Digest x",
        "Basic",
        "Basic %%%",
        basic("anyone", "wrong"),
        basic("anyone", ""),
        "\xfc",
    ],
)
def test_a_wrong_or_missing_credential_is_a_401(stranger: Rest, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    answer = stranger.get("/api/kernels", headers=headers)
    assert_error(answer, 401)
    assert answer.json()["reason"] == "Unauthorized"


@pytest.mark.parametrize("path", ["/api/kernels?token=wrong", "/api/kernels?token=", "/t/wrong/api/kernels"])
def test_a_wrong_token_in_the_address_is_a_401(stranger: Rest, path: str) -> None:
    assert_error(stranger.get(path), 401)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api"),
        ("GET", "/api/kernelspecs"),
        ("GET", "/api/kernelspecs/python3"),
        ("GET", "/kernelspecs/python3/logo-64x64.png"),
        ("POST", "/api/kernels"),
        ("GET", "/api/sessions"),
        ("POST", "/api/sessions"),
    ],
)
def test_every_route_wants_the_token(stranger: Rest, method: str, path: str) -> None:
    assert_error(stranger.request(method, path), 401)


def test_nobody_without_the_token_can_touch_a_kernel(gateway: Gateway, stranger: Rest, kernel_id: str) -> None:
    kernel = f"/api/kernels/{kernel_id}"
    assert_error(stranger.get(kernel), 401)
    assert_error(stranger.post(f"{kernel}/interrupt"), 401)
    assert_error(stranger.post(f"{kernel}/restart"), 401)
    assert_error(stranger.delete(kernel), 401)
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        Channels(gateway.ws_url, kernel_id)
    assert refused.value.status_code == 401
    assert kernel_id in gateway.rest.kernel_ids()


def test_a_websocket_opens_with_any_credential(gateway: Gateway, kernel_id: str) -> None:
    headers = [
        {"Authorization": f"token {gateway.token}"},
        {"Authorization": f"Bearer {gateway.token}"},
        {"Authorization": basic("anyone", gateway.token)},
    ]
    address = f"{gateway.ws_url}/api/kernels/{kernel_id}/channels"
    for header in headers:
        websocket.create_connection(address, header=header).close()
    websocket.create_connection(f"{address}?token={gateway.token}").close()
    by_path = f"{gateway.ws_url}/t/{gateway.token}/api/kernels/{kernel_id}/channels"
    websocket.create_connection(by_path).close()


def test_the_token_is_never_in_the_log(gateway: Gateway, stranger: Rest) -> None:
    stranger.get(f"/api/kernels?token={gateway.token}")
    stranger.get(f"/t/{gateway.token}/api/kernels")
    stranger.get(f"/t/{gateway.token}/api/nothing?token={gateway.token}")
    stranger.get("/api/kernels", headers={"Authorization": f"Digest {gateway.token}"})
    assert gateway.token not in gateway.log


def test_without_a_token_everybody_on_this_machine_is_let_in(start_gateway: StartGateway) -> None:
    open_gateway = start_gateway(EG_AUTH_TOKEN="")
    anyone = Rest(open_gateway.url)
    answer_of(anyone.get("/api/kernels"))
    # jupyter_server with nothing configured sends exactly this.
    answer_of(anyone.get("/api/kernels", headers={"Authorization": "token "}))
    kernel_id = anyone.start_kernel()
    with Channels(open_gateway.ws_url, kernel_id) as client:
        assert client.execute("print(6 * 7)").text == "42\n"


def test_an_open_gateway_refuses_to_serve_a_network(start_gateway: StartGateway) -> None:
    with pytest.raises(GatewayEndedError) as refused:
        start_gateway(EG_IP="0.0.0.0", EG_AUTH_TOKEN="")
    assert refused.value.code != 0
    assert "EG_AUTH_TOKEN" in refused.value.log
    assert "Traceback" not in refused.value.log


def test_health_and_metrics_answer_on_their_own_port_without_a_token(gateway: Gateway) -> None:
    operations = Rest(gateway.ops_url)
    assert operations.get("/livez").status_code == 200
    assert operations.get("/readyz").status_code == 200
    assert "# HELP" in operations.get("/metrics").text
