"""Chromium for tests, started with nothing of its own going on."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.wait import WebDriverWait

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,900",
)


def program(*names: str) -> str:
    """The path of the first program of these that is installed; without any the test is skipped, and fails in CI."""
    for name in names:
        if path := shutil.which(name):
            return path
    reason = f"{names[0]} is not installed (Debian: apt-get install chromium chromium-driver poppler-utils)"
    if "CI" in os.environ:
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def chromium(profile: Path) -> Iterator[Chrome]:
    """A browser that keeps what it has to in `profile` and ends with the `with`."""
    options = ChromeOptions()
    options.binary_location = program("chromium", "chromium-browser", "google-chrome")
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(program("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def open_whole(browser: Chrome, page: Path) -> None:
    """Open a file anew and wait for all of it: pages that were opened again were found without what their script makes.

    That was seen on a busy machine only, and its cause was not found.
    """
    browser.get("about:blank")
    browser.get(page.as_uri())
    WebDriverWait(browser, 60).until(
        lambda _: browser.execute_script("return document.readyState === 'complete' && location.protocol === 'file:'")
    )
