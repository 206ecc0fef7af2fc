"""The dashboard without a browser: its files and policy, who may have them, and figures only while somebody watches."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

import hardhttp.ops
from hardhttp.errors import Reason
from hardhttp.ops import dashboard
from hardhttp.ops.admin import ADMIN_LIMITS, guarded
from hardhttp.ops.dashboard import PAGE_PATHS
from hardhttp.ops.figures import LOOK_EVERY, Census, snapshot
from hardhttp.ops.sources import Sources
from hardhttp.ops.stalls import StallWatch
from hardhttp.sse.stream import EventStream
from hardhttp.testing import Rig
from hardhttp.web.sessions import Sessions
from tests.ops.test_admin import TOKEN, Both, Page, StuckStore, field

STATIC = Path(hardhttp.ops.__file__).with_name("static")
SITE = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site")


def made(main: Rig, token: str | None = None, **sources: Any) -> Iterator[Both]:
    looked_at = Sources(main.site.server, main.site.cookie_sessions, **sources)
    with Rig(guarded(looked_at, main.clock, token, EventStream(main.clock)), limits=ADMIN_LIMITS) as admin:
        yield Both(main, admin, looked_at)


@pytest.fixture
def both() -> Iterator[Both]:
    with Rig(Page(), sessions=Sessions(StuckStore())) as main:
        yield from made(main, stalls=StallWatch(main.clock))


@pytest.fixture
def secret() -> Iterator[Both]:
    with Rig(Page()) as main:
        yield from made(main, TOKEN)


class Watcher:
    """Somebody who has the page open."""

    def __init__(self, both: Both, *lines: str) -> None:
        self.both, self.peer = both, both.admin.connect()
        self.peer.send("\r\n".join(["GET /events HTTP/1.1", "Host: 127.0.0.1:8081", *lines, "", ""]).encode())

    def seen(self) -> list[dict[str, Any]]:
        return [json.loads(each) for each in re.findall(rb"^data: (.*)$", bytes(self.peer.received), re.MULTILINE)]

    def after(self, seconds: float) -> list[dict[str, Any]]:
        """All snapshots it has once so much time has passed."""
        self.both.main.clock.turn()
        self.both.main.advance(seconds)
        return self.seen()


# -- the page ------------------------------------------------------------------------------------


def test_the_page_and_its_files(both: Both) -> None:
    for path in sorted(PAGE_PATHS):
        response = both.ask(path.decode())
        assert response.status == 200
        policy = (field(response, b"content-security-policy") or b"").decode()
        assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; ")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert field(response, b"cross-origin-resource-policy") == b"same-origin"
        assert field(response, b"cache-control") == b"no-store"
    page = both.ask("/").body.decode()
    assert '<html lang="en" data-token="none">' in page
    assert {f"/{name}".encode() for name in re.findall(r'(?:src|href)="(dashboard/[^"]+)"', page)} <= PAGE_PATHS


def test_every_file_is_served_and_none_beside_them(both: Both) -> None:
    names = {path.name for path in STATIC.iterdir()} - {"dashboard.html", "uPlot.LICENSE.txt"}
    assert {b"/", *(f"/dashboard/{name}".encode() for name in names)} == PAGE_PATHS
    for path in (
        "/dashboard/",
        "/dashboard",
        "/dashboard/../admin.py",
        "/dashboard/none.js",
        "/dashboard/uPlot.LICENSE.txt",
    ):
        assert both.ask(path).status == 404


def test_the_charts_library_keeps_its_licence() -> None:
    assert "Leon Sorokin" in (STATIC / "uPlot.LICENSE.txt").read_text()
    assert (STATIC / "uPlot.iife.min.js").read_text().startswith("/*! https://github.com/leeoniya/uPlot (v1.")


def test_the_page_reaches_nobody_else() -> None:
    for path in STATIC.iterdir():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "").replace("https://github.com/leeoniya/", "")
        assert path.suffix == ".txt" or not re.search(r"https?://|[\"'(]//|@import|\bstyle=|\bon[a-z]+=\"", text), (
            path.name
        )


def test_without_events_there_is_none() -> None:
    with Rig(Page()) as main, Rig(guarded(Sources(main.site.server), main.clock, None, None)) as admin:
        both = Both(main, admin, Sources(main.site.server))
        assert both.ask("/").status == both.ask("/events").status == both.ask("/dashboard/text.js").status == 404


# -- who may have it -----------------------------------------------------------------------------


def test_the_page_is_had_without_the_token_and_nothing_else_is(secret: Both) -> None:
    for path in PAGE_PATHS:
        assert secret.ask(path.decode()).status == 200
    assert b'data-token="asked"' in secret.ask("/").body
    for path in ("/events", "/events/", "/connections", "/dashboard/none.js", "/dashboard", "//"):
        assert secret.ask(path).status == 401
    assert secret.ask("/connections/1", method="DELETE").status == 401
    watcher = Watcher(secret, f"Authorization: Bearer {TOKEN}")
    assert watcher.after(1)[0]["connections"]["open"] == 0
    assert TOKEN.encode() not in secret.ask("/").body + bytes(watcher.peer.received)
    watcher.peer.reset()


@pytest.mark.parametrize("line", [*SITE, "Origin: https://evil.example", "Origin: null", "Origin: http://127.0.0.1:9"])
def test_a_page_of_another_origin_can_do_nothing(both: Both, line: str) -> None:
    victim = both.begin()
    for path in ("/events", "/connections", "/dashboard/text.js", "/metrics", "/healthz"):
        response = both.ask(path, line)
        assert response.status == 403
        assert field(response, b"access-control-allow-origin") is None
    assert both.ask("/connections/1", line, method="DELETE").status == 403
    assert both.ask("/connections/1", line, "Access-Control-Request-Method: DELETE", method="OPTIONS").status == 403
    assert not victim.closed
    assert both.main.site.statistics.closed[Reason.KILLED] == 0


def test_a_link_from_elsewhere_may_be_followed_and_does_nothing(both: Both) -> None:
    victim = both.begin()
    for site in SITE:
        assert both.ask("/", site, "Sec-Fetch-Mode: navigate").status == 200
        assert both.ask("/connections/1", site, "Sec-Fetch-Mode: navigate", method="DELETE").status == 403
        assert both.ask("/connections/1", site, "Sec-Fetch-Mode: navigate", method="POST").status == 403
    assert not victim.closed
    assert both.ask("/connections/1", "Sec-Fetch-Site: same-origin", method="DELETE").status == 204


# -- the stream ----------------------------------------------------------------------------------


def test_figures_come_once_a_second_while_somebody_watches(both: Both) -> None:
    watcher = Watcher(both)
    assert len(watcher.after(0)) == 1
    for count in range(2, 5):
        assert len(watcher.after(0.5)) == count - 1
        assert len(watcher.after(0.5)) == count
    later = Watcher(both)  # is shown what the first one is
    assert len(later.after(1)) == 1
    assert len(watcher.seen()) == 5
    watcher.peer.reset()
    later.peer.reset()


def test_when_nobody_watches_nothing_is_done(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[float] = []
    census = dashboard.Census
    monkeypatch.setattr(dashboard, "Census", lambda server: taken.append(server.seconds()) or census(server))
    both.main.advance(5)
    before = len(both.main.clock.getDelayedCalls())
    assert taken == []
    first, second = Watcher(both), Watcher(both)
    first.after(1)
    assert len(taken) == 2
    first.peer.reset()
    both.main.advance(1)
    assert len(taken) == 3
    second.peer.reset()
    both.main.advance(5)
    assert len(taken) == 3
    assert len(both.main.clock.getDelayedCalls()) == before
    both.ask("/events", method="HEAD")
    both.main.advance(2)
    assert len(taken) == 3
    third = Watcher(both)
    assert len(third.after(1)) == 2
    third.peer.reset()


def test_a_watcher_that_ends_while_it_is_told_leaves_nothing(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(both.main.clock.getDelayedCalls())
    monkeypatch.setattr(EventStream, "publish", lambda stream, data: stream.close())
    Watcher(both).after(3)
    assert len(both.main.clock.getDelayedCalls()) == before


def test_a_verdict_of_long_ago_is_not_shown(both: Both) -> None:
    asked: list[Deferred[Any]] = []
    Watcher(both).after(1)
    store = both.sources.sessions.store  # type: ignore[union-attr]
    store.stuck = lambda: asked.append(Deferred()) or asked[-1]
    first = Watcher(both)
    first.after(1)
    first.peer.reset()
    for peer in both.admin.peers:
        peer.reset()
    both.main.advance(3)  # the question times out when nobody watches any more
    both.main.advance(60)
    later = Watcher(both)
    assert [each["ready"] for each in later.after(0)] == [None]
    later.peer.reset()
    both.main.advance(3)


def test_many_connections_are_looked_at_in_slices(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3 * LOOK_EVERY):
        both.main.connect()
    monkeypatch.setattr(dashboard, "SLICE_SECONDS", 0.0)  # so that each slice is one batch
    looked: list[int] = []
    count = Census._count
    monkeypatch.setattr(Census, "_count", lambda *given: looked.append(1) or count(*given))
    watcher = Watcher(both)
    for slices in range(1, 4):
        assert watcher.after(0) == []
        assert len(looked) == slices * LOOK_EVERY
        both.main.advance(dashboard.REST_SECONDS)
    (seen,) = watcher.seen()
    assert seen["connections"]["phases"]["head"] == 3 * LOOK_EVERY
    assert len(watcher.after(0.9)) == 1  # a second from where the first look began
    for _ in range(6):
        assert len(watcher.seen()) == 1
        both.main.advance(dashboard.REST_SECONDS)
    assert len(watcher.seen()) == 2
    watcher.peer.reset()


def test_a_snapshot_that_fails_costs_itself(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = Watcher(both)
    watcher.after(0)
    monkeypatch.setattr(dashboard, "snapshot", lambda *given: 1 / 0)
    assert len(watcher.after(2)) == 1
    for rig in (both.main, both.admin):  # both hear the log
        assert [failure.type for failure in rig.flush()] == [ZeroDivisionError, ZeroDivisionError]
    monkeypatch.setattr(dashboard, "snapshot", snapshot)
    assert len(watcher.after(1)) == 2
    watcher.peer.reset()


def test_a_store_that_does_not_answer_holds_no_figures_up(both: Both) -> None:
    both.sources.sessions.store.stuck = Deferred  # type: ignore[union-attr]
    watcher = Watcher(both)
    seen = watcher.after(1)
    assert [each["ready"] for each in seen] == [None, None]
    both.main.advance(1)
    both.main.advance(1)
    last = watcher.after(1)[-1]
    assert (last["ready"], last["problems"]) == (False, ["the session store: no answer within 2 s"])
    assert len(watcher.seen()) == 5
    watcher.peer.reset()
    both.main.advance(2)
