"""The welcome page as a browser has it: live, whole under its own policy, and honest when it is cut off."""

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

from tests.twistd_process import Server

pytestmark = pytest.mark.browser

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


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = program("CHROMIUM", "chromium", "chromium-browser", "google-chrome")
    for flag in FLAGS:
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(program("CHROMEDRIVER", "chromedriver")))
    driver.set_page_load_timeout(PATIENCE_SECONDS)
    yield driver
    driver.quit()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.close()


def text(browser: webdriver.Chrome, name: str) -> str:
    return str(browser.execute_script("return document.getElementById(arguments[0]).textContent", name))


def number(browser: webdriver.Chrome, name: str) -> int:
    return int(text(browser, name).replace(",", ""))


def until(true: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with suppress(StaleElementReferenceException):  # the page was drawn again meanwhile
            if result := true():
                return result
        time.sleep(0.05)
    raise AssertionError(f"not within {PATIENCE_SECONDS:g} s: {what}")


def look(browser: webdriver.Chrome, server: Server, width: int = 1280, scheme: str = "light") -> None:
    """Open the page as such a screen shows it, and wait for its first live figures."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get_log("browser")  # what was said before is not this page's
    browser.get(f"{server.url}/")
    until(lambda: text(browser, "status") == "live", "the page is live")
    until(lambda: text(browser, "requests")[:1].isdigit(), "the page shows figures")


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
    assert complaints(browser) == []


def test_figures_change_by_themselves(browser: webdriver.Chrome, server: Server) -> None:
    look(browser, server)
    uptime, requests = text(browser, "uptime"), number(browser, "requests")
    until(lambda: text(browser, "uptime") != uptime, "the time goes on")
    for _ in range(50):
        assert server.get("/figures")[0] == 200
    until(lambda: number(browser, "requests") >= requests + 50, "requests made elsewhere are seen")
    until(lambda: number(browser, "rate-peak") > 0, "the rate is seen")
    until(lambda: "L" in browser.find_element("id", "curve").get_attribute("d"), "the curve is drawn")
    assert number(browser, "connections") >= 1
    assert number(browser, "max-connections") == 1000
    assert complaints(browser) == []


def test_its_button_makes_requests(browser: webdriver.Chrome, server: Server) -> None:
    look(browser, server)
    before = number(browser, "requests")
    browser.find_element("id", "knock").click()
    until(lambda: number(browser, "requests") >= before + 100, "a hundred requests are counted")
    until(lambda: browser.find_element("id", "knock").is_enabled(), "it can be pressed again")
    assert complaints(browser) == []


def test_limits_are_those_in_force(browser: webdriver.Chrome, tmp_path: Path) -> None:
    server = Server(tmp_path, "--max-connections=7", "--idle-seconds=3m", "--max-body-bytes=3MiB")
    try:
        look(browser, server)
        shown = browser.execute_script(
            "return Object.fromEntries([...document.querySelectorAll('[data-limit]')]"
            ".map(cell => [cell.dataset.limit, cell.textContent]))"
        )
    finally:
        server.close()
    assert shown["max_connections"] == "7"
    assert shown["idle_seconds"] == "3 min"
    assert shown["max_body_bytes"] == "3 MiB"
    assert shown["handling_seconds"] == "off"
    assert all(shown.values())


def test_a_lost_stream_is_told_and_found_again(browser: webdriver.Chrome, server: Server, tmp_path: Path) -> None:
    look(browser, server)
    server.close()
    until(lambda: text(browser, "status") == "stream lost, reconnecting", "the loss is told")
    (tmp_path / "again").mkdir()
    again = Server(tmp_path / "again", port=server.port)
    try:
        until(lambda: text(browser, "status") == "live", "the stream is found again")
        until(lambda: number(browser, "requests") < 10, "the figures are the new server's")
    finally:
        again.close()


def test_the_policy_is_kept_by_the_browser(browser: webdriver.Chrome, server: Server) -> None:
    """What slips into the page some day does not run, and reaches no other host."""
    look(browser, server)
    browser.execute_script(
        "const script = document.createElement('script'); script.textContent = 'window.slipped = true';"
        "document.body.append(script);"
    )
    assert browser.execute_script("return window.slipped") is None
    outcome = browser.execute_async_script(
        "const done = arguments[0]; fetch('http://127.0.0.2:9/').then(() => done('sent'), error => done('refused'));"
    )
    assert outcome == "refused"
    assert len([said for said in complaints(browser) if "Content Security Policy" in said]) >= 2


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_screen(browser: webdriver.Chrome, server: Server, tmp_path: Path, width: int, scheme: str) -> None:
    look(browser, server, width, scheme)
    browser.find_element("id", "knock").click()
    until(lambda: "L" in browser.find_element("id", "curve").get_attribute("d"), "there is something to see")
    fits(browser, width, scheme, tmp_path / f"welcome-{width}-{scheme}.png")
