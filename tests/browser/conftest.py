"""One gateway, one JupyterLab on it and one headless Chromium for all browser tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import Lab
from notebook import Notebook, OpenNotebook
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from support.gateway import Gateway

ARTIFACTS = Path(__file__).parent.parent.parent / "test-artifacts" / "browser"

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
)


@pytest.fixture(scope="package")
def lab_gateway() -> Iterator[Gateway]:
    """The gateway behind Lab, which a test may kill if it starts it again."""
    with Gateway() as gateway:
        yield gateway.start()


@pytest.fixture(scope="package")
def lab(lab_gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(lab_gateway, tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="package")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    with Chrome(options, ChromeService("/usr/bin/chromedriver")) as driver:
        yield driver


@pytest.fixture
def open_notebook(lab: Lab, driver: Chrome, request: pytest.FixtureRequest) -> OpenNotebook:
    """Opens a notebook made of the given cells, and waits until its kernel is idle."""
    name = request.node.name

    def open_it(*sources: str) -> Notebook:
        return Notebook(driver, lab.add_notebook(f"{name}.ipynb", *sources), ARTIFACTS / name)

    return open_it
