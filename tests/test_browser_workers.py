"""The dashboard of a parent: its workers, as a browser shows them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver

from tests.chromium import browser, complaints, fits, text, until, visit
from tests.test_browser_dashboard import live
from tests.test_workers import APP, Parent

__all__ = ["browser"]
pytestmark = pytest.mark.browser


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Parent]:
    (tmp_path / "shop.py").write_text("\n".join(line[4:] for line in APP.splitlines()))
    parent = Parent(tmp_path, "--app=shop:root", f"--session-store=sqlite:{tmp_path}/sessions.db")
    yield parent
    parent.close()


def rows(browser: webdriver.Chrome) -> list[str]:
    return [row.text for row in browser.find_elements("css selector", "#workers tbody tr")]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_workers_are_seen_to_die_and_to_be_replaced(
    browser: webdriver.Chrome, parent: Parent, tmp_path: Path, width: int, scheme: str
) -> None:
    visit(browser, f"http://127.0.0.1:{parent.admin_port}/", width, scheme)
    live(browser)
    until(lambda: text(browser, "workers-title") == "Workers: 2 of 2 ready", "both are ready")
    pids = parent.pids
    assert all(str(pid) in row for pid, row in zip(pids.values(), rows(browser), strict=True))
    for _ in range(20):
        parent.get("/")
    os.kill(pids[1], signal.SIGKILL)
    until(lambda: "died: signal 9 (SIGKILL)" in rows(browser)[0], "the first has another process")
    until(lambda: "Ended so far: died 1." in text(browser, "workers-ends"), "its end is counted")
    until(lambda: text(browser, "workers-title") == "Workers: 2 of 2 ready", "which is ready")
    assert live(browser) is None
    fits(browser, width, scheme, tmp_path / f"workers-{width}.png")
    assert complaints(browser) == []
