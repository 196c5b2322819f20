"""Pods' names are valid whatever users are called, and no two kernels share one."""

from __future__ import annotations

import re
import uuid

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from enterprise_gateway.backends.kubernetes.names import MAX_LABEL, label_value, pod_name

KERNEL = "5e755458-a114-4215-96b7-bcb016fc7b62"
OTHER = "0d2f6f1f-9a3b-4c57-8a61-5f0c2e1a7b90"

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")

ANY_TEXT = st.text(st.characters())  # surrogates as well
NEAR_NAMES = st.text("ab-2._A", max_size=70)
USERNAMES = ANY_TEXT | NEAR_NAMES
KERNEL_IDS = st.uuids().map(str)
PIECES = st.sampled_from(["{{ kernel_username }}", "{{kernel_id}}", "{{ kernel_x }}", "-", "a", "{{", OTHER, "Ä"])
TEMPLATES = ANY_TEXT | st.lists(PIECES).map("".join)


def is_valid_name(name: str) -> bool:
    return len(name) <= MAX_LABEL and DNS_LABEL.fullmatch(name) is not None


def shape_of(name: str) -> str:
    """The name with its hash called so."""
    return re.sub(r"--[a-z2-7]{10}-", "--HASH-", name)


@pytest.mark.parametrize("username", ["alice", "a", "7", "jean-luc", "a--b", "x" * 26, "0-0"])
def test_a_plain_user_name_stays_as_it_is(username: str) -> None:
    assert pod_name(username, KERNEL) == f"{username}-{KERNEL}"


@pytest.mark.parametrize(
    ("username", "name"),
    [
        ("Alice", "alice--HASH"),
        ("j.doe@example.com", "j-doe-example--HASH"),
        ("x" * 27, "xxxxxxxxxxxxxx--HASH"),
        ("-alice-", "alice--HASH"),
        ("", "user--HASH"),
        ("花子", "user--HASH"),
        ("bob--hpcrayuxhr", "bob-hpcrayuxhr--HASH"),
    ],
)
def test_any_other_user_name_is_made_readable_and_gets_a_hash(username: str, name: str) -> None:
    assert shape_of(pod_name(username, KERNEL)) == f"{name}-{KERNEL}"


def test_names_are_the_same_in_every_release() -> None:
    assert pod_name("Alice", KERNEL) == f"alice--hpcrayuxhr-{KERNEL}"


@settings(deadline=None)
@given(USERNAMES, KERNEL_IDS)
def test_every_name_is_a_dns_label_that_ends_with_the_whole_kernel_id(username: str, kernel_id: str) -> None:
    name = pod_name(username, kernel_id)
    assert is_valid_name(name)
    assert name.endswith(f"-{kernel_id}")


@settings(deadline=None)
@given(st.tuples(USERNAMES, KERNEL_IDS), st.tuples(USERNAMES, KERNEL_IDS))
def test_different_kernels_have_different_names(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (pod_name(*one) == pod_name(*other)) == (one == other)


@settings(deadline=None)
@given(USERNAMES, USERNAMES)
@example("Alice", "alice")
@example("a.b", "a-b")
@example("x" * 30, "x" * 31)
def test_different_users_have_different_names(one: str, other: str) -> None:
    assert (pod_name(one, KERNEL) == pod_name(other, KERNEL)) == (one == other)


@settings(deadline=None)
@given(USERNAMES)
def test_nobody_can_be_called_what_another_users_name_was_made_to(username: str) -> None:
    made = pod_name(username, KERNEL).removesuffix(f"-{KERNEL}")
    assert made == username or pod_name(made, KERNEL) != pod_name(username, KERNEL)


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{{ kernel_username }}-{{ kernel_id }}", f"bob-{KERNEL}"),
        ("{{kernel_id}}", KERNEL),
        ("nb-{{ kernel_id }}-{{ kernel_team }}", f"nb-{KERNEL}-ml-ops"),
        ("{{ kernel_team }}", f"ml-ops-{KERNEL}"),
        ("My_Kernel!", f"my-kernel-{KERNEL}"),
        (OTHER, f"0d2f6f1f-9a3b--HASH-{KERNEL}"),
        ("{{ kernel_id }}{{ kernel_id }}", f"user--HASH-{KERNEL}"),
        ("x" * 60 + "{{ kernel_id }}", f"{'x' * 14}--HASH-{KERNEL}"),
    ],
)
def test_a_client_may_choose_the_name_but_not_another_kernels(template: str, name: str) -> None:
    variables = {"KERNEL_USERNAME": "bob", "KERNEL_TEAM": "ML ops", "KERNEL_ID": OTHER}
    assert shape_of(pod_name("bob", KERNEL, template, variables)) == name


