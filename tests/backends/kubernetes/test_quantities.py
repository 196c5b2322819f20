from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enterprise_gateway.backends.kubernetes.quantities import parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("100m", Fraction(1, 10)),
        ("0.5", Fraction(1, 2)),
        (".5", Fraction(1, 2)),
        ("5.", 5),
        ("1Gi", 2**30),
        ("1G", 10**9),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1E", 10**18),
        ("1e-3", Fraction(1, 1000)),
        ("1.5e+3", 1500),
        ("512Mi", 512 * 2**20),
        ("0.1Gi", Fraction(2**30, 10)),
        ("1k", 1000),
        ("1Ki", 1024),
        ("3n", Fraction(3, 10**9)),
        ("3u", Fraction(3, 10**6)),
        ("2Ei", 2 * 2**60),
        ("007", 7),
        ("0", 0),
    ],
)
def test_a_quantity_is_read_exactly(text, value):
    assert parse_quantity(text).value == value
    assert str(parse_quantity(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", ".", "5 ", " 5", "+5", "-5", "1 Gi", "1GB", "1gi", "1K", "1ki", "1mi", "4g", "Gi", "1Gi\n", "1\n"),
        *("nan", "NaN", "inf", "Infinity", "1e", "1e100", "1e999999999", "1e-100", "1e1e1", "1e3Gi", "1.2.3", "1_000"),
        *("0x10", "1,5", "٣", "\uff15", "1²", "9" * 19, "9" * 100_000, "1." + "0" * 10, "1e" + "9" * 100_000),
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="quantity"):
        parse_quantity(text)


def test_quantities_are_compared_by_value():
    assert parse_quantity("1000m") == parse_quantity("1") == parse_quantity("1e0")
    assert parse_quantity("1Gi") > parse_quantity("1G") > parse_quantity("999999k")
    assert parse_quantity("999999999999999999E") > parse_quantity("999999999999999998.999999999E")


@given(st.text("0123456789.eE+-munkMGTPEi _", max_size=12))
def test_reading_raises_nothing_but_value_error(text):
    try:
        quantity = parse_quantity(text)
    except ValueError:
        return
    assert quantity.value >= 0
