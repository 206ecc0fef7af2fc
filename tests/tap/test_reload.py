"""SIGHUP and the configuration file: what changes, what waits, and what a bad file costs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.logger import formatEvent, globalLogPublisher
from twisted.web.resource import Resource

from hardhttp.tap import makeService
from hardhttp.tap.configuration import AT_ONCE
from hardhttp.tap.options import Options
from hardhttp.tap.reload import Reloaded
from hardhttp.testing import Rig

FIRST = "idle-seconds = 30\nrate-limit = '100/m'\n"


class Page(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        return b"page"


@pytest.fixture(autouse=True)
def said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    monkeypatch.chdir(tmp_path)
    lines: list[str] = []

    def keep(event: Any) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(keep)
    yield lines
    globalLogPublisher.removeObserver(keep)


@attrs.define
class Running:
    rig: Rig
    reloaded: Reloaded

    def again(self, text: str) -> None:
        Path("a.toml").write_text(text)
        self.reloaded.read_again()

    def field(self, name: bytes) -> bytes | None:
        (response,) = self.rig.exchange(b"GET / HTTP/1.1\r\nHost: a\r\nOrigin: https://a.example\r\n\r\n")
        return dict(response.headers).get(name)


@pytest.fixture
def running() -> Iterator[Running]:
    Path("a.toml").write_text(FIRST)
    options = Options()
    options.parseOptions(["--config=a.toml", "--max-connections=100", "--listen=tcp:1"])
    page = Page()
    with Rig(options.around(page), limits=options.limits) as rig:
        yield Running(rig, Reloaded(options, rig.site, page))


def test_limits_change(running: Running, said: list[str]) -> None:
    running.again("idle-seconds = 50\nmax-body-bytes = '1MiB'\nrate-limit = '100/m'")
    limits = running.rig.site.limits
    assert (limits.idle_seconds, limits.max_body_bytes, limits.max_connections) == (50.0, 1 << 20, 100)
    assert said[-1].endswith("a.toml was read again: changed: idle-seconds, max-body-bytes")


def test_what_is_around_changes(running: Running, said: list[str]) -> None:
    assert running.field(b"access-control-allow-origin") is None
    running.again(
        FIRST + "cors-origins = ['https://a.example']\ntrusted-proxies = ['10.0.0.7']\nearly-hints-to='never'"
    )
    assert running.field(b"access-control-allow-origin") == b"https://a.example"
    site = running.rig.site
    assert [str(network) for network in site.trusted_proxies] == ["10.0.0.7/32"]
    assert site.early_hints_to == "never"
    running.again(FIRST)
    assert running.field(b"access-control-allow-origin") is None
    assert site.trusted_proxies == ()


def test_a_file_that_says_the_same_changes_nothing(running: Running, said: list[str]) -> None:
    before = running.rig.site.resource
    running.again(FIRST)
    assert running.rig.site.resource is before
    assert said[-1].endswith("nothing to change")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("idle-seconds = 'long'\nmax-body-bytes = 1", "a.toml, line 1: --idle-seconds: 'long'"),
        ("idle-second = 1", "a.toml, line 1: there is no option 'idle-second'; did you mean idle-seconds?"),
        ("idle-seconds = 50\ncors-origins = 'nowhere'", "a.toml, line 2: --cors-origins: 'nowhere'"),
        ("idle-seconds = 50\nrate-limit = 'fast'", "a.toml, line 2: --rate-limit: "),
        ("trusted-proxies = ['x']", "a.toml, line 1: --trusted-proxies 'x'"),
        ("early-hints-to = 'some'", "a.toml, line 1: --early-hints-to is some"),
        ("idle-seconds = 50\nlog-level = 'loud'", "a.toml, line 2: --log-level is loud"),
        ("idle-seconds = ", "a.toml is not TOML: Invalid value"),
    ],
)
def test_a_bad_file_is_one_line_and_changes_nothing(running: Running, said: list[str], text: str, why: str) -> None:
    site = running.rig.site
    before = site.limits, site.resource, site.trusted_proxies
    del said[:]
    running.again(text)
    assert (site.limits, site.resource, site.trusted_proxies) == before
    assert len(said) == 1
    assert said[0].startswith("the configuration stays as it was: ")
    assert why in said[0]
    running.again("idle-seconds = 50\nrate-limit = '100/m'")  # and a right one is taken afterwards
    assert site.limits.idle_seconds == 50


def test_what_waits_for_the_next_start_is_said_each_time(running: Running, said: list[str]) -> None:
    for _ in range(2):
        running.again(FIRST + "webroot = '/srv'\nsession-store = 'sqlite:none/such.db'")
        assert said[-1] == "these change with the next start alone: session-store, webroot"
    assert running.rig.site.resource is not None


def test_what_the_command_line_says_stays(running: Running, said: list[str]) -> None:
    running.again(FIRST + "max-connections = 50\nlisten = ['tcp:2']")
    assert running.rig.site.limits.max_connections == 100
    assert said[-1].endswith("nothing to change")


def test_a_daemon_has_gone_elsewhere(
    running: Running, monkeypatch: pytest.MonkeyPatch, said: list[str], tmp_path: Path
) -> None:
    Path("a.toml").write_text("idle-seconds = 60")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    running.reloaded.read_again()
    assert running.rig.site.limits.idle_seconds == 60


def test_the_hub_has_room_for_as_many_as_connections(said: list[str]) -> None:
    Path("a.toml").write_text("max-connections = 100\nmercure-publisher-key='sesame-sesame-sesame-sesame-sesame'")
    options = Options()
    options.parseOptions(["--config=a.toml", "--anonymous", "--listen=tcp:0"])
    service: Any = makeService(options)
    assert options.mercure is not None
    assert options.mercure.hub.max_subscribers == 90
    Path("a.toml").write_text("max-connections = 200\nmercure-publisher-key='sesame-sesame-sesame-sesame-sesame'")
    service._hung_up()
    assert options.mercure.hub.max_subscribers == 180
    assert service.site.limits.max_connections == 200


def test_what_is_at_once_is_taken(running: Running, said: list[str]) -> None:
    """Each option that is said to change at once does: none of them is named among those that wait."""
    running.again(
        "compress = true\ncors-credentials = true\ncors-origins = ['https://a.example']\nhsts = '5m'\n"
        "rate-limit = '1/m'\nredirect-to-https = true\ndevelopment = true\nearly-hints-to = 'always'\n"
        "security-headers = true\ntrusted-proxies = ['10.0.0.7']\nlog-level = 'debug'"
    )
    assert said[-1].endswith("changed: " + ", ".join(sorted({*AT_ONCE, "idle-seconds"})))
    assert running.rig.site.displayTracebacks
