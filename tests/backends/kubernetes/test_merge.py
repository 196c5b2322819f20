"""Layers of a pod are laid over each other as Kubernetes itself would lay a patch over an object."""

from __future__ import annotations

import contextlib
import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enterprise_gateway.backends.kubernetes.merge import merge

KEYS = st.text("abc", max_size=3)
JSON = st.recursive(
    st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(KEYS, JSON, max_size=4)


def test_mappings_merge_and_values_replace() -> None:
    base = {"spec": {"a": 1, "b": {"c": 2}, "list": [1, 2]}}
    over = {"spec": {"b": {"d": 3}, "a": 4, "list": [5]}}
    assert merge(base, over) == {"spec": {"a": 4, "b": {"c": 2, "d": 3}, "list": [5]}}


def test_null_deletes_and_is_never_in_the_result() -> None:
    assert merge({"a": 1, "b": {"c": 1}}, {"a": None, "b": {"c": None}, "n": {"x": None}}) == {"b": {}, "n": {}}


@pytest.mark.parametrize(
    ("field", "key"),
    [
        ("containers", "name"),
        ("initContainers", "name"),
        ("volumeMounts", "mountPath"),
        ("volumeDevices", "devicePath"),
        ("ports", "containerPort"),
        ("hostAliases", "ip"),
        ("topologySpreadConstraints", "topologyKey"),
    ],
)
def test_lists_of_named_things_merge_by_their_name(field: str, key: str) -> None:
    base = {field: [{key: "1", "x": 1, "y": 1}, {key: "2"}]}
    over = {field: [{key: "3"}, {key: "1", "x": 2}]}
    assert merge(base, over) == {field: [{key: "1", "x": 2, "y": 1}, {key: "2"}, {key: "3"}]}


@pytest.mark.parametrize(("field", "old", "new"), [("volumes", "emptyDir", "secret"), ("env", "value", "valueFrom")])
def test_a_source_takes_the_place_of_another_kind_of_source(field: str, old: str, new: str) -> None:
    base = {field: [{"name": "a", old: {}}, {"name": "b", old: {}}]}
    assert merge(base, {field: [{"name": "a", new: {}}]}) == {field: [{"name": "a", new: {}}, {"name": "b", old: {}}]}


def test_tolerations_join() -> None:
    one, other = {"key": "gpu", "effect": "NoSchedule"}, {"key": "gpu", "effect": "NoExecute"}
    assert merge({"tolerations": [one]}, {"tolerations": [other, one]}) == {"tolerations": [one, other]}


def test_an_item_is_taken_out_by_its_name() -> None:
    base = {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}
    over = {"env": [{"name": "A", "$patch": "delete"}, {"name": "C", "$patch": "delete"}]}
    assert merge(base, over) == {"env": [{"name": "B", "value": "2"}]}


@pytest.mark.parametrize(
    ("over", "told"),
    [
        ({"spec": {"containers": ["x"]}}, r"spec\.containers\[0\] must be a mapping with a 'name'"),
        ({"spec": {"containers": [{"name": "a"}, {"image": "x"}]}}, r"spec\.containers\[1\]"),
        (
            {"spec": {"containers": [{"name": "a", "volumeMounts": [{"name": "x"}]}]}},
            r"spec\.containers\[0\]\.volumeMounts\[0\] must be a mapping with a 'mountPath'",
        ),
        ({"spec": {"volumes": [{"name": ["x"]}]}}, r"spec\.volumes\[0\]"),
    ],
)
def test_an_item_without_its_name_is_refused_by_its_place(over: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        merge({}, over)


@pytest.mark.parametrize(
    ("base", "over", "told"),
    [
        ({"a": {"b": {}}}, {"a": {"b": 1}}, r"a\.b is a single value, and a mapping elsewhere"),
        ({"a": []}, {"a": "x"}, "a is a single value, and a list elsewhere"),
        ({"a": {}}, {"a": [1]}, "a is a list, and a mapping elsewhere"),
        ({"a": "x"}, {"a": {"b": 1}}, "a is a mapping, and a single value elsewhere"),
    ],
)
def test_a_field_cannot_change_its_kind(base: dict, over: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        merge(base, over)


@settings(deadline=None)
@given(OBJECTS, OBJECTS)
def test_nothing_that_comes_in_is_changed(base: dict, over: dict) -> None:
    before = copy.deepcopy((base, over))
    with contextlib.suppress(ValueError):
        merge(base, over)
    assert (base, over) == before


@settings(deadline=None)
@given(OBJECTS)
def test_a_layer_over_nothing_or_under_nothing_or_twice_is_itself(layer: dict) -> None:
    assert merge({}, layer) == merge(layer, {}) == merge(layer, layer) == layer
