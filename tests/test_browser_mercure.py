"""The protocol between a page and the hub, in a browser: over HTTP/1.1 in the clear, and over TLS, which is HTTP/2.

What the hub's authors publish as its conformance tests asks the same of any hub: a page subscribes, publishes with
``fetch``, and compares what comes with what it sent. Nothing is waited for that is not to come: an event for all
follows, and what has not come before it was not sent.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from selenium import webdriver

from tests import twistd_process
from tests.chromium import PATIENCE_SECONDS, chromium
from tests.sse.interop import SECRET, token
from tests.twistd_process import Server

pytestmark = pytest.mark.browser

# Data of several lines, and an id of the publisher's own with what JSON has in it.
EXCHANGE = """
const [selectors, topics, id, data, secret, token] = arguments;
const done = arguments[arguments.length - 1];
const url = new URL("/.well-known/mercure", location);
for (const selector of [...selectors, "all done"]) url.searchParams.append("topic", selector);
const publish = (fields) => {
  const body = new URLSearchParams(fields);
  return fetch("/.well-known/mercure", {method: "POST", headers: {Authorization: `Bearer ${token}`}, body});
};
const came = [];
let answer = null;
const source = new EventSource(url);
source.onmessage = event => {
  if (event.data !== "all done") { came.push([event.type, event.lastEventId, event.data]); return; }
  source.close();
  const protocols = performance.getEntriesByType("resource").map(entry => entry.nextHopProtocol);
  done({came, answer, protocols});
};
source.onopen = async () => {
  const fields = topics.map(topic => ["topic", topic]);
  fields.push(["id", id], ["data", data], ...(secret ? [["private", "on"]] : []));
  const response = await publish(fields);
  answer = [response.status, response.headers.get("Content-Type"), await response.text()];
  await publish([["topic", "all done"], ["data", "all done"]]);
};
"""


@dataclass
class Case:
    topics: list[str]
    selectors: list[str]
    comes: bool = True
    secret: bool = False
    name: str = field(default_factory=lambda: secrets.token_hex(20))


BOOK = "https://example.net/foo/1984"
CASES = {
    "a string": Case(["book"], ["book"]),
    "one of several topics": Case(["other", "book"], ["book"]),
    "one of several selectors": Case(["book"], ["other", "book"]),
    "a URI": Case([BOOK], [BOOK]),
    "a URI template": Case([BOOK], ["https://example.net/foo/{random}"]),
    "another string": Case(["will-not-match}"], ["another-name"], comes=False),
    "another URI": Case([BOOK + "}"], ["https://example.net/foo/another-name"], comes=False),
    "another URI template": Case([BOOK + "}"], ["https://example.net/bar/{var}"], comes=False),
    "private, a string": Case(["book"], ["book"], comes=False, secret=True),
    "private, a URI": Case([BOOK], [BOOK], comes=False, secret=True),
    "private, a URI template": Case([BOOK], ["https://example.net/foo/{random}"], comes=False, secret=True),
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("hub")
    keys = (f"--mercure-publisher-key={SECRET}", f"--mercure-subscriber-key={SECRET}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(twistd_process.ENVIRONMENT, "XDG_DATA_HOME", str(folder / "home"))
        server = Server(folder, *keys, "--anonymous", "--subscriptions", "--tls-development", "--listen=tls:0")
    yield server
    server.close()


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    driver = chromium(tmp_path_factory.mktemp("profile"), "--ignore-certificate-errors")
    driver.set_script_timeout(PATIENCE_SECONDS)
    yield driver
    driver.quit()


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
@pytest.mark.parametrize("name", CASES)
def test_what_a_page_publishes_reaches_whom_it_is_for(
    driver: webdriver.Chrome, hub: Server, name: str, protocol: str
) -> None:
    case = CASES[name]
    secure = f"https://localhost:{hub.wait_for(r'https://127.0.0.1:([0-9]+)/')[1]}"
    driver.get(f"{hub.url if protocol == 'http/1.1' else secure}/")
    id, data = f'id-["{case.name}"]', f"data for\n\n        {name}"
    words = (case.selectors, case.topics, id, data, case.secret, token())
    found: dict[str, Any] = driver.execute_async_script(EXCHANGE, *words)
    assert found["came"] == ([["message", id, data]] if case.comes else [])
    assert found["answer"] == [200, "text/plain; charset=utf-8", id]
    assert set(found["protocols"]) == {protocol}
