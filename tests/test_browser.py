"""The welcome page as a browser has it: live, whole under its own policy, and honest when it is cut off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver

from tests.chromium import browser, complaints, fits, text, until, visit
from tests.listening import free_port
from tests.twistd_process import Server

__all__ = ["browser"]  # a fixture
pytestmark = pytest.mark.browser


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, port=free_port())  # which another may have to take over
    yield server
    server.close()


def number(browser: webdriver.Chrome, name: str) -> int:
    return int(text(browser, name).replace(",", ""))


def look(browser: webdriver.Chrome, server: Server, width: int = 1280, scheme: str = "light") -> None:
    """Open the page as such a screen shows it, and wait for its first live figures."""
    visit(browser, f"{server.url}/", width, scheme)
    until(lambda: text(browser, "status") == "live", "the page is live")
    until(lambda: text(browser, "requests")[:1].isdigit(), "the page shows figures")


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
