"""A notebook in a browser, in the words of who looks at it: cells, outputs, the kernel's indicator.

Every action waits for what makes it possible, with one generous deadline; nothing sleeps.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

from selenium.common.exceptions import (
    ElementNotInteractableException,
    StaleElementReferenceException,
    TimeoutException,
)
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

PATIENCE = 120.0
"""Seconds for any one change of the page."""

OpenNotebook = Callable[..., "Notebook"]
"""Takes the sources of a notebook's cells."""

NOT_YET = (IndexError, ElementNotInteractableException, StaleElementReferenceException)
"""What a click fails with while the page is still being built."""

EDITOR = (By.CSS_SELECTOR, ".jp-NotebookPanel .jp-CodeCell .cm-content")
KERNEL_MENU = (By.XPATH, "//*[@id='jp-MainMenu']//li[.='Kernel']")
RESTART_AND_CLEAR = (By.CSS_SELECTOR, ".lm-Menu-item[data-command='kernelmenu:restart-and-clear']")
ACCEPT = (By.CSS_SELECTOR, ".jp-Dialog .jp-mod-accept")

OUTPUT = """
const cell = document.querySelectorAll('.jp-NotebookPanel .jp-CodeCell')[arguments[0]];
return Array.from(cell.querySelectorAll('.jp-OutputArea-output'), output => output.textContent).join('');
"""
PROMPT = """
return document.querySelectorAll('.jp-NotebookPanel .jp-CodeCell')[arguments[0]]
    .querySelector('.jp-InputPrompt').textContent;
"""
# Not the notebook's own indicator, which says idle before there is a kernel; code sent then is dropped.
STATUS_BAR = "return document.querySelector('#jp-main-statusbar')?.textContent ?? ''"


class Notebook:
    """The only notebook of a browser window; screenshots of it go to `artifacts`."""

    def __init__(self, driver: Chrome, url: str, artifacts: Path) -> None:
        self._driver = driver
        self._artifacts = artifacts
        self._numbers = itertools.count(1)
        artifacts.mkdir(parents=True, exist_ok=True)
        driver.get(url)
        self.wait_until_idle()

    def _wait(self, condition: Callable[[Chrome], object], what: str) -> None:
        wait = WebDriverWait(self._driver, PATIENCE, poll_frequency=0.1, ignored_exceptions=NOT_YET)
        try:
            wait.until(condition, f"not in {PATIENCE:.0f} s: {what}")
        except TimeoutException:
            self.screenshot("failed")
            raise

    def _click(self, locator: tuple[str, str], index: int = 0) -> None:
        """Click as soon as the element is there, visible, and nothing lies above it."""

        def click(driver: Chrome) -> bool:
            driver.find_elements(*locator)[index].click()
            return True

        self._wait(click, f"{locator} could be clicked")

    def screenshot(self, step: str) -> None:
        """Keep what the window shows, for people to look at."""
        self._driver.save_screenshot(str(self._artifacts / f"{next(self._numbers)}-{step}.png"))

    def run_cell(self, index: int) -> None:
        """Click into a cell and press Shift+Enter."""
        self._click(EDITOR, index)
        shift_enter = ActionChains(self._driver).key_down(Keys.SHIFT).send_keys(Keys.ENTER).key_up(Keys.SHIFT)
        shift_enter.perform()

    def output(self, index: int) -> str:
        """The text of all outputs of a cell."""
        return str(self._driver.execute_script(OUTPUT, index))

    def wait_for_output(self, index: int, accept: Callable[[str], bool], what: str) -> None:
        """Wait until a cell's output is acceptable."""
        self._wait(lambda _: accept(self.output(index)), f"cell {index} showed {what}")

    def wait_until_done(self, index: int, count: int) -> None:
        """Wait until a cell's prompt shows that it has run, as the kernel's execution number `count`."""
        prompt = f"[{count}]:"
        self._wait(lambda driver: driver.execute_script(PROMPT, index) == prompt, f"{prompt} at cell {index}")

    def wait_until_idle(self) -> None:
        """Wait until the status bar says that the kernel is idle."""
        self._wait(lambda driver: "| Idle" in driver.execute_script(STATUS_BAR), "the kernel was idle")

    def restart_and_clear(self) -> None:
        """Kernel > Restart Kernel and Clear Outputs…, and yes; the outputs go once it has restarted."""
        self._click(KERNEL_MENU)
        self._click(RESTART_AND_CLEAR)
        self._click(ACCEPT)

    def dialogs(self) -> list[str]:
        """The text of the dialogs that ask the user for something."""
        return [dialog.text for dialog in self._driver.find_elements(By.CSS_SELECTOR, ".jp-Dialog")]
