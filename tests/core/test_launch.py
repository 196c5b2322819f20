from __future__ import annotations

import sys
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enterprise_gateway.core.launch import (
    MAX_LAUNCH_TIMEOUT,
    parse_kernel_id,
    parse_launch_timeout,
    render_argv,
)
from enterprise_gateway.errors import InvalidRequest

INTERPRETER = "/opt/python/bin/python"


def test_known_names_are_filled_in_and_unknown_ones_stay():
    argv = ["/x/run.sh", "--f={connection_file}", "{kernel_id}{kernel_id}", "{unknown}", "{not a name}", "{}"]
    assert render_argv(argv, {"connection_file": "/c.json", "kernel_id": "7"}, INTERPRETER) == [
        "/x/run.sh",
        "--f=/c.json",
        "77",
        "{unknown}",
        "{not a name}",
        "{}",
    ]


def test_values_are_not_searched_for_placeholders():
    namespace = {"prefix": "{kernel_id}", "kernel_id": "7"}
    assert render_argv(["a", "{prefix}"], namespace, INTERPRETER) == ["a", "{kernel_id}"]


@pytest.mark.parametrize("name", ["python", "python3", f"python3.{sys.version_info.minor}"])
def test_our_python_becomes_the_interpreter(name):
    assert render_argv([name, name], {}, INTERPRETER) == [INTERPRETER, name]


@pytest.mark.parametrize("name", ["python2", f"python3.{sys.version_info.minor + 1}", "/usr/bin/python3", "R"])
def test_another_program_stays(name):
    assert render_argv([name], {}, INTERPRETER) == [name]


@given(st.lists(st.text(st.sampled_from("a{}$_ python3")), max_size=4))
def test_rendering_is_idempotent_where_nothing_is_known(argv):
    once = render_argv(argv, {}, INTERPRETER)
    assert render_argv(once, {}, INTERPRETER) == once


@given(st.uuids())
def test_every_canonical_uuid_is_a_kernel_id(value):
    assert parse_kernel_id(str(value)) == str(value)


@given(
    st.text()
    | st.uuids().map(lambda u: str(u) + "\n")
    | st.uuids().map(lambda u: u.hex)
    | st.uuids().map(lambda u: f"{{{u}}}")
)
def test_nothing_else_is_a_kernel_id(text):
    with pytest.raises(InvalidRequest, match="KERNEL_ID"):
        parse_kernel_id(text)


def test_an_upper_case_kernel_id_is_refused():
    with pytest.raises(InvalidRequest, match="lower-case"):
        parse_kernel_id(str(uuid.UUID(int=0xABCDEF)).upper())


@pytest.mark.parametrize(("text", "seconds"), [("40", 40.0), ("0.5", 0.5), ("3600", 3600.0), (" 7 ", 7.0)])
def test_a_launch_timeout_is_seconds(text, seconds):
    assert parse_launch_timeout(text, 30.0) == seconds


@pytest.mark.parametrize("text", [None, ""])
def test_no_launch_timeout_is_the_default(text):
    assert parse_launch_timeout(text, 30.0) == 30.0


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "-inf", "soon", "3600.1", "1e400", " "])
def test_a_senseless_launch_timeout_is_refused(text):
    with pytest.raises(InvalidRequest, match="KERNEL_LAUNCH_TIMEOUT"):
        parse_launch_timeout(text, 30.0)


@given(st.text())
def test_a_launch_timeout_is_a_sane_number_or_refused(text):
    try:
        seconds = parse_launch_timeout(text, 30.0)
    except InvalidRequest:
        return
    assert 0 < seconds <= MAX_LAUNCH_TIMEOUT
