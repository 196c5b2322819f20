"""The way to a gateway: tokens, addresses, and servers that are not what they should be."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from support.command import run
from support.gateway import Gateway, StartGateway, new_token

from enterprise_gateway.cli.address import has_token, parse_address
from enterprise_gateway.cli.remote import RemoteKernels
from enterprise_gateway.errors import ConfigError, GatewayError


class Stranger(BaseHTTPRequestHandler):
    """Some other server: a page at every path, and a redirection to the gateway's list."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        moved = self.path.startswith("/moved/") and self.path != "/moved/there"
        self.send_response(302 if moved else 200)
        self.send_header("Location", "/moved/there")
        self.end_headers()
        self.wfile.write(b"<html>Welcome!</html>")

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def stranger() -> Iterator[HTTPServer]:
    Stranger.asked = []
    with HTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("variable", ["EG_AUTH_TOKEN", "JUPYTER_GATEWAY_AUTH_TOKEN"])
def test_a_token_is_taken_from_the_environment(gateway: Gateway, variable: str) -> None:
    done = run(gateway, "list", "--url", gateway.url, **{variable: gateway.token})
    assert (done.returncode, done.stderr) == (0, "")


def test_a_token_is_taken_from_a_file_before_all_else(gateway: Gateway) -> None:
    path = gateway.home / "token"
    path.write_text(f"{gateway.token}\n")
    done = run(gateway, "list", "--url", gateway.url, "--token-file", str(path), EG_AUTH_TOKEN="wrong")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("form", ["{url}?token={token}", "{url}/t/{token}", "{url}/t/{token}/", "{url}/?token={token}"])
def test_a_token_in_the_url_works_with_a_warning_that_does_not_repeat_it(gateway: Gateway, form: str) -> None:
    url = form.format(url=gateway.url, token=gateway.token)
    done = run(gateway, "list", "--json", "--url", url, EG_AUTH_TOKEN="wrong")
    assert done.returncode == 0
    assert "--token-file hides it" in done.stderr
    assert gateway.token not in done.stdout + done.stderr


@pytest.mark.parametrize("environ", [{}, {"EG_AUTH_TOKEN": new_token()}], ids=["none", "wrong"])
def test_without_a_valid_token_the_command_says_where_to_put_one(gateway: Gateway, environ: dict[str, str]) -> None:
    done = run(gateway, "list", "--url", gateway.url, **environ)
    assert done.returncode == 1
    assert f"{gateway.url} wants a valid token: use --token-file or EG_AUTH_TOKEN" in done.stderr


def test_a_base_url_is_kept(start_gateway: StartGateway) -> None:
    gateway = start_gateway(EG_BASE_URL="/some/base")
    kernel_id = gateway.rest.start_kernel()
    done = run(gateway, "why", kernel_id[:6], "--json", "--url", f"{gateway.url}/", EG_AUTH_TOKEN=gateway.token)
    assert done.json["kernel"]["id"] == kernel_id


def test_a_gateway_that_lists_nothing_still_explains_a_kernel_named_in_full(start_gateway: StartGateway) -> None:
    gateway = start_gateway(EG_LIST_KERNELS="False")
    kernel_id = gateway.rest.start_kernel()
    refused = run(gateway, "list", "--url", gateway.url, EG_AUTH_TOKEN=gateway.token)
    assert refused.returncode == 1
    assert "EG_LIST_KERNELS" in refused.stderr
    done = run(gateway, "why", kernel_id, "--json", "--url", gateway.url, EG_AUTH_TOKEN=gateway.token)
    assert done.json["kernel"]["id"] == kernel_id


def test_a_refused_connection_is_told_with_the_address_and_what_to_do(gateway: Gateway) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    done = run(gateway, "stop", "--all", "--url", f"http://127.0.0.1:{port}/base?token=secret")
    assert done.returncode == 1
    assert f"No gateway answers at http://127.0.0.1:{port}/base: " in done.stderr
    assert "Check the address" in done.stderr
    assert "secret" not in done.stderr


def test_tls_where_there_is_none_is_told_as_such(gateway: Gateway) -> None:
    done = run(gateway, "list", "--url", gateway.url.replace("http:", "https:"))
    assert done.returncode == 1
    assert "SSL" in done.stderr


def test_another_server_is_told_from_a_gateway(stranger: HTTPServer) -> None:
    url = f"http://127.0.0.1:{stranger.server_port}"
    with pytest.raises(GatewayError, match="is no gateway of this kind"):
        RemoteKernels(parse_address(url, None, {})).living()


def test_no_redirection_is_followed_with_a_token(stranger: HTTPServer) -> None:
    url = f"http://127.0.0.1:{stranger.server_port}/moved"
    with pytest.raises(GatewayError, match="answered with 302 Found"):
        RemoteKernels(parse_address(url, None, {"EG_AUTH_TOKEN": "secret"})).ids()
    assert Stranger.asked == ["/moved/api/kernels"]


@pytest.mark.parametrize(
    ("url", "shown", "token"),
    [
        ("http://host:8888", "http://host:8888", ""),
        ("https://host/", "https://host", ""),
        ("https://host/a/b/?token=x", "https://host/a/b", "x"),
        ("https://host/t/x", "https://host", "x"),
        ("https://host/t/t/t/x/", "https://host/t/t", "x"),
        ("https://host/t/x/y", "https://host/t/x/y", ""),
        ("http://[::1]:1/", "http://[::1]:1", ""),
    ],
)
def test_addresses_are_read_as_people_copy_them(url: str, shown: str, token: str) -> None:
    address = parse_address(url, None, {})
    assert (address.shown, address.token.reveal(), has_token(url)) == (shown, token, bool(token))


def test_a_token_that_no_header_can_carry_is_refused_without_being_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_address("http://host", None, {"EG_AUTH_TOKEN": "two words"})
    assert "two words" not in caught.value.message


def test_a_repr_of_an_address_shows_no_token() -> None:
    assert "sesame" not in repr(parse_address("http://host/?token=sesame", None, {}))
