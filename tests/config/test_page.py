"""The generated page."""

from pathlib import Path

from enterprise_gateway.config import Settings
from enterprise_gateway.config.names import ignored_names
from enterprise_gateway.config.option import table
from enterprise_gateway.config.page import render

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_in_the_repository_is_the_generated_one():
    assert PAGE.read_text() == render(), "python -m enterprise_gateway.config.page > docs/configuration.md"


def test_the_page_has_every_name():
    page = render()
    for field in table(Settings):
        for name in (field.name, *field.option.env, *field.option.traits):
            assert f"`{name}`" in page
    for name in ignored_names():
        assert f"`{name}`" in page
