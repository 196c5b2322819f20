"""Which variables reach a kernel, and from where."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from support.channels import Channels
from support.gateway import Gateway

SENT = {
    "KERNEL_FOO": "from the client",
    "KERNEL_BOTH": "from the client",
    "KERNEL_GATEWAY": "0",
    "NOT_KERNEL": "from the client",
    "ALLOWED": "from the client",
    "EG_AUTH_TOKEN": "from the client",
}
SPEC = {
    "env": {
        "KERNEL_BOTH": "from the spec",
        "KERNEL_SPEC": "from the spec",
        "PLAIN": "from the spec",
        "EXPANDED": "<${KERNEL_FOO}>",
    }
}

Environment = dict[str, str]


def environment(gateway: Gateway, kernel_id: str) -> Environment:
    with Channels.of(gateway, kernel_id) as client:
        code = "import json, os; print(json.dumps(dict(os.environ)))"
        return dict(json.loads(client.execute(code).text))


@pytest.fixture(scope="module")
def env_gateway() -> Iterator[Gateway]:
    settings = {
        "EG_CLIENT_ENVS": "ALLOWED,ALLOWED_TOO",
        "EG_INHERITED_ENVS": "INHERITED",
        "INHERITED": "from the gateway",
        "NOT_INHERITED": "from the gateway",
    }
    with Gateway(kernelspecs={"specified": SPEC}, **settings) as gateway:
        yield gateway.start()


@pytest.fixture(scope="module")
def sent(env_gateway: Gateway) -> Environment:
    """The environment of a kernel whose client sent `SENT`."""
    kernel_id = env_gateway.rest.start_kernel("specified", env=SENT)
    return environment(env_gateway, kernel_id)


@pytest.fixture(scope="module")
def bare(env_gateway: Gateway) -> Environment:
    """The environment of a kernel whose client sent none."""
    return environment(env_gateway, env_gateway.rest.start_kernel("specified"))


def test_kernel_variables_of_the_client_reach_the_kernel(sent: Environment) -> None:
    assert sent["KERNEL_FOO"] == "from the client"


def test_other_variables_of_the_client_are_dropped(sent: Environment) -> None:
    assert "NOT_KERNEL" not in sent


def test_allowed_variables_of_the_client_reach_the_kernel(sent: Environment) -> None:
    assert sent["ALLOWED"] == "from the client"
    assert "ALLOWED_TOO" not in sent


def test_kernel_gateway_is_one_whatever_the_client_says(sent: Environment, bare: Environment) -> None:
    assert sent["KERNEL_GATEWAY"] == bare["KERNEL_GATEWAY"] == "1"


def test_the_client_wins_over_the_spec(sent: Environment, bare: Environment) -> None:
    assert sent["KERNEL_BOTH"] == "from the client"
    assert bare["KERNEL_BOTH"] == "from the spec"


def test_the_spec_is_kept_where_the_client_is_silent(sent: Environment, bare: Environment) -> None:
    for kernel in (sent, bare):
        assert kernel["KERNEL_SPEC"] == kernel["PLAIN"] == "from the spec"


def test_values_of_the_spec_are_templates(sent: Environment) -> None:
    assert sent["EXPANDED"] == "<from the client>"


def test_named_variables_of_the_gateway_are_inherited_and_no_others(sent: Environment, bare: Environment) -> None:
    for kernel in (sent, bare):
        assert kernel["INHERITED"] == "from the gateway"
        assert "NOT_INHERITED" not in kernel


def test_a_kernel_has_the_minimal_base_of_an_environment(bare: Environment) -> None:
    assert {"PATH", "HOME", "LANG"} <= bare.keys()


def test_no_kernel_knows_a_secret_or_setting_of_the_gateway(
    env_gateway: Gateway, sent: Environment, bare: Environment
) -> None:
    for kernel in (sent, bare):
        assert "EG_AUTH_TOKEN" not in kernel
        assert not [name for name in kernel if name.startswith(("EG_", "KG_"))]
        assert env_gateway.token not in kernel.values()


def test_a_kernel_knows_its_id_and_user(env_gateway: Gateway) -> None:
    kernel_id = env_gateway.rest.start_kernel(env={"KERNEL_USERNAME": "ann"})
    kernel = environment(env_gateway, kernel_id)
    assert kernel["KERNEL_ID"] == kernel_id
    assert kernel["KERNEL_USERNAME"] == "ann"
