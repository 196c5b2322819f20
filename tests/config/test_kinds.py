"""Reading values as people write them."""

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enterprise_gateway.config import kinds


@pytest.mark.parametrize("text", ["true", "True", "TRUE", "1", "yes", "YES", "on", True, 1])
def test_true_has_many_spellings(text):
    assert kinds.BOOLEAN.parse(text) is True


@pytest.mark.parametrize("text", ["false", "False", "0", "no", "No", "off", False, 0])
def test_false_has_many_spellings(text):
    assert kinds.BOOLEAN.parse(text) is False


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (kinds.BOOLEAN, "maybe"), (kinds.BOOLEAN, 2), (kinds.BOOLEAN, ""), (kinds.BOOLEAN, None),
        (kinds.PORT, "abc"), (kinds.PORT, "-1"), (kinds.PORT, 65536), (kinds.PORT, True), (kinds.PORT, 80.5),
        (kinds.PORT, "80.5"), (kinds.PORT, ""), (kinds.PORT, None), (kinds.PORT, [80]),
        (kinds.SECONDS, "-1"), (kinds.SECONDS, "nan"), (kinds.SECONDS, math.inf), (kinds.SECONDS, "10s"),
        (kinds.SECONDS, True), (kinds.SECONDS, None),
        (kinds.TEXT, 5), (kinds.TEXT, "a\nSet-Cookie: b"), (kinds.TEXT, None),
        (kinds.PATH, "/a\0b"), (kinds.PATH, 5),
        (kinds.CREDENTIAL, "a\r"), (kinds.CREDENTIAL, 5),
        (kinds.BASE_URL, "/a?b"), (kinds.BASE_URL, "/a b"),
        (kinds.URL, "host"), (kinds.URL, "/path"), (kinds.URL, "ftp://host"), (kinds.URL, "https://"),
        (kinds.URL, "https://user@host"), (kinds.URL, "https://host?a"), (kinds.URL, "https://host/a b"),
        (kinds.URL, "javascript:alert(1)"), (kinds.URL, "https://host/\n"), (kinds.URL, None),
        (kinds.NAMES, "[a,b"), (kinds.NAMES, 5), (kinds.NAMES, ["a", 5]), (kinds.NAMES, {"a": 1}),
        (kinds.SIZE, "-1"), (kinds.SIZE, "64XB"), (kinds.SIZE, "MiB"), (kinds.SIZE, ""), (kinds.SIZE, 1.5),
        (kinds.LOG_LEVEL, "LOUD"), (kinds.LOG_LEVEL, 51), (kinds.LOG_LEVEL, "-1"), (kinds.LOG_LEVEL, True),
        (kinds.PORT_RANGE, "1-2"), (kinds.PORT_RANGE, "1.."), (kinds.PORT_RANGE, 5),
        (kinds.PORT_RANGE, "a..b"),
        (kinds.one_of("a", "b"), "c"), (kinds.one_of("a", "b"), None),
    ],
)  # fmt: skip
def test_what_is_not_of_the_kind_is_refused(kind, value):
    with pytest.raises(ValueError):  # noqa: PT011 - the words are config.build's
        kind.parse(value)


@pytest.mark.parametrize(
    "written",
    [
        "a,b", " a , b ", "[a,b]", "['a','b']", '["a", "b"]', "a,,b,", "a,b,a",
        ["a", "b"], ("a", "b"), {"a", "b"},
    ],
)  # fmt: skip
def test_names_are_read_in_every_form_start_scripts_use(written):
    assert kinds.NAMES.parse(written) == ("a", "b")


@pytest.mark.parametrize("written", ["", "null", "None", "[]", [], ()])
def test_no_names_are_no_names(written):
    assert kinds.NAMES.parse(written) == ()


def test_empty_users_are_the_set_of_nobody_and_not_of_everybody():
    assert kinds.USERS.parse("") == frozenset({""})
    assert kinds.USERS.parse("[]") == frozenset({""})
    assert kinds.USERS.parse([]) == frozenset()


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0), (65536, 65536), ("65536", 65536), ("64KiB", 65536), ("64 kib", 65536), ("1GiB", 2**30),
        ("1.5MiB", 3 * 2**19), ("1MB", 10**6), ("7b", 7),
    ],
)  # fmt: skip
def test_sizes_have_binary_and_decimal_units(text, size):
    assert kinds.SIZE.parse(text) == size


@given(st.integers(min_value=0, max_value=2**50))
def test_a_size_survives_being_written(size):
    assert kinds.SIZE.parse(kinds.SIZE.plain(size)) == size


@given(st.integers(min_value=0, max_value=50))
def test_a_log_level_survives_being_written(level):
    assert kinds.LOG_LEVEL.parse(kinds.LOG_LEVEL.plain(level)) == level


@given(st.floats(min_value=0, allow_nan=False, allow_infinity=False))
def test_seconds_survive_being_written(seconds):
    assert kinds.SECONDS.parse(kinds.SECONDS.plain(seconds)) == seconds


@given(st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.booleans(), st.lists(st.text())))
def test_nothing_but_a_value_error_leaves_a_kind(value):
    for kind in (*vars(kinds).values(), kinds.integer(0), kinds.optional(kinds.PORT)):
        if isinstance(kind, kinds.Kind):
            with contextlib.suppress(ValueError, OverflowError):
                kind.parse(value)


@pytest.mark.parametrize(
    ("written", "path"),
    [("", "/"), ("/", "/"), ("a/b", "/a/b"), ("/a/b", "/a/b"), ("/a/b/", "/a/b")],
)
def test_a_base_url_starts_with_a_slash_and_ends_without_one(written, path):
    assert kinds.BASE_URL.parse(written) == path


@pytest.mark.parametrize("written", [None, "", "None", "null", " none "])
def test_an_optional_value_can_be_unset_in_words(written):
    assert kinds.optional(kinds.PORT).parse(written) is None


@pytest.mark.parametrize(("written", "level"), [("DEBUG", 10), ("warn", 30), ("Warning", 30), (20, 20), ("15", 15)])
def test_log_levels_are_names_or_numbers(written, level):
    assert kinds.LOG_LEVEL.parse(written) == level
