"""The report as Chromium shows it: nothing sideways, every colour readable, every table reachable by key."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from hardhttp.soak.report import write_report
from tests.chromium import browser
from tests.soak.pretend import FACTS, SCENARIOS, several

__all__ = ["browser"]  # a fixture
pytestmark = pytest.mark.browser

# The contrast of an element's text with what is painted behind it (WCAG 2.2, 1.4.3).
CONTRAST = """
const parse = c => { const m = c.match(/[\\d.]+/g).map(Number); return [m[0], m[1], m[2], m[3] ?? 1]; };
const over = (a, b) => [0, 1, 2].map(i => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
const light = c => [0, 1, 2].map(i => c[i] / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
const found = {};
for (const e of document.querySelectorAll('main *')) {
  if (!e.checkVisibility() || ![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
  if (e.closest('svg')) continue;
  const chain = []; let opacity = 1;
  for (let p = e; p; p = p.parentElement) {
    chain.unshift(parse(getComputedStyle(p).backgroundColor)); opacity *= getComputedStyle(p).opacity;
  }
  const back = chain.reduce((below, c) => over(c, below), [255, 255, 255, 1]);
  const text = parse(getComputedStyle(e).color); text[3] *= opacity;
  const [a, b] = [light(over(text, back)), light(back)].sort((x, y) => y - x);
  const ratio = (a + .05) / (b + .05);
  if (ratio < 4.5) found[e.tagName + '.' + e.className + ': ' + e.textContent.slice(0, 30)] = ratio;
}
return found;
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, several(), FACTS, scenarios=SCENARIOS)
    return path.as_uri()


def look(browser: webdriver.Chrome, report: str, width: int, scheme: str = "light", media: str = "") -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(report)


@pytest.mark.parametrize("width", [320, 390, 760, 1280, 1920])
def test_nothing_goes_sideways(browser: webdriver.Chrome, report: str, width: int) -> None:
    look(browser, report, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    beyond = browser.execute_script(
        "return [...document.querySelectorAll('main *')].filter(e => e.checkVisibility() && !e.closest('.wide')"
        " && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
    )
    assert beyond == []


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(browser: webdriver.Chrome, report: str, width: int, scheme: str) -> None:
    look(browser, report, width, scheme)
    browser.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    assert browser.execute_script(CONTRAST) == {}
    ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(14, 18, 16)") == (scheme == "dark")


def test_what_is_shown(browser: webdriver.Chrome, report: str) -> None:
    look(browser, report, 1280)
    shown = browser.execute_script("return document.body.innerText")
    assert "hardhttp passes all 8; twisted.web passes 4 of 8, leaks in 4; uvicorn passes 7 of 8" in shown
    assert "The server ended: it was killed by SIGKILL" in shown
    assert browser.execute_script("return document.querySelectorAll('figure .plot').length") == 12
    # Every curve is drawn within its chart, and higher where there is more.
    tops = browser.execute_script(
        "return [...document.querySelectorAll('#memory .plot')].map(svg => {"
        " const box = svg.getBoundingClientRect(), curve = svg.querySelector('.curve').getBoundingClientRect();"
        " return [curve.top - box.top, box.bottom - curve.bottom, curve.width / box.width] })"
    )
    assert all(top >= -2 and bottom >= -2 for top, bottom, _ in tops)
    assert tops[1][0] < tops[0][0]
    assert [round(width, 1) for _, _, width in tops] == [1.0, 1.0, 1.0, 0.4]


def test_on_a_telephone_each_verdict_says_whose_it_is(browser: webdriver.Chrome, report: str) -> None:
    look(browser, report, 390)
    row = browser.execute_script("return document.getElementById('s1').innerText")
    assert [name for name in ("hardhttp", "twisted.web", "uvicorn", "node <20>") if name in row] == [
        *("hardhttp", "twisted.web", "uvicorn", "node <20>")
    ]


def test_keys_reach_everything(browser: webdriver.Chrome, report: str) -> None:
    look(browser, report, 1280)
    reached = set()
    for _ in range(40):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        focus = browser.switch_to.active_element
        if focus.tag_name == "body":
            break
        outline = focus.value_of_css_property("outline-style")
        assert outline != "none"
        reached.add(focus.tag_name)
        if focus.tag_name == "summary":
            ActionChains(browser).send_keys(Keys.ENTER).perform()
    assert {"a", "summary"} <= reached
    assert browser.execute_script("return [...document.querySelectorAll('details')].every(d => d.open)")
    table = browser.execute_script("return document.querySelector('#memory details table').innerText")
    assert "stopped_reader" in table
    assert " before, " in table


def test_a_screen_reader_has_it_in_words(browser: webdriver.Chrome, report: str) -> None:
    look(browser, report, 1280)
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    told = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if "role" in node and not node["ignored"]
    ]
    pictures = [name for role, name in told if role in ("image", "img", "graphics-document") and name]
    assert any(name.startswith("Memory over time, hardhttp: 38") for name in pictures)
    assert len([name for name in pictures if " before, " in name]) == 12
    assert ("columnheader", "twisted.web") in told
    assert len([role for role, _ in told if role == "rowheader"]) >= 8


def test_it_prints_light_and_whole(browser: webdriver.Chrome, report: str) -> None:
    look(browser, report, 1280, "dark", media="print")
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.execute_script("return getComputedStyle(document.querySelector('h1')).color") == "rgb(23, 27, 25)"
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"]
    assert len(printed) > 20_000


def test_no_complaint_and_nothing_fetched(browser: webdriver.Chrome, report: str) -> None:
    look(browser, report, 1280)
    fetched = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in fetched if not name.startswith("data:")] == []
    assert browser.get_log("browser") == []
