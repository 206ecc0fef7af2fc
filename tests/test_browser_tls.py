"""The certificate for development, as a browser takes it: by the pin that the log tells, and not without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver

from tests import twistd_process
from tests.chromium import chromium, text, until
from tests.twistd_process import Server

pytestmark = pytest.mark.browser


@contextmanager
def browser(profile: Path, *flags: str) -> Iterator[webdriver.Chrome]:
    driver = chromium(profile, *flags, judges_certificates=True)
    try:
        yield driver
    finally:
        driver.quit()


def test_a_browser_that_was_told_the_pin_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(twistd_process.ENVIRONMENT, "XDG_DATA_HOME", str(tmp_path / "home"))
    server = Server(tmp_path, "--tls-development", "--listen=tls:0")
    try:
        url = f"https://localhost:{server.wait_for(r'https://127.0.0.1:([0-9]+)/')[1]}/"
        pin = server.wait_for(r"--ignore-certificate-errors-spki-list=(\S+);")[1]
        with browser(tmp_path / "told", f"--ignore-certificate-errors-spki-list={pin}") as told:
            told.get(url)
            until(lambda: text(told, "status") == "live", "the page is live, over TLS")
            assert told.execute_script("return isSecureContext")
            protocol = "return performance.getEntriesByType('navigation')[0].nextHopProtocol"
            assert told.execute_script(protocol) in ("http/1.1", "h2")
        with browser(tmp_path / "stranger") as stranger:
            stranger.get(url)
            assert "ERR_CERT_AUTHORITY_INVALID" in stranger.page_source
    finally:
        server.close()
