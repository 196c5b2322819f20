"""Agents and gateways on a network on which anybody may speak: who they listen to, and what they say to whom."""

from __future__ import annotations

import http.client
import secrets
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from support.credentials import kernel_secrets
from support.deployed import Deployed
from support.inside import Stranger
from support.rest import Rest, assert_error
from support.wait import eventually

from enterprise_gateway.core.keys import KernelSecrets
from enterprise_gateway.core.pods import hello_proof
from enterprise_gateway.core.secret import Secret
from enterprise_gateway.core.tls import make_identity, pin, shown_key

pytestmark = pytest.mark.cluster

AGENT = 8443
HELLO = 8877
DEADLINE = 10.0

IMPOSTOR = """
import os, pathlib, socket, ssl

identity = pathlib.Path("/tmp/identity.pem")
identity.write_text(os.environ["IDENTITY"])
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(identity)
server = socket.create_server(("", 8443), backlog=64)
while True:
    connection, (host, _) = server.accept()
    said = b""
    try:
        connection.settimeout(10)
        with context.wrap_socket(connection, server_side=True) as tls:
            said = tls.recv(65536)
    except OSError:
        pass
    print(host, "said", said, flush=True)
"""
"""Answers at the agents' port with a key of its own, and writes down what it is told."""


class Agent:
    """A kernel's agent as a client on the network finds it."""

    def __init__(self, address: str, secrets: KernelSecrets) -> None:
        self.address = address
        self.secrets = secrets

    def status(self, authorization: str | None) -> int:
        """The status code of a request for the agent's status."""
        headers = {} if authorization is None else {"Authorization": authorization}
        connection = http.client.HTTPSConnection(self.address, AGENT, timeout=DEADLINE, context=trusting())
        try:
            connection.request("GET", "/status", headers=headers)
            return connection.getresponse().status
        finally:
            connection.close()

    def shown(self) -> bytes:
        """The key in the certificate that it shows."""
        with (
            socket.create_connection((self.address, AGENT), timeout=DEADLINE) as plain,
            trusting().wrap_socket(plain) as tls,
        ):
            return shown_key(tls.getpeercert(binary_form=True) or b"")


@pytest.fixture(scope="module")
def kernel_id(deployed: Deployed) -> Iterator[str]:
    """A kernel whose agent the tests speak to."""
    kernel_id = deployed.rest.start_kernel("python_kubernetes")
    yield kernel_id
    deployed.rest.shut_down(kernel_id)


@pytest.fixture
def agent(deployed: Deployed, kernel_id: str) -> Agent:
    address = eventually(lambda: deployed.namespace.kernel_pod(kernel_id)["status"].get("podIP"))
    return Agent(address, kernel_secrets(deployed.namespace, kernel_id))


@pytest.fixture
def replica(deployed: Deployed) -> str:
    """The address of the one replica that the tests say hello to."""
    return str(deployed.namespace.get("pod", min(deployed.replicas()))["status"]["podIP"])


@pytest.fixture
def impostor(deployed: Deployed) -> Iterator[Stranger]:
    """A pod that answers like an agent, with a key that nobody pinned."""
    identity = make_identity(Secret(secrets.token_hex(32))).decode()
    with Stranger(deployed.namespace, IMPOSTOR, IDENTITY=identity) as stranger:
        yield stranger


class TestAgent:
    """What an agent shows and asks for."""

    @pytest.mark.parametrize("authorization", [None, "token ", "token wrong", f"Bearer {'0' * 64}"])
    def test_nobody_is_answered_without_the_kernels_token(self, agent: Agent, authorization: str | None) -> None:
        assert agent.status(authorization) == 401

    def test_who_has_the_token_is_answered(self, agent: Agent) -> None:
        assert agent.status(f"token {agent.secrets.token.reveal()}") == 200

    def test_the_tokens_of_clients_and_of_other_kernels_do_not_count(self, agent: Agent, deployed: Deployed) -> None:
        other = deployed.rest.start_kernel("python_kubernetes")
        tokens = [deployed.token, kernel_secrets(deployed.namespace, other).token.reveal()]
        deployed.rest.shut_down(other)
        assert [agent.status(f"token {token}") for token in tokens] == [401, 401]

    def test_it_shows_the_key_that_gateways_expect_of_this_kernel(self, agent: Agent) -> None:
        assert agent.shown() == pin(agent.secrets.tls_seed)

    def test_it_speaks_nothing_older_than_tls_1_3(self, agent: Agent) -> None:
        context = trusting()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with (
            socket.create_connection((agent.address, AGENT), timeout=DEADLINE) as plain,
            pytest.raises((ssl.SSLError, ConnectionResetError)),
        ):
            context.wrap_socket(plain)

    def test_it_does_not_answer_in_clear(self, agent: Agent) -> None:
        token = agent.secrets.token.reveal()
        with pytest.raises(requests.ConnectionError):
            requests.get(
                f"http://{agent.address}:{AGENT}/status", headers={"Authorization": f"token {token}"}, timeout=DEADLINE
            )


