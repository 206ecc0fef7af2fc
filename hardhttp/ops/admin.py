"""The admin side: what the server is doing, for people and programs that look after it.

It is a site of its own on an endpoint of its own, so that it can be asked when the main one is full, and is not
counted with it. Its limits are tight: it serves few, who ask for little. Everything it answers is bounded: lists
come in pages. It shows neither session ids nor tokens, and of queries no value that may be a secret.

    GET /, /events, /figures      the dashboard, the stream it lives on, and what is on that, once
    GET /metrics                  for Prometheus
    GET /healthz, /readyz         alive; ready for requests (503 when not)
    GET /connections              a page of them; DELETE /connections/ID ends one
    GET /subscribers, /explain    of the hub
    GET /sessions                 how many there are
    GET /limits, /stalls          the bounds, with what was hit; who held the reactor
    GET, PUT /log-level
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource

from hardhttp.errors import HTTPError, StoreError
from hardhttp.limits import Limits
from hardhttp.ops.connections import MAX_PAGE, connections_page, kill
from hardhttp.ops.dashboard import PAGE_PATHS, Dashboard, Feed, Stream, figures_now
from hardhttp.ops.guard import Guarded
from hardhttp.ops.health import Health
from hardhttp.ops.limitsview import limits_view
from hardhttp.ops.logs import LEVELS
from hardhttp.ops.sources import Sources
from hardhttp.ops.subscribers import subscribers_page
from hardhttp.web.pages import Problem
from hardhttp.web.response import Response
from hardhttp.web.routing import Router, delete, get, put
from hardhttp.web.site import Site

__all__ = ["ADMIN_LIMITS", "admin_resource", "admin_site", "guarded", "log_level_in", "page_in"]

KiB = 1024
ADMIN_LIMITS = Limits(
    max_connections=64,
    max_connections_per_address=32,
    max_headers=50,
    max_head_bytes=16 * KiB,
    max_target_bytes=4 * KiB,
    max_body_bytes=4 * KiB,
    max_json_bytes=4 * KiB,
    max_form_fields=20,
    max_pipelined_bytes=16 * KiB,
    max_unsent_bytes=4 * KiB * KiB,
    max_buffered_bytes=16 * KiB * KiB,
    head_seconds=5.0,
    body_seconds=5.0,
    max_body_seconds=10.0,
    handling_seconds=10.0,
    send_seconds=10.0,
    idle_seconds=60.0,
    drain_seconds=1.0,
)
STORE_SECONDS = 2.0


def admin_site(sources: Sources, clock: IReactorTime, token: str | None = None, events: Stream | None = None) -> Site:
    """The site. ``token`` is what who asks must know; ``None`` where the endpoint is protection enough.

    ``events`` (an ``EventStream`` of the site's own) is what the dashboard lives on; without it there is none.
    """
    resource = guarded(sources, clock, token, events)
    site = Site(resource, limits=ADMIN_LIMITS, reactor=clock, http2=False)
    site.noisy = False  # "starting on" is said of the server
    site.error_page = _error_page
    return site


def _error_page(request: Any, problem: Problem) -> Response | None:
    """A problem document (RFC 9457) but for browsers: who asks here by curl reads it in a terminal."""
    if b"text/html" in (request.getHeader(b"accept") or b""):
        return None  # the ordinary page
    headers = {"Content-Type": "application/problem+json", "Vary": "Accept"}
    return Response(problem.status, headers, problem.json())


def guarded(sources: Sources, clock: IReactorTime, token: str | None, events: Stream | None) -> Guarded:
    """What it serves, for those who may. The files of the dashboard hold nothing: they ask for the token."""
    opened = PAGE_PATHS if events is not None else ()
    return Guarded(admin_resource(sources, clock, events, asks_token=token is not None), token, opened)


def admin_resource(
    sources: Sources, clock: IReactorTime, events: Stream | None = None, *, asks_token: bool = False
) -> IResource:
    """What it serves, without a guard."""
    router = Router()
    health = Health(sources, clock)
    router.add("", _Health(health))
    router.add("", _Connections(sources))
    router.add("", _Hub(sources))
    router.add("", _Insides(sources, health, clock))
    router.add("", _Logs(sources))
    router.route("/metrics", ("GET",))(_metrics(sources))
    if events is not None:
        router.putChild(b"", page := Dashboard(asks_token))
        router.putChild(b"dashboard", page)
        router.putChild(b"events", Feed(sources, health, events, clock))
    return router


def number_in(request: Any, name: str, default: int, low: int, high: int) -> int:
    """A number in the query. Raises ``HTTPError``."""
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 18 and low <= int(text) <= high):
        raise HTTPError(400, f"{name} must be a whole number from {low} to {high}")
    return int(text)


def page_in(request: Any) -> tuple[int, int]:
    """``after`` and ``limit``."""
    return number_in(request, "after", -1, 0, 1 << 53), number_in(request, "limit", 100, 1, MAX_PAGE)


def log_level_in(request: Any) -> str:
    """The level in a body. Raises ``HTTPError``."""
    said = request.json()
    level = said.get("level") if isinstance(said, dict) else None
    if level not in LEVELS:
        raise HTTPError(400, f'The body must be {{"level": "..."}}, one of {", ".join(LEVELS)}.')
    return str(level)


def _metrics(sources: Sources) -> Any:
    """The handler; without the library it says what is missing."""
    try:
        from hardhttp.ops.metrics import Metrics
    except ImportError:
        return lambda request: _missing()
    metrics = Metrics(sources)

    def scrape(request: Any) -> Response:
        body, content_type = metrics.exposition((request.getHeader(b"accept") or b"").decode("latin-1"))
        return Response(200, {"Content-Type": content_type}, body)

    return scrape


def _missing() -> None:
    raise HTTPError(501, "/metrics needs prometheus_client: pip install 'hardhttp[metrics]'")


class _Health:
    def __init__(self, health: Health) -> None:
        self._health = health

    @get("/healthz")
    def alive(self, request: Any) -> dict[str, Any]:
        return {"alive": True}

    @get("/readyz")
    async def ready(self, request: Any) -> Any:
        verdict = await self._health.ready()
        said = {"ready": verdict.ready, "problems": list(verdict.problems), "notes": list(verdict.notes)}
        return Response.json(said, 200 if verdict.ready else 503)


class _Connections:
    def __init__(self, sources: Sources) -> None:
        self._server = sources.server

    @get("/connections")
    def page(self, request: Any) -> dict[str, Any]:
        return connections_page(self._server, *page_in(request))

    @delete("/connections/{number:int}")
    def end(self, request: Any, number: int) -> None:
        if not kill(self._server, number):
            raise HTTPError(404, f"There is no connection {number}, or not any more.")
        request.setResponseCode(204)


class _Hub:
    def __init__(self, sources: Sources) -> None:
        self._hub = sources.hub

    def _there(self) -> Any:
        if self._hub is None:
            raise HTTPError(404, "This server has no hub.")
        return self._hub

    @get("/subscribers")
    def page(self, request: Any) -> dict[str, Any]:
        return subscribers_page(self._there(), *page_in(request))

    @get("/explain")
    def explain(self, request: Any) -> dict[str, Any]:
        hub = self._there()
        event, subscriber = request.query.get("event"), request.query.get("subscriber")
        if not event or not subscriber:
            raise HTTPError(400, "What became of which event at whom? /explain?event=ID&subscriber=ID")
        found: dict[str, Any] = hub.explain(event, subscriber).as_dict()
        return found


class _Insides:
    def __init__(self, sources: Sources, health: Health, clock: IReactorTime) -> None:
        self._sources, self._health, self._clock = sources, health, clock

    @get("/figures")
    async def figures(self, request: Any) -> dict[str, Any]:
        return await figures_now(self._sources, self._health, self._clock)

    @get("/limits")
    def limits(self, request: Any) -> dict[str, Any]:
        return {"limits": limits_view(self._sources.server)}

    @get("/stalls")
    def stalls(self, request: Any) -> dict[str, Any]:
        stalls = self._sources.stalls
        return {"count": 0, "stalls": []} if stalls is None else stalls.as_dict()

    @get("/sessions")
    async def sessions(self, request: Any) -> dict[str, Any]:
        """How many, and what it cost; of no session is anything told."""
        sessions = self._sources.sessions
        if sessions is None or not sessions.has_store:
            return {"store": None, "sessions": 0}
        asked: Deferred[int] = sessions.ask(sessions.store.count)
        try:
            count = await asked.addTimeout(STORE_SECONDS, self._clock)
        except (StoreError, TimeoutError) as error:
            raise HTTPError(503, f"The session store does not answer: {error}") from None
        return {
            "store": type(sessions.store).__name__,
            "sessions": count,
            "evicted": sessions.store.evicted,
            "store_failures": sessions.failures,
        }


class _Logs:
    def __init__(self, sources: Sources) -> None:
        self._logs = sources.logs

    def _there(self) -> Any:
        if self._logs is None:
            raise HTTPError(404, "This process has a log of its own, whose level is not known here.")
        return self._logs

    @get("/log-level")
    def level(self, request: Any) -> dict[str, Any]:
        return {"level": self._there().level, "levels": LEVELS}

    @put("/log-level")
    def set_level(self, request: Any) -> dict[str, Any]:
        """``{"level": "debug"}``."""
        self._there().level = log_level_in(request)
        return self.level(request)