@pytest.mark.parametrize(
    "template",
    [
        "",
        "{{ kernel_unknown }}",
        "{{ KERNEL_USERNAME }}",
        "{{ kernel_username|upper }}",
        "{{ 7 * 7 }}",
        "{{ 'x' }}-{{ kernel_id }}",
        "{{ _private }}",
        "{{ path }}",
        "!!!",
        "{{ kernel_empty }}",
    ],
)
def test_a_template_that_is_anything_else_gives_the_default_name(template: str) -> None:
    variables = {"KERNEL_USERNAME": "bob", "KERNEL_EMPTY": "", "PATH": "/bin"}
    assert pod_name("bob", KERNEL, template, variables) == f"bob-{KERNEL}"


@settings(deadline=None)
@given(TEMPLATES, KERNEL_IDS, KERNEL_IDS, USERNAMES)
def test_no_template_makes_a_name_invalid_or_another_kernels(
    template: str, kernel_id: str, other_id: str, value: str
) -> None:
    variables = {"KERNEL_USERNAME": "bob", "KERNEL_X": value}
    name = pod_name("bob", kernel_id, template, variables)
    assert is_valid_name(name)
    assert kernel_id in name
    assert other_id == kernel_id or other_id not in name
    assert name != pod_name("bob", other_id, name) or other_id == kernel_id


@pytest.mark.parametrize("hidden", [OTHER, OTHER.upper(), OTHER.replace("-", "_")])
def test_a_variable_that_holds_another_kernels_id_makes_no_name_of_that_kernel(hidden: str) -> None:
    name = pod_name("bob", KERNEL, "{{ kernel_x }}", {"KERNEL_X": f"bob-{hidden}"})
    assert OTHER not in name
    assert name != pod_name("bob", OTHER)


def test_a_label_has_no_room_for_two_kernel_ids() -> None:
    """What makes names unique: two ids can overlap in a text by eight characters at most."""
    pattern = re.compile(r"(?=[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")
    shortest = str(uuid.UUID(int=0)) + "-0000-0000-0000-000000000000"
    assert len(pattern.findall(shortest)) == 2
    assert len(shortest) == MAX_LABEL + 1


@pytest.mark.parametrize("text", ["", "alice", "Alice.B_c-d", "x" * 63, "7", "a--b"])
def test_a_text_that_is_a_valid_label_value_stays_as_it_is(text: str) -> None:
    assert label_value(text) == text


@settings(deadline=None)
@given(USERNAMES)
def test_every_text_has_a_valid_label_value(text: str) -> None:
    value = label_value(text)
    assert len(value) <= MAX_LABEL
    assert LABEL_VALUE.fullmatch(value)


@settings(deadline=None)
@given(USERNAMES, USERNAMES)
def test_different_texts_have_different_label_values(one: str, other: str) -> None:
    assert (label_value(one) == label_value(other)) == (one == other)


@settings(deadline=None)
@given(USERNAMES)
def test_nothing_reads_like_the_label_value_of_another_text(text: str) -> None:
    made = label_value(text)
    assert made == text or label_value(made) != made