class TestHello:
    """What a gateway believes of what it is told at the agents' port."""

    @pytest.mark.parametrize("proof", ["", "0" * 64, "é"])
    def test_a_hello_with_a_wrong_proof_is_refused(
        self, deployed: Deployed, kernel_id: str, replica: str, proof: str
    ) -> None:
        assert say_hello(replica, kernel_id, "192.0.2.1", proof) == 404
        assert interrupt(deployed, kernel_id, replica).status_code == 204

    def test_a_proof_counts_for_one_kernel_and_one_address(self, agent: Agent, kernel_id: str, replica: str) -> None:
        proof = proof_of(agent, kernel_id, agent.address)
        assert say_hello(replica, kernel_id, "192.0.2.1", proof) == 404
        assert say_hello(replica, "00000000-0000-4000-8000-000000000000", agent.address, proof) == 404
        assert say_hello(replica, kernel_id, agent.address, proof) == 204

    def test_nothing_but_a_hello_is_answered_at_the_agents_port(self, deployed: Deployed, replica: str) -> None:
        rest = Rest(f"http://{replica}:{HELLO}", deployed.token)
        for path in ("/api", "/api/kernels", "/metrics", "/readyz", "/agents/"):
            assert rest.get(path).status_code == 404

    def test_an_impostor_at_the_announced_address_is_told_nothing(
        self, deployed: Deployed, agent: Agent, kernel_id: str, replica: str, impostor: Stranger
    ) -> None:
        assert b"hello" in told(impostor, b"hello")
        proof = proof_of(agent, kernel_id, impostor.address)
        assert say_hello(replica, kernel_id, impostor.address, proof) == 204
        assert_error(interrupt(deployed, kernel_id, replica), 503, "does not hold this kernel's key")
        said = eventually(lambda: [line for line in impostor.log.splitlines() if line.startswith(f"{replica} said")])
        assert set(said) == {f"{replica} said b''"}
        # The same kernel at its own address again.
        assert say_hello(replica, kernel_id, agent.address, proof_of(agent, kernel_id, agent.address)) == 204
        assert interrupt(deployed, kernel_id, replica).status_code == 204


def trusting() -> ssl.SSLContext:
    """A client that looks at no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def proof_of(agent: Agent, kernel_id: str, address: str) -> str:
    return hello_proof(agent.secrets.token.reveal(), kernel_id, address, AGENT)


def say_hello(replica: str, kernel_id: str, address: str, proof: str) -> int:
    """The status code with which a replica takes the news that a kernel's agent listens at `address`."""
    hello: dict[str, Any] = {"host": address, "port": AGENT, "proof": proof}
    return Rest(f"http://{replica}:{HELLO}").post(f"/agents/{kernel_id}", json=hello).status_code


def interrupt(deployed: Deployed, kernel_id: str, replica: str) -> requests.Response:
    """The answer to an interrupt by way of one replica, which has to reach the agent for it."""
    return Rest(f"http://{replica}:8888", deployed.token).post(f"/api/kernels/{kernel_id}/interrupt")


def told(impostor: Stranger, words: bytes) -> bytes:
    """What the impostor heard of what was said to it."""
    with (
        socket.create_connection((impostor.address, AGENT), timeout=DEADLINE) as plain,
        trusting().wrap_socket(plain) as tls,
    ):
        tls.sendall(words)
    return eventually(lambda: impostor.log if " said " in impostor.log else "").encode()
