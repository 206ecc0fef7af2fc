"""Chromium for the tests, and what they ask of a page that it shows."""

from __future__ import annotations

import base64
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_SECONDS = 15.0


def program(variable: str, *names: str) -> str:
    found = os.environ.get(variable) or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.fail(f"needs {names[0]}; {variable} says where it is")
    return found


def chromium(profile: Path, *flags: str, judges_certificates: bool = False) -> webdriver.Chrome:
    """One with ``flags`` of its own, that keeps what its console says; whoever asks for it calls ``quit``."""
    options = webdriver.ChromeOptions()
    options.binary_location = program("CHROMIUM", "chromium", "chromium-browser", "google-chrome")
    for flag in (*FLAGS, f"--user-data-dir={profile}", *flags):
        options.add_argument(flag)
    if judges_certificates:  # chromedriver would have every one taken
        options.accept_insecure_certs = False
        options.add_experimental_option("excludeSwitches", ["ignore-certificate-errors"])
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(program("CHROMEDRIVER", "chromedriver")))
    driver.set_page_load_timeout(PATIENCE_SECONDS)
    return driver


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    driver = chromium(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


def visit(browser: webdriver.Chrome, url: str, width: int = 1280, scheme: str = "light") -> None:
    """Open ``url`` as such a screen shows it; ``complaints`` are of this page alone."""
    browser.get("about:blank")  # a page that still asks its server, which has ended, complains until it is left
    browser.get_log("browser")
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get(url)


def text(browser: webdriver.Chrome, name: str) -> str:
    return str(browser.execute_script("return document.getElementById(arguments[0]).textContent", name))


def until(true: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with suppress(StaleElementReferenceException):  # the page was drawn again meanwhile
            if result := true():
                return result
        time.sleep(0.05)
    raise AssertionError(f"not within {PATIENCE_SECONDS:g} s: {what}")


def complaints(browser: webdriver.Chrome) -> list[str]:
    return [f"{entry['level']}: {entry['message']}" for entry in browser.get_log("browser")]


def fits(browser: webdriver.Chrome, width: int, scheme: str, picture: Path) -> None:
    """Nothing of the page overflows, its colours are of the scheme, nothing was refused; ``picture`` shows it.

    Pictures go to ``SCREENSHOTS``, if that is set.
    """
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    spilling = browser.execute_script(
        "return [...document.querySelectorAll('main *')].filter(node => !node.closest('svg, pre, .limits')"
        " && node.getBoundingClientRect().right > innerWidth + 1).map(node => node.outerHTML.slice(0, 80))"
    )
    assert spilling == []
    ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in ground.strip("rgb()").split(",")[:3]) / 3
    assert brightness > 200 if scheme == "light" else brightness < 60
    height = browser.execute_script("return document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    folder = Path(os.environ.get("SCREENSHOTS", picture.parent))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / picture.name).write_bytes(base64.b64decode(shot["data"]))
    said = complaints(browser)
    assert said == [], said
