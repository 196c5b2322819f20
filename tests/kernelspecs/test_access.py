from __future__ import annotations

import pytest

from enterprise_gateway.kernelspecs.access import may_use, split_user
from enterprise_gateway.kernelspecs.model import KernelSpec
from enterprise_gateway.kernelspecs.placement import BackendKind, Placement

NOBODY: frozenset[str] = frozenset()


def spec_with(authorized=(), unauthorized=()):
    return KernelSpec(
        name="k",
        argv=("k",),
        display_name="The Kernel",
        language="k",
        resource_dir="/k",
        placement=Placement(
            BackendKind.LOCAL,
            authorized_users=frozenset(authorized),
            unauthorized_users=frozenset(unauthorized),
        ),
    )


@pytest.mark.parametrize("authorized", [None, NOBODY, frozenset({"ann"})])
def test_everybody_is_let_in_unless_a_set_says_otherwise(authorized):
    assert may_use(spec_with(), "ann", authorized, NOBODY).allowed


def test_the_deny_set_wins_over_the_allow_set():
    decision = may_use(spec_with(authorized={"root"}), "root", frozenset({"root"}), frozenset({"root"}))
    assert not decision.allowed
    assert "'root'" in decision.reason
    assert "'The Kernel'" in decision.reason
    assert "set of unauthorized users" in decision.reason


def test_the_specs_deny_set_adds_to_the_gateways():
    spec = spec_with(unauthorized={"bad_guy"})
    assert not may_use(spec, "bad_guy", None, frozenset({"root"})).allowed
    assert not may_use(spec, "root", None, frozenset({"root"})).allowed
    assert may_use(spec, "bob", None, frozenset({"root"})).allowed


def test_the_specs_allow_set_replaces_the_gateways():
    spec = spec_with(authorized={"bob"})
    assert may_use(spec, "bob", frozenset({"ann"}), NOBODY).allowed
    refused = may_use(spec, "ann", frozenset({"ann"}), NOBODY)
    assert not refused.allowed
    assert "not in the set of authorized users" in refused.reason


def test_user_names_are_compared_with_their_case():
    assert not may_use(spec_with(), "Ann", frozenset({"ann"}), NOBODY).allowed


@pytest.mark.parametrize("user", ["", "ann"])
def test_an_allow_set_of_the_empty_name_lets_nobody_in(user):
    assert not may_use(spec_with(), user, frozenset({""}), NOBODY).allowed


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("bob", ("bob", None)),
        ("bob/python3", ("bob", "python3")),
        ("corp/bob/python3", ("corp/bob", "python3")),
        ("bob/", ("bob", None)),
        ("", ("", None)),
    ],
)
def test_a_spec_name_glued_behind_the_user_is_split_off(value, parts):
    assert split_user(value) == parts
