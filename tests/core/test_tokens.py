from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enterprise_gateway.core.principals import SHARED_TOKEN_PRINCIPAL, Principal, Role
from enterprise_gateway.core.secret import Secret
from enterprise_gateway.core.tokens import TokenTable, parse_authorization, token_from
from enterprise_gateway.errors import ConfigError

NONE = Secret("")
ANN = "ann-0123456789abcdef"
BEN = "BEN-0123456789abcdef"


def file_of(*entries):
    return json.dumps({"tokens": list(entries)})


def test_without_any_token_the_table_is_open():
    assert TokenTable(NONE).open
    assert TokenTable(NONE).authenticate("") is None


def test_the_shared_token_may_be_short_and_is_everybodys():
    table = TokenTable(Secret("abc"))
    assert not table.open
    assert table.authenticate("abc") is SHARED_TOKEN_PRINCIPAL
    assert table.authenticate("ab") is None
    assert table.authenticate("ABC") is None
    assert table.authenticate("") is None


def test_file_entries_authenticate_their_principals():
    table = TokenTable(
        NONE,
        file_of(
            {"name": "ann", "token": ANN},
            {"name": "ben", "token": BEN, "role": "operator", "speaks_for_others": True},
        ),
    )
    assert table.authenticate(ANN) == Principal("ann", Role.USER, speaks_for_others=False)
    assert table.authenticate(BEN) == Principal("ben", Role.OPERATOR, speaks_for_others=True)
    assert table.authenticate(BEN.lower()) is None


def test_a_shared_token_and_a_file_work_side_by_side():
    table = TokenTable(Secret("abc"), file_of({"name": "ann", "token": ANN}))
    assert table.authenticate("abc") is SHARED_TOKEN_PRINCIPAL
    assert table.authenticate(ANN) == Principal("ann")


def test_a_name_may_have_several_tokens_while_they_are_rotated():
    table = TokenTable(NONE, file_of({"name": "ann", "token": ANN}, {"name": "ann", "token": BEN}))
    assert table.authenticate(ANN) == table.authenticate(BEN) == Principal("ann")


def test_a_path_credential_ignores_letter_case():
    table = TokenTable(NONE, file_of({"name": "ben", "token": BEN}))
    assert table.authenticate_path(BEN.lower()) == Principal("ben")
    assert table.authenticate_path(BEN) == Principal("ben")
    assert table.authenticate_path(BEN[:-1]) is None


def test_tokens_that_collide_when_lower_cased_are_no_path_credentials():
    table = TokenTable(
        NONE,
        file_of(
            {"name": "ann", "token": ANN},
            {"name": "ann", "token": ANN.upper()},
            {"name": "ben", "token": BEN},
        ),
    )
    assert table.authenticate_path(ANN) is None
    assert table.authenticate_path(BEN) == Principal("ben")
    assert table.authenticate(ANN) == Principal("ann")


@given(st.text(min_size=1, max_size=20))
def test_the_lower_cased_shared_token_is_a_path_credential(token):
    assert TokenTable(Secret(token)).authenticate_path(token.lower()) is SHARED_TOKEN_PRINCIPAL


@given(st.text(), st.text(min_size=1))
def test_any_text_can_be_offered_and_only_the_token_is_taken(offered, token):
    assert (TokenTable(Secret(token)).authenticate(offered) is not None) == (offered == token)


def test_half_a_surrogate_is_a_wrong_credential_and_no_crash():
    table = TokenTable(Secret("abc"))
    assert table.authenticate("\udcff\ud800") is None
    assert table.authenticate_path("\udcff\ud800") is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "JSON"),
        ("[]", "object"),
        ("{}", "tokens"),
        ('{"tokens": {}}', "tokens"),
        ('{"tokens": []}', "nobody"),
        (file_of(BEN), "entry 1"),
        (file_of({"name": "ann"}), "token"),
        (file_of({"name": "ann", "token": 1234567890123456}), "entry 1.*str"),
        (file_of({"name": "ann", "token": ANN}, {"name": "b", "token": BEN, "rôle": "user"}), "entry 2"),
        (file_of({BEN: "ben"}), "entry 1"),
        (file_of({"name": " ", "token": BEN}), "no name"),
        (file_of({"name": "ben", "token": BEN, "role": "admin"}), "'ben'.*user, operator"),
        (file_of({"name": "ben", "token": "ann", "role": BEN}), "role"),
        (file_of({"name": "ben", "token": BEN, "speaks_for_others": "yes"}), "bool"),
        (file_of({"name": "ben", "token": BEN[:15]}), "'ben'.*shorter than 16"),
        (file_of({"name": "ben", "token": BEN + " "}), "'ben'.*ASCII"),
        (file_of({"name": "ben", "token": BEN + "é"}), "'ben'.*ASCII"),
        (file_of({"name": "shared-token", "token": BEN}), "gateway's own"),
        (file_of({"name": "ann", "token": BEN}, {"name": "ben", "token": BEN}), "'ann' and 'ben'"),
        (file_of({"name": "ann", "token": BEN}, {"name": "ann", "token": BEN}), "the same"),
    ],
)
def test_a_wrong_token_file_is_refused_by_entry_and_problem_without_the_token(text, problem):
    with pytest.raises(ConfigError, match=problem) as raised:
        TokenTable(NONE, text)
    assert BEN[:15] not in raised.value.message


def test_the_shared_token_may_not_be_somebodys():
    with pytest.raises(ConfigError, match="the same"):
        TokenTable(Secret(ANN), file_of({"name": "ann", "token": ANN}))


def test_a_table_does_not_print_tokens():
    table = TokenTable(Secret(ANN))
    assert ANN not in repr(table)
    assert ANN not in repr(vars(table))


@given(st.binary(min_size=20, max_size=64))
def test_a_new_token_keeps_its_randomness_and_survives_lower_casing(random):
    token = token_from(random)
    assert token == token.lower()
    assert token.isalnum()
    assert base64.b32decode(token.upper() + "=" * (-len(token) % 8)) == random


def test_a_token_of_too_little_randomness_is_not_made():
    with pytest.raises(ValueError, match="20"):
        token_from(bytes(19))


def basic(text):
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("value", "credential"),
    [
        ("token abc", "abc"),
        ("Token abc", "abc"),
        ("Bearer abc", "abc"),
        ("bEARER  abc ", "abc"),
        ("token ", ""),
        ("token", ""),
        (basic("ann:abc"), "abc"),
        (basic("ann:a:b"), "a:b"),
        (basic("ann:"), ""),
        (basic("ann").replace("Basic", "basic"), None),
        ("Basic ???", None),
        ("Basic /w==", None),
        ("Basic é", None),
        ("Digest x", None),
        ("abc", None),
        ("", None),
    ],
)
def test_authorization_headers_are_read(value, credential):
    assert parse_authorization(value) == credential


@given(st.text())
def test_any_authorization_header_can_be_read(value):
    parse_authorization(value)
