"""Port ranges."""

import pytest

from enterprise_gateway.config import PortRange


def test_a_range_is_read_and_written_alike():
    assert PortRange.parse(" 40000 .. 41000 ") == PortRange(40000, 41000)
    assert str(PortRange(40000, 41000)) == "40000..41000"


@pytest.mark.parametrize("text", ["", "..", "1", "1..", "..2", "a..b", "1...2", "-1..2", "123456..200000", "1..2..3"])
def test_what_is_no_range_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match=r"such as 40000\.\.41000"):
        PortRange.parse(text)


@pytest.mark.parametrize("text", ["0..0", "5..5", "33245..33245"])
def test_a_range_of_size_zero_restricts_nothing(text):
    assert PortRange.parse(text).size == 0
    assert PortRange.parse(text).problem(min_size=1000) is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("40000..40999", "at least 1000"),
        ("41000..40000", "at least 1000"),
        ("1000..3000", "leaves 1024..65535"),
        ("60000..70000", "leaves 1024..65535"),
    ],
)
def test_a_range_that_cannot_be_used_says_why(text, complaint):
    assert complaint in (PortRange.parse(text).problem(min_size=1000) or "")


def test_a_range_is_as_large_as_the_distance_of_its_ends():
    assert PortRange.parse("40000..41000").problem(min_size=1000) is None
