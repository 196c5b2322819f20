"""Several sources, one `Settings`, and messages for everything that is wrong."""

import pytest

from enterprise_gateway.config import Given, build, from_environ, from_traits
from enterprise_gateway.errors import ConfigError


def refused(environ):
    with pytest.raises(ConfigError) as caught:
        build([from_environ(environ)])
    return caught.value.message


def test_the_command_line_beats_files_beat_the_environment():
    environment = from_environ({"EG_PORT": "1", "EG_IP": "127.0.0.2", "EG_MAX_KERNELS": "3"})
    file = {"port": Given(2, "file"), "ip": Given("127.0.0.3", "file")}
    line = {"port": Given("4", "--port")}
    settings = build([line, file, environment])
    assert (settings.port, settings.ip, settings.max_kernels) == (4, "127.0.0.3", 3)


def test_a_bad_value_that_does_not_count_is_nobodys_business():
    assert build([{"port": Given("5", "--port")}, from_environ({"EG_PORT": "abc"})]).port == 5


def test_newer_names_beat_older_ones():
    assert build([from_environ({"KG_PORT": "1", "EG_PORT": "2"})]).port == 2
    assert build([from_environ({"EG_ENV_WHITELIST": "A", "EG_CLIENT_ENVS": "B"})]).client_envs == ("B",)


def test_the_more_specific_class_counts_whatever_the_order():
    given = {
        "MappingKernelManager.cull_idle_timeout": Given(1, ""),
        "RemoteMappingKernelManager.cull_idle_timeout": Given(2, ""),
    }
    assert build([from_traits(given)]).cull_idle_timeout == 2
    given["EnterpriseGatewayApp.cull_idle_timeout"] = Given(3, "")
    assert build([from_traits(given)]).cull_idle_timeout == 3


@pytest.mark.parametrize(
    "name", ["EG_PORT", "EG_LIST_KERNELS", "EG_KERNEL_INFO_TIMEOUT", "EG_CERTFILE", "EG_MAX_KERNELS"]
)
def test_an_empty_variable_is_as_good_as_unset_where_empty_means_nothing(name):
    assert build([from_environ({name: ""})]) == build()


def test_an_empty_variable_is_a_value_where_empty_means_something():
    settings = build([from_environ({"EG_AUTH_TOKEN": "", "EG_AUTHORIZED_USERS": "", "EG_UNAUTHORIZED_USERS": ""})])
    assert settings.auth_token == ""
    assert settings.authorized_users == frozenset({""})
    assert settings.unauthorized_users == frozenset({""})


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"EG_PORT": "abc"}, "EG_PORT is 'abc', but must be an integer from 0 to 65535 (0 = any free port)"),
        ({"KG_PORT_RETRIES": "x"}, "KG_PORT_RETRIES is 'x', but must be an integer of at least 0"),
        ({"EG_CULL_BUSY": "perhaps"}, "EG_CULL_BUSY is 'perhaps', but must be true or false"),
        ({"EG_START_WAIT": "-1"}, "EG_START_WAIT is '-1', but must be a number of seconds, 0 or more"),
        ({"EG_AUTH_TOKEN": "hunter\n2"}, "EG_AUTH_TOKEN must be text on one line"),
    ],
)  # fmt: skip
def test_a_bad_value_is_named_as_it_was_written_with_what_would_be_right(environ, message):
    assert refused(environ) == message


@pytest.mark.parametrize(
    ("environ", "names", "words"),
    [
        ({"EG_PORT_RANGE": "40000..40010"}, "EG_PORT_RANGE", "at least 1000 are required"),
        ({"EG_KEYFILE": "/key.pem"}, "EG_KEYFILE", "set EG_CERTFILE"),
        ({"EG_CLIENT_CA": "/ca.pem"}, "EG_CLIENT_CA", "set EG_CERTFILE"),
        ({"EG_AUTHORIZED_ORIGIN": "proxy", "EG_CERTFILE": "/c"}, "EG_AUTHORIZED_ORIGIN", "EG_CLIENT_CA"),
        ({"EG_IP": "0.0.0.0", "EG_AUTH_TOKEN": ""}, "EG_IP and EG_AUTH_TOKEN", "could run code"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(environ, names, words):
    message = refused(environ)
    assert message.startswith(f"{names}: ")
    assert words in message


def test_the_size_a_port_range_must_have_is_itself_a_setting():
    environ = {"EG_PORT_RANGE": "40000..40010", "EG_MIN_PORT_RANGE_SIZE": "10"}
    assert build([from_environ(environ)]).port_range.size == 10


@pytest.mark.parametrize("ip", ["0.0.0.0", "::", "", "192.168.0.7", "gateway.example.org"])
@pytest.mark.parametrize(
    "more",
    [
        {"EG_ALLOW_UNAUTHENTICATED": "yes"},
        {"EG_TOKEN_FILE": "/tokens"},
        {"EG_CERTFILE": "/c", "EG_CLIENT_CA": "/ca"},
        {"EG_AUTH_TOKEN": "hunter22"},
    ],
)
def test_a_gateway_may_be_reached_from_elsewhere_when_something_authenticates(ip, more):
    environ = {"EG_IP": ip, "EG_AUTH_TOKEN": ""} | more
    assert build([from_environ(environ)]).ip == ip


@pytest.mark.parametrize("ip", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_a_gateway_without_authentication_may_listen_on_loopback(ip):
    assert build([from_environ({"EG_IP": ip, "EG_AUTH_TOKEN": ""})]).auth_token == ""
