"""The dashboard: a page of the admin side, and the stream of figures it lives on.

The page is the files of ``static`` beside this one, and nothing from anywhere else: its policy allows it no more,
and no text in it ever becomes markup. They hold nothing that is worth a guard, so they are had without the token; the
page asks for that, sends it with each request, and keeps it in memory alone.

The figures are taken while somebody watches, once a second at most, and not at all when nobody does: the first who
subscribes starts the one timer there is, the last who goes ends it. While many connections are looked at, other work
goes first: a slice of two milliseconds in every twenty.

The stream is handed in, for ``ops`` sees nothing of ``sse``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import ensureDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.web.resource import Resource

from hardhttp.errors import HTTPError
from hardhttp.ops.figures import Census, snapshot
from hardhttp.ops.health import Health, Verdict
from hardhttp.ops.sources import Sources

__all__ = ["PAGE_PATHS", "Dashboard", "Feed", "Stream", "figures_now"]

FIGURES_SECONDS = 1.0
SLICE_SECONDS, REST_SECONDS = 0.002, 0.018

_CSS, _SCRIPT = b"text/css; charset=utf-8", b"text/javascript; charset=utf-8"
_BELOW = b"/dashboard/"
_FILES = {
    b"dashboard.css": _CSS,
    b"dashboard.js": _SCRIPT,
    b"charts.js": _SCRIPT,
    b"connections.js": _SCRIPT,
    b"feed.js": _SCRIPT,
    b"text.js": _SCRIPT,
    b"workers.js": _SCRIPT,
    b"uPlot.iife.min.js": _SCRIPT,
    b"uPlot.min.css": _CSS,
}
PAGE_PATHS = frozenset({b"/", *(_BELOW + name for name in _FILES)})
_POLICY = (
    b"default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    b"form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)


class Stream(Protocol):
    """What is asked of an ``EventStream``."""

    @property
    def subscriber_count(self) -> int: ...

    def render(self, request: Any) -> Any: ...

    def publish(self, data: Any) -> object: ...


class Dashboard(Resource):
    """The page, and below it its files. ``asks_token``: whether the page has to ask for one."""

    isLeaf = True

    def __init__(self, asks_token: bool) -> None:
        super().__init__()
        folder = Path(__file__).with_name("static")
        page = (folder / "dashboard.html").read_bytes()
        page = page.replace(b'data-token="none"', b'data-token="asked"' if asks_token else b'data-token="none"')
        self._files = {b"/": (b"text/html; charset=utf-8", page)}
        for name, kind in _FILES.items():
            self._files[_BELOW + name] = kind, (folder / name.decode("ascii")).read_bytes()

    def render_GET(self, request: Any) -> bytes:
        if request.path not in self._files:
            raise HTTPError(404)
        kind, content = self._files[request.path]
        request.setHeader(b"Content-Type", kind)
        request.setHeader(b"Content-Security-Policy", _POLICY)
        request.setHeader(b"Cross-Origin-Opener-Policy", b"same-origin")
        return content


async def figures_now(sources: Sources, health: Health, clock: IReactorTime) -> dict[str, Any]:
    """What is published, once, for who asks; with the same regard for other work."""
    census = Census(sources.server)
    while census.look(clock.seconds() + SLICE_SECONDS):
        await deferLater(clock, REST_SECONDS)
    return snapshot(sources, census, await health.ready())


class Feed(Resource):
    """Subscribes to ``stream``, and publishes figures on it for as long as somebody is subscribed."""

    isLeaf = True
    _log = Logger(namespace="hardhttp")

    def __init__(self, sources: Sources, health: Health, stream: Stream, clock: IReactorTime) -> None:
        super().__init__()
        self._sources, self._health, self._stream, self._clock = sources, health, stream, clock
        self._turn: IDelayedCall | None = None  # nobody watches
        self._census: Census | None = None  # no look has begun
        self._begun = 0.0
        self._verdict: Verdict | None = None  # it is not known whether the server is ready

    def render(self, request: Any) -> Any:
        answer = self._stream.render(request)
        if self._stream.subscriber_count:
            request.notifyFinish().addBoth(self._left)
            if self._turn is None:
                self._verdict = None
                self._turn = self._clock.callLater(0, self._go_on)
        return answer

    def _left(self, _: object) -> None:
        """A watcher has gone; after the last one nothing is left to do."""
        if not self._stream.subscriber_count:
            turn, self._turn = self._turn, None
            self._census = None
            if turn is not None and turn.active():
                turn.cancel()

    def _go_on(self) -> None:
        """A slice of a look at the connections; when that was the last one, publish."""
        pause = FIGURES_SECONDS
        try:
            now = self._clock.seconds()
            if self._census is None:
                self._census, self._begun = Census(self._sources.server), now
                self._ask()
            if self._census.look(now + SLICE_SECONDS):
                pause = REST_SECONDS
            else:
                census, self._census = self._census, None
                pause = max(REST_SECONDS, self._begun + FIGURES_SECONDS - self._clock.seconds())
                self._stream.publish(snapshot(self._sources, census, self._verdict))
        except Exception:  # whoever watches is to see the next ones
            self._census = None
            self._log.failure("the dashboard's figures could not be taken")
        self._turn = self._clock.callLater(pause, self._go_on) if self._stream.subscriber_count else None

    def _ask(self) -> None:
        """Whether it is ready: figures do not wait for a store that does not answer."""
        ensureDeferred(self._health.ready()).addCallbacks(self._judged, self._not_judged)

    def _judged(self, verdict: Verdict) -> None:
        self._verdict = verdict

    def _not_judged(self, failure: Any) -> None:
        self._log.failure("whether the server is ready could not be told", failure)
