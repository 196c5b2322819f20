from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enterprise_gateway.core.environment import (
    MAX_ENTRIES,
    MAX_VALUE_CHARS,
    EnvironmentSources,
    build_environment,
    looks_secret,
    parse_client_env,
)
from enterprise_gateway.errors import InvalidRequest

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)
LEGAL_VALUES = st.text(
    st.characters(exclude_characters="$`\n\r\0", exclude_categories=["Cs"]), max_size=MAX_VALUE_CHARS
)
GATEWAY_SECRETS = {
    "EG_AUTH_TOKEN": "s3cret-a",
    "KG_AUTH_TOKEN": "s3cret-b",
    "EG_TOKEN_FILE": "s3cret-c",
    "EG_REMOTE_PWD": "s3cret-d",
    "EG_WEBHOOK_PASSWORD": "s3cret-e",
}


def build(gateway=None, inherited_envs=(), spec=None, client=None, language="python"):
    return build_environment(
        EnvironmentSources(
            gateway=gateway or {},
            inherited_envs=tuple(inherited_envs),
            spec=spec or {},
            client=client or {},
            kernel_id="the-id",
            username="ann",
            language=language,
        )
    )


def test_kernel_names_and_listed_names_are_kept_and_others_dropped():
    sent = {"KERNEL_FOO": "1", "TEST_VAR": "2", "NOT_KERNEL": "3", "KERNEL_GATEWAY": "4"}
    assert parse_client_env(sent, ("TEST_VAR",)) == {"KERNEL_FOO": "1", "TEST_VAR": "2"}


def test_a_lone_star_lets_every_name_through_except_the_gateways_own():
    sent = {"ANY": "1", "EG_IMPERSONATION_ENABLED": "False", "KG_AUTH_TOKEN": "x", "KERNEL_GATEWAY": "0"}
    assert parse_client_env(sent, ("*",)) == {"ANY": "1"}


def test_a_star_among_other_names_is_a_name():
    assert parse_client_env({"ANY": "1", "OTHER": "2"}, ("*", "OTHER")) == {"OTHER": "2"}


def test_no_env_is_an_empty_env():
    assert parse_client_env(None, ("*",)) == {}


@pytest.mark.parametrize("env", ["KERNEL_FOO=1", ["KERNEL_FOO"], 3, True])
def test_an_env_that_is_no_object_is_refused(env):
    with pytest.raises(InvalidRequest, match="object"):
        parse_client_env(env, ())


@pytest.mark.parametrize(
    "value",
    [7, None, ["x"], "hush" * 1025, "hush$(id)", "`hush`", "hush\nEVIL=1", "hush\r", "hush\0", "hush\ud800"],
)
def test_a_bad_value_is_refused_by_name_and_never_quoted(value):
    with pytest.raises(InvalidRequest) as raised:
        parse_client_env({"KERNEL_FOO": value}, ())
    assert "KERNEL_FOO" in raised.value.message
    assert "hush" not in raised.value.message


@pytest.mark.parametrize("name", ["KERNEL_A-B", "KERNEL_A B", "KERNEL_A=B", "KERNEL_Ä", "KERNEL_A\n"])
def test_a_bad_name_is_refused(name):
    with pytest.raises(InvalidRequest, match="KERNEL_"):
        parse_client_env({name: "x"}, ())


def test_entries_that_are_dropped_are_not_checked():
    assert parse_client_env({"LS_COLORS": "a\0b", "bad name": 3}, ()) == {}


def test_the_longest_value_is_taken():
    assert parse_client_env({"KERNEL_FOO": "x" * MAX_VALUE_CHARS}, ()) != {}


def test_too_many_entries_are_refused():
    with pytest.raises(InvalidRequest, match=str(MAX_ENTRIES)):
        parse_client_env({f"KERNEL_{n}": "" for n in range(MAX_ENTRIES + 1)}, ())


def test_too_much_text_is_refused():
    with pytest.raises(InvalidRequest, match="bytes"):
        parse_client_env({f"KERNEL_{n}": "x" * MAX_VALUE_CHARS for n in range(100)}, ())


@given(st.dictionaries(NAMES.map("KERNEL_{}".format), LEGAL_VALUES, max_size=5))
def test_legal_client_values_reach_the_kernel_as_they_are(sent):
    environment = build(client=parse_client_env(sent, ()), spec=dict.fromkeys(sent, "spec's"))
    decided = {"KERNEL_GATEWAY", "KERNEL_ID", "KERNEL_USERNAME"}
    assert {name: environment[name] for name in sent if name not in decided} == {
        name: value for name, value in sent.items() if name not in decided
    }


