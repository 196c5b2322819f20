from __future__ import annotations

import contextlib
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enterprise_gateway.backends.kubernetes.plain_yaml import MAX_DEPTH, load_plain

BOMB = "[" + ", ".join(["&a0 [x, x]"] + [f"&a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]) + "]"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("[{name: work, emptyDir: {}}]", [{"name": "work", "emptyDir": {}}]),
        ('[{"name":"work","emptyDir":{}}]', [{"name": "work", "emptyDir": {}}]),
        ("{a: 1, b: -2, c: 1.5}", {"a": 1, "b": -2, "c": 1.5}),
        ("[true, False, null]", [True, False, None]),
        ("[0x10, 010, 1_000, 1:30, 2024-13-45, yes, =, .inf, .nan, 0b_]",
         ["0x10", "010", "1_000", "1:30", "2024-13-45", "yes", "=", ".inf", ".nan", "0b_"]),
        ("{<<: {a: 1}}", {"<<": {"a": 1}}),
        ("'{{ kernel_id }}'", "{{ kernel_id }}"),
        (f"[{'9' * 30}]", ["9" * 30]),
    ],
)  # fmt: skip
def test_plain_values_are_read(text, value):
    assert load_plain(text) == value


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("!!python/object/apply:os.system ['true']", "tags"),
        ("[!!binary aGk=]", "tags"),
        ("[!!int '']", "tags"),
        ("! x", "tags"),
        ("&a x", "aliases"),
        ("[*a]", "aliases"),
        (BOMB, "aliases"),
        ("{a: 1, a: 2}", "'a' is there twice"),
        ("{1: a}", "not text"),
        ("{[a]: b}", "not valid YAML"),
        ("{true: a}", "not text"),
        ("[1.0e999]", "infinite"),
        ("[" * (MAX_DEPTH + 1), "deeper"),
        ("[" * 4096, "deeper"),
        ("{a: " * 1000, "deeper"),
        ("[", "not valid YAML"),
        ("a: b: c", "not valid YAML"),
        ("{{ kernel_id }}", "not valid YAML"),
        ("a\n---\nb", "not valid YAML"),
        ("\x01", "not valid YAML"),
        ('"\\ud800"', "characters"),
        ('"\\0"', "characters"),
    ],
)
def test_everything_else_is_refused_in_words(text, told):
    with pytest.raises(ValueError, match=told):
        load_plain(text)


@pytest.mark.parametrize("text", [BOMB, "[" * 4096, "{a: " * 1024, "[" + "a," * 2000 + "]", "? " * 2000, "- " * 2000])
def test_hostile_text_costs_little(text):
    begun = time.process_time()
    with contextlib.suppress(ValueError):
        load_plain(text)
    assert time.process_time() - begun < 5


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.text(st.characters(codec="utf-8"), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3),
    max_leaves=8,
)


@given(PLAIN.filter(lambda value: "\\u0000" not in json.dumps(value) and "\\ud" not in json.dumps(value)))
def test_json_is_read_as_json(value):
    assert load_plain(json.dumps(value)) == value


@given(st.text(st.sampled_from(list("[]{}:,-?!&*'\"|>%@#~ ab01._<=e+\\x\n\t\ud800\u0085\0")), max_size=30))
def test_nothing_but_value_error_is_raised(text):
    try:
        load_plain(text)
    except ValueError:
        return
