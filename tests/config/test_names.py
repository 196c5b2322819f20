"""Names that are not settings."""

import logging

import pytest

from enterprise_gateway.config import Given, Remark, remarks_on_environ, remarks_on_traits
from enterprise_gateway.config.names import ignored_names


def test_a_slip_of_the_pen_is_told_with_the_nearest_name():
    assert remarks_on_environ({"EG_PROT": "1"}) == [
        Remark(logging.WARNING, "EG_PROT is not a known setting; did you mean EG_PORT?")
    ]


def test_a_name_like_no_other_is_told_without_a_guess():
    assert remarks_on_environ({"EG_XYZZY_QUUX": ""}) == [
        Remark(logging.WARNING, "EG_XYZZY_QUUX is not a known setting")
    ]


def test_settings_and_other_peoples_variables_are_not_remarked_on():
    assert remarks_on_environ({"EG_PORT": "1", "KG_PORT": "1", "PATH": "", "EGG": "", "KERNEL_ID": ""}) == []


@pytest.mark.parametrize("name", sorted(name for name in ignored_names() if name.startswith("EG_")))
def test_every_name_without_effect_says_so(name):
    (remark,) = remarks_on_environ({name: "x"})
    assert remark.text.startswith(f"{name} has no effect ")


def test_a_name_of_a_backend_that_is_not_here_says_so_quietly():
    assert remarks_on_environ({"EG_YARN_ENDPOINT": "x"}) == [
        Remark(logging.INFO, "EG_YARN_ENDPOINT has no effect with the backends of this gateway")
    ]


def test_a_name_somebody_may_rely_on_is_told_aloud():
    (remark,) = remarks_on_environ({"EG_AUTHORIZER_CLASS": "my.Authorizer"})
    assert remark.level == logging.WARNING


def test_traits_are_named_as_they_were_written():
    given = {
        "EnterpriseGatewayApp.prot": Given(1, "c.EnterpriseGatewayApp.prot in /x.py"),
        "KernelSpecCache.cache_enabled": Given("True", "--KernelSpecCache.cache_enabled"),
    }
    unknown, ignored = remarks_on_traits(given)
    assert unknown.text == (
        "c.EnterpriseGatewayApp.prot in /x.py is not a known setting; did you mean EnterpriseGatewayApp.port?"
    )
    assert ignored.text.startswith("--KernelSpecCache.cache_enabled has no effect ")


def test_a_misspelled_class_is_noticed():
    (remark,) = remarks_on_traits({"EnterpriseGatwayApp.port": Given(1, "here")})
    assert remark.text == "here is not a known setting; did you mean EnterpriseGatewayApp.port?"


def test_settings_of_other_jupyter_programs_are_left_alone():
    given = {"ServerApp.ip": Given("", ""), "MappingKernelManager.root_dir": Given("", "")}
    assert remarks_on_traits(given) == []
