"""Options, and what is none."""

import pytest

from enterprise_gateway.cli.arguments import spelled
from enterprise_gateway.errors import ConfigError

ALIASES = {"port": "EnterpriseGatewayApp.port", "client-ca": "EnterpriseGatewayApp.client_ca"}
FLAGS = {
    "debug": ({"EnterpriseGatewayApp": {"log_level": 10}}, ""),
    "y": ({"JupyterApp": {"answer_yes": True}}, ""),
    "elyra": ({}, ""),
}


def read(*argv):
    return spelled(argv, ALIASES, FLAGS, {"JupyterApp.answer_yes"})


def test_each_trait_is_known_by_the_option_that_sets_it():
    assert read("--port", "1", "--debug", "-y", "--elyra", "--MappingKernelManager.cull_busy=1") == {
        "EnterpriseGatewayApp.port": "--port",
        "EnterpriseGatewayApp.log_level": "--debug",
        "JupyterApp.answer_yes": "-y",
        "MappingKernelManager.cull_busy": "--MappingKernelManager.cull_busy",
    }


def test_the_last_spelling_counts_as_the_last_value_does():
    assert read("--port=1", "--EnterpriseGatewayApp.port=2") == {
        "EnterpriseGatewayApp.port": "--EnterpriseGatewayApp.port"
    }


def test_a_negative_number_is_a_value():
    assert read("--EnterpriseGatewayApp.max_kernels_per_user", "-1") == {
        "EnterpriseGatewayApp.max_kernels_per_user": "--EnterpriseGatewayApp.max_kernels_per_user"
    }


def test_names_without_effect_are_options_all_the_same():
    assert read("--EnterpriseGatewayApp.yarn_endpoint=http://x")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--prot=1", "--prot is not an option; did you mean --port?"),
        ("--client-c=x", "--client-c is not an option; did you mean --client-ca?"),
        (
            "--max_kernels=1",
            "--max_kernels is not an option; did you mean --EnterpriseGatewayApp.max_kernels?",
        ),
        (
            "--max-kernels=1",
            "--max-kernels is not an option; did you mean --EnterpriseGatewayApp.max_kernels?",
        ),
        ("--xyzzy", "--xyzzy is not an option"),
        ("-x", "-x is not an option"),
        ("-port=1", "-port is not an option; did you mean --port?"),
        (
            "--KernelManager.autorestrat=1",
            "--KernelManager.autorestrat is not an option; did you mean --KernelManager.autorestart?",
        ),
    ],
)
def test_what_is_no_option_is_refused_with_the_nearest_one(option, message):
    with pytest.raises(ConfigError) as caught:
        read(option)
    assert caught.value.message == message
