from __future__ import annotations

import copy
import logging

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enterprise_gateway.core.secret import Secret

HIDDEN = "correct horse battery staple"
any_text = st.text(st.characters(exclude_categories=()), max_size=20)
"""Lone surrogates included: the environment and headers hold bytes that are no UTF-8."""


@pytest.mark.parametrize("show", [str, repr, format, ascii, "{0} {0!r} {0!s}".format, "%s".__mod__, "%r".__mod__])
def test_no_way_of_printing_it_tells_its_text(show):
    assert "*" in show(Secret(HIDDEN))
    assert HIDDEN not in show(Secret(HIDDEN))


def test_it_stays_hidden_inside_of_what_holds_it(caplog):
    class Holder(msgspec.Struct):
        token: Secret

    holder = Holder(Secret(HIDDEN))
    assert HIDDEN not in repr(holder)
    with caplog.at_level(logging.INFO):
        logging.getLogger("test").info("%s %r", holder, {"token": Secret(HIDDEN)})
    assert HIDDEN not in caplog.text


def test_it_cannot_be_written_to_a_file_by_mistake():
    with pytest.raises(TypeError):
        msgspec.json.encode({"token": Secret(HIDDEN)})


def test_only_reveal_gives_the_text():
    assert Secret(HIDDEN).reveal() == HIDDEN
    assert copy.copy(Secret(HIDDEN)).reveal() == HIDDEN


@given(any_text, any_text)
def test_it_matches_its_own_text_and_no_other(text, other):
    assert Secret(text).matches(text)
    assert Secret(text).matches(other) == (text == other)
    assert (Secret(text) == Secret(other)) == (text == other)


def test_secrets_with_one_text_are_one_key_of_a_table():
    assert len({Secret(HIDDEN), Secret(HIDDEN)}) == 1
    assert Secret(HIDDEN) != HIDDEN


def test_an_empty_secret_is_none_at_all():
    assert not Secret("")
    assert Secret(" ")
