from __future__ import annotations

import pytest

from enterprise_gateway.core.principals import ANONYMOUS, SHARED_TOKEN_PRINCIPAL, Principal, Role


def test_a_user_sees_its_own_kernels_alone():
    ann = Principal("ann")
    assert ann.may_see("ann")
    assert not ann.may_see("bob")
    assert not ann.may_see("Ann")


def test_an_operator_sees_every_kernel_but_speaks_for_nobody_else():
    operator = Principal("root", Role.OPERATOR)
    assert operator.may_see("ann")
    assert not operator.may_speak_for("ann")


def test_speaking_for_others_does_not_show_their_kernels():
    hub = Principal("hub", speaks_for_others=True)
    assert hub.may_speak_for("ann")
    assert not hub.may_see("ann")


def test_everybody_speaks_for_himself():
    assert Principal("ann").may_speak_for("ann")
    assert not Principal("ann").may_speak_for("")


@pytest.mark.parametrize("principal", [SHARED_TOKEN_PRINCIPAL, ANONYMOUS])
def test_those_without_a_name_of_their_own_may_name_any_user_as_with_enterprise_gateway(principal):
    assert principal.may_speak_for("ann")
    assert principal.may_see(principal.name)
    assert not principal.may_see("ann")


def test_the_two_nameless_principals_do_not_see_each_other():
    assert not SHARED_TOKEN_PRINCIPAL.may_see(ANONYMOUS.name)
    assert not ANONYMOUS.may_see(SHARED_TOKEN_PRINCIPAL.name)