@given(
    st.lists(st.sampled_from([*GATEWAY_SECRETS, "PATH", "*"]) | NAMES),
    st.dictionaries(
        st.sampled_from([*GATEWAY_SECRETS, "X"]),
        st.sampled_from(["${EG_AUTH_TOKEN}", "$KG_AUTH_TOKEN", "$EG_REMOTE_PWD:${EG_TOKEN_FILE}", "plain"]),
    ),
    st.dictionaries(st.sampled_from([*GATEWAY_SECRETS, "KERNEL_X"]), LEGAL_VALUES),
)
def test_no_secret_of_the_gateway_reaches_a_kernel_whatever_the_lists_say(inherited, spec, sent):
    gateway = {**GATEWAY_SECRETS, "PATH": "/bin", "JUPYTER_TOKEN": "s3cret-f"}
    client = parse_client_env(sent, (*GATEWAY_SECRETS, *inherited))
    environment = build(gateway, [name for name in inherited if name != "JUPYTER_TOKEN"], spec, client)
    assert not environment.keys() & GATEWAY_SECRETS.keys()
    assert not any("s3cret-" in value for name, value in environment.items() if name not in client)


@given(st.dictionaries(NAMES, LEGAL_VALUES), st.lists(NAMES))
def test_without_being_listed_only_the_base_is_inherited(gateway, inherited):
    own = {"KERNEL_GATEWAY", "KERNEL_ID", "KERNEL_USERNAME", "KERNEL_LANGUAGE"}
    unlisted = build({**gateway, "PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "x"}, inherited).keys() - own
    assert unlisted - set(inherited) <= {"PATH"} | {n for n in gateway if n.startswith("LC_")}


def test_a_local_kernel_gets_the_base_it_needs():
    gateway = {"PATH": "/bin", "HOME": "/home/ann", "LC_ALL": "C.UTF-8", "JUPYTER_RUNTIME_DIR": "/run/x"}
    assert gateway.items() <= build({**gateway, "PYTHONPATH": "/src"}).items()
    assert "PYTHONPATH" not in build({"PYTHONPATH": "/src"})


def test_client_beats_inherited_beats_spec_beats_base():
    gateway = {"PATH": "base", "A": "inherited", "B": "inherited"}
    spec = {"PATH": "spec", "A": "spec", "B": "spec", "C": "spec"}
    environment = build(gateway, ["A", "B"], spec, client={"B": "client"})
    assert {name: environment[name] for name in ("PATH", "A", "B", "C")} == {
        "PATH": "spec",
        "A": "inherited",
        "B": "client",
        "C": "spec",
    }


def test_what_the_gateway_decides_cannot_be_overridden():
    everything = {"KERNEL_GATEWAY": "0", "KERNEL_ID": "other", "KERNEL_USERNAME": "root"}
    environment = build(everything, everything, everything, everything)
    assert environment["KERNEL_GATEWAY"] == "1"
    assert environment["KERNEL_ID"] == "the-id"
    assert environment["KERNEL_USERNAME"] == "ann"


def test_language_is_the_specs_in_lower_case_unless_a_source_sets_it():
    assert build(language="Scala")["KERNEL_LANGUAGE"] == "scala"
    assert build(language="Scala", client={"KERNEL_LANGUAGE": "spark"})["KERNEL_LANGUAGE"] == "spark"


def test_spec_values_refer_to_what_the_kernel_sees():
    spec = {
        "KNOWN": "${KERNEL_USERNAME}/$KERNEL_ID/$HOME",
        "SHELL_FORM": "${KERNEL_ID:-none} $(id) ${UNKNOWN}",
        "NOT_OTHERS": "${KNOWN}",
    }
    environment = build({"HOME": "/h"}, spec=spec)
    assert environment["KNOWN"] == "ann/the-id//h"
    assert environment["SHELL_FORM"] == spec["SHELL_FORM"]
    assert environment["NOT_OTHERS"] == "${KNOWN}"


def test_the_specs_own_settings_for_launch_scripts_are_kept():
    spec = {"EG_ALTERNATE_SIGINT": "SIGUSR1", "EG_AUTH_TOKEN": "x"}
    environment = build(spec=spec)
    assert environment["EG_ALTERNATE_SIGINT"] == "SIGUSR1"
    assert "EG_AUTH_TOKEN" not in environment


def test_sources_do_not_print_values():
    sources = EnvironmentSources(
        gateway={"A": "s3cret"},
        inherited_envs=(),
        spec={"A": "s3cret"},
        client={"A": "s3cret"},
        kernel_id="i",
        username="u",
        language="l",
    )
    assert "s3cret" not in repr(sources)


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("DB_PASSWORD", True),
        ("AWS_SECRET_ACCESS_KEY", True),
        ("github_token", True),
        ("EG_REMOTE_PWD", True),
        ("PWD", False),
        ("KEYBOARD", False),
        ("SPARK_HOME", False),
    ],
)
def test_secret_names_are_recognised(name, secret):
    assert looks_secret(name) is secret
