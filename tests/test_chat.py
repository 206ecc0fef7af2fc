"""The chat of the examples, as two people have it: one in a browser, one with a client of another kind."""

from __future__ import annotations

import base64
import http.client
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver

from tests.chromium import PATIENCE_SECONDS, browser, complaints, until, visit
from tests.twistd_process import ENVIRONMENT, ROOT

__all__ = ["browser"]  # a fixture

# One red point.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    log = tmp_path_factory.mktemp("chat") / "log"
    with log.open("wb") as output:
        program = subprocess.Popen(
            [sys.executable, str(ROOT / "examples" / "chat" / "app.py"), "0"],
            env=ENVIRONMENT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := re.search(r"http://127\.0\.0\.1:(\d+)/", log.read_text())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found, log.read_text()
    yield int(found[1])
    program.terminate()
    program.wait(PATIENCE_SECONDS)
    assert "Traceback" not in log.read_text()


class Member:
    """Somebody who has no browser."""

    def __init__(self, port: int) -> None:
        self.port, self.cookie, self.token = port, "", ""

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        sent = {"Accept": "application/json", "Cookie": self.cookie, "X-CSRF-Token": self.token, **headers}
        connection.request(method, path, body, {name: value for name, value in sent.items() if value})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        self.cookie = (answer.headers["Set-Cookie"] or self.cookie).partition(";")[0]
        return answer.status, json.loads(content) if content else None

    def sign_in(self, name: str, password: str) -> int:
        self.token = self.ask("GET", "/api/me")[1]["csrf"]
        given = json.dumps({"name": name, "password": password})
        status, said = self.ask("POST", "/api/sign-in", given, **{"Content-Type": "application/json"})
        self.token = said.get("csrf", self.token)
        return status

    def say(self, text: str) -> int:
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.ask("POST", "/api/messages", f"text={text}", **kind)[0]


def test_what_is_refused(port: int) -> None:
    member = Member(port)
    assert member.ask("GET", "/api/messages")[0] == 401
    assert member.ask("GET", "/api/events")[0] == 401
    assert member.ask("GET", "/api/pictures/x.png")[0] == 401
    assert member.say("hello") == 403  # no token
    assert member.sign_in("Grace", "short") == 400
    assert member.sign_in("Grace", "long enough") == 200
    before = member.cookie
    assert member.say("") == 400
    assert member.say("x" * 1001) == 400
    boundary = {"Content-Type": "multipart/form-data; boundary=b"}
    upload = b'--b\r\nContent-Disposition: form-data; name="picture"; filename="a.png"\r\n\r\n%b\r\n--b--\r\n'
    assert member.ask("POST", "/api/messages", upload % b"<script>", **boundary)[0] == 415
    assert member.ask("POST", "/api/messages", upload % (PNG + b"x" * (2 << 20)), **boundary)[0] == 413
    assert Member(port).sign_in("Grace", "another one") == 403
    assert member.ask("POST", "/api/sign-out")[0] == 204
    member.cookie = before
    assert member.ask("GET", "/api/messages")[0] == 401


def fill(browser: webdriver.Chrome, form: str, **fields: str) -> None:
    for name, value in fields.items():
        element = browser.find_element("css selector", f"#{form} [name={name}]")
        if element.get_attribute("type") != "file":
            element.clear()
        element.send_keys(value)
    browser.find_element("css selector", f"#{form} button").click()


def lines(browser: webdriver.Chrome) -> list[str]:
    return [line.text for line in browser.find_elements("css selector", "#messages li")]


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_a_conversation(browser: webdriver.Chrome, port: int, tmp_path: Path, width: int) -> None:
    browser.delete_all_cookies()
    visit(browser, f"http://127.0.0.1:{port}/", width)
    until(lambda: browser.find_element("id", "sign-in").is_displayed(), "the form to sign in is shown")
    fill(browser, "sign-in", name="Ada", password="analytical")
    until(lambda: browser.find_element("id", "room").is_displayed(), "the room is shown")

    other = Member(port)
    assert other.sign_in("Charles", "difference") == 200
    assert other.say(f"a+reply+at+{width}") == 201
    until(lambda: f"Charles a reply at {width}" in " / ".join(lines(browser)), "what another writes comes by itself")
    fill(browser, "say", text=f"<b>markup</b> stays text at {width}")
    until(lambda: f"<b>markup</b> stays text at {width}" in " / ".join(lines(browser)), "one sees one's own")

    picture = tmp_path / "point.png"
    picture.write_bytes(PNG)
    shown = "return [...document.images].filter(each => each.complete && each.naturalWidth == 1).length"
    before = browser.execute_script(shown)
    fill(browser, "say", text="a picture", picture=str(picture))
    until(lambda: browser.execute_script(shown) == before + 1, "the picture is shown")
    messages = other.ask("GET", "/api/messages")[1]
    assert messages[-1]["picture"]

    browser.get(f"http://127.0.0.1:{port}/")
    until(lambda: len(lines(browser)) == len(messages), "all is there after a reload, once")
    assert complaints(browser) == []
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    assert wide <= width
    browser.find_element("id", "sign-out").click()
    until(lambda: browser.find_element("id", "sign-in").is_displayed(), "signed out")
    assert lines(browser) == []
