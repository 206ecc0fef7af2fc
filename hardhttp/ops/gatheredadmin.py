"""The admin side of a parent: the paths of ``hardhttp.ops.admin``, answered for all workers.

    GET /workers                  each: process, state, age, memory, how often it was begun, why the last one ended
    GET /connections              of all; DELETE goes to the one that has it
    GET /readyz                   ready while one worker is at least

What needs no worker is answered by the parent itself, so that it can be asked while all of them start or are stuck.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from hardhttp.errors import HTTPError
from hardhttp.limits import Limits
from hardhttp.ops.admin import ADMIN_LIMITS, log_level_in, page_in
from hardhttp.ops.dashboard import PAGE_PATHS, Dashboard, Stream
from hardhttp.ops.gatheredfeed import GatheredFeed, figures_of
from hardhttp.ops.gathering import Gathered, Gathering, inner, pages, shared, summed
from hardhttp.ops.guard import Guarded
from hardhttp.ops.logs import LEVELS, Logs
from hardhttp.ops.worker import Worker
from hardhttp.ops.workersview import workers_view
from hardhttp.web.response import Response
from hardhttp.web.routing import Router, delete, get, put
from hardhttp.web.site import Site

__all__ = ["Levels", "gathered_resource", "gathered_site"]

# What explains least comes last.
_UNKNOWN = ("unknown-subscriber", "unknown-event")


def gathered_site(
    gathering: Gathering,
    clock: IReactorTime,
    limits: Limits,
    levels: Levels,
    token: str | None = None,
    events: Stream | None = None,
) -> Site:
    """The site; ``limits`` are those of the options, for all workers together."""
    resource = gathered_resource(gathering, clock, limits, levels, events, asks_token=token is not None)
    site = Site(
        Guarded(resource, token, PAGE_PATHS if events is not None else ()),
        limits=ADMIN_LIMITS,
        reactor=clock,
        http2=False,
    )
    site.noisy = False
    return site


def gathered_resource(
    gathering: Gathering,
    clock: IReactorTime,
    limits: Limits,
    levels: Levels,
    events: Stream | None = None,
    *,
    asks_token: bool = False,
) -> Router:
    router = Router()
    feed = None if events is None else GatheredFeed(gathering, events, clock)
    router.add("", _Health(gathering, clock))
    router.add("", _Lists(gathering))
    router.add("", _Insides(gathering, limits, clock))
    router.add("", levels)
    router.route("/metrics", ("GET",))(_metrics(gathering))
    if feed is not None:
        router.putChild(b"", page := Dashboard(asks_token))
        router.putChild(b"dashboard", page)
        router.putChild(b"events", feed)
    return router


def _metrics(gathering: Gathering) -> Any:
    try:
        from hardhttp.ops.gatheredmetrics import exposition
    except ImportError:
        return lambda request: _missing()

    async def scrape(request: Any) -> Response:
        gathered = await gathering.ask_all("GET", "/metrics")
        accept = (request.getHeader(b"accept") or b"").decode("latin-1")
        body, content_type = exposition(gathered, gathering.workers, accept)
        return Response(200, {"Content-Type": content_type}, body)

    return scrape


def _missing() -> None:
    raise HTTPError(501, "/metrics needs prometheus_client: pip install 'hardhttp[metrics]'")


class _Health:
    def __init__(self, gathering: Gathering, clock: IReactorTime) -> None:
        self._gathering, self._clock = gathering, clock

    @get("/healthz")
    def alive(self, request: Any) -> dict[str, Any]:
        return {"alive": True}

    @get("/readyz")
    async def ready(self, request: Any) -> Any:
        said = readiness(await self._gathering.ask_all("GET", "/readyz"), self._gathering)
        return Response.json(said, 200 if said["ready"] else 503)

    @get("/workers")
    def workers(self, request: Any) -> dict[str, Any]:
        return workers_view(self._gathering.workers, self._clock.seconds())


def readiness(gathered: Gathered, gathering: Gathering) -> dict[str, Any]:
    """Ready is who has one worker that is."""
    workers = gathering.workers
    ready = [said for said in gathered.said if said.status == 200]
    lines = [f"worker {number} does not answer" for number in gathered.missing]
    for said in gathered.said:
        if isinstance(said.value, dict):
            told = [*said.value.get("problems", ()), *said.value.get("notes", ())]
            lines += [f"worker {said.worker.number}: {line}" for line in told]
    problems = []
    if workers.stopping:
        problems.append("the server is draining")
    elif not ready:
        problems = ["no worker is ready", *lines]
    return {
        "ready": not problems,
        "problems": problems,
        "notes": [] if problems else lines,
        "workers": {"ready": len(ready), "wanted": workers.wanted},
    }


class _Lists:
    """What comes in pages: each worker is asked for those behind ``after`` that are its own."""

    def __init__(self, gathering: Gathering) -> None:
        self._gathering = gathering

    def _of_page(self, path: str, after: int, limit: int) -> Callable[[Worker], str]:
        serial, number = inner(after) if after >= 0 else (0, -1)

        def target(worker: Worker) -> str:
            if worker.serial < serial:
                return f"{path}?limit=1&after={1 << 53}"  # for its totals alone
            own = f"&after={number}" if worker.serial == serial and number >= 0 else ""
            return f"{path}?limit={limit}{own}"

        return target

    @get("/connections")
    async def connections(self, request: Any) -> dict[str, Any]:
        after, limit = page_in(request)
        gathered = await self._gathering.ask_all("GET", self._of_page("/connections", after, limit))
        return pages(gathered, "connections", "id", limit)

    @delete("/connections/{number:int}")
    async def end(self, request: Any, number: int) -> None:
        serial, own = inner(number)
        worker = self._gathering.by_serial(serial)
        if worker is None:
            raise HTTPError(404, f"There is no connection {number}, or not any more.")
        said = await self._gathering.ask(worker, "DELETE", f"/connections/{own}")
        if said is None:
            raise HTTPError(504, f"Worker {worker.number}, which has connection {number}, does not answer.")
        if said.status != 204:
            raise HTTPError(404, f"There is no connection {number}, or not any more.")
        request.setResponseCode(204)

    @get("/subscribers")
    async def subscribers(self, request: Any) -> dict[str, Any]:
        after, limit = page_in(request)
        gathered = await self._gathering.ask_all("GET", self._of_page("/subscribers", after, limit))
        return pages(with_hub(gathered), "subscribers", "number", limit)

    @get("/explain")
    async def explain(self, request: Any) -> dict[str, Any]:
        """What the worker says that knows most of it."""
        event, subscriber = request.query.get("event"), request.query.get("subscriber")
        if not event or not subscriber:
            raise HTTPError(400, "What became of which event at whom? /explain?event=ID&subscriber=ID")
        target = f"/explain?event={quote(event, safe='')}&subscriber={quote(subscriber, safe='')}"
        gathered = with_hub(await self._gathering.ask_all("GET", target))
        answers = sorted(gathered.good, key=lambda said: _ignorance(said.value))
        if not answers:
            raise HTTPError(503, "No worker answers.")
        return {**answers[0].value, "worker": answers[0].worker.number, "missing": list(gathered.missing)}


def with_hub(gathered: Gathered) -> Gathered:
    """Raises ``HTTPError`` where there is none."""
    if any(said.status == 404 for said in gathered.said):
        raise HTTPError(404, "This server has no hub.")
    return gathered


def _ignorance(explanation: dict[str, Any]) -> int:
    outcome = explanation.get("outcome")
    return 1 + _UNKNOWN.index(outcome) if outcome in _UNKNOWN else 0


class _Insides:
    def __init__(self, gathering: Gathering, limits: Limits, clock: IReactorTime) -> None:
        self._gathering, self._limits, self._clock = gathering, limits, clock

    @get("/limits")
    async def limits(self, request: Any) -> dict[str, Any]:
        """``value`` is the option's; ``per_worker`` is what each one keeps to."""
        gathered = await self._gathering.ask_all("GET", "/limits")
        tables = [{row["name"]: row for row in said.value["limits"]} for said in gathered.good]
        rows = []
        for name, row in (tables[0] if tables else {}).items():
            hits = [table[name]["hits"] for table in tables if table[name]["hits"] is not None]
            rows.append(
                {
                    **row,
                    "value": getattr(self._limits, name),
                    "per_worker": row["value"],
                    "hits": sum(hits) if hits else row["hits"],
                }
            )
        return {"limits": rows, "missing": list(gathered.missing)}

    @get("/stalls")
    async def stalls(self, request: Any) -> dict[str, Any]:
        gathered = await self._gathering.ask_all("GET", "/stalls")
        found = summed({k: v for k, v in said.value.items() if k != "stalls"} for said in gathered.good) or {"count": 0}
        every = [{**stall, "worker": said.worker.number} for said in gathered.good for stall in said.value["stalls"]]
        every.sort(key=lambda stall: stall["at"], reverse=True)
        return {**found, "stalls": every, "missing": list(gathered.missing)}

    @get("/sessions")
    async def sessions(self, request: Any) -> dict[str, Any]:
        return shared(await self._gathering.ask_all("GET", "/sessions"))

    @get("/figures")
    async def figures(self, request: Any) -> dict[str, Any]:
        found = await figures_of(self._gathering, self._clock)
        if found is None:
            raise HTTPError(503, "No worker answers.")
        return found


class Levels:
    """The level of the log, of the parent's and all workers'; those that come later are told it too."""

    _log = Logger(namespace="hardhttp")

    def __init__(self, gathering: Gathering, logs: Logs | None) -> None:
        self._gathering, self._logs = gathering, logs
        self._body: bytes | None = None  # nobody has set one
        self._told: set[int] = set()  # serials

    def _there(self) -> Logs:
        if self._logs is None:
            raise HTTPError(404, "This process has a log of its own, whose level is not known here.")
        return self._logs

    @get("/log-level")
    def level(self, request: Any) -> dict[str, Any]:
        return {"level": self._there().level, "levels": LEVELS}

    @put("/log-level")
    async def set_level(self, request: Any) -> dict[str, Any]:
        """``{"level": "debug"}``."""
        level = log_level_in(request)
        self._there().level = level
        self._body, self._told = json.dumps({"level": level}).encode("ascii"), set()
        gathered = await self._tell()
        return {**self.level(request), "missing": [] if gathered is None else list(gathered.missing)}

    def changed(self) -> None:
        """A worker has come or gone."""
        if self._body is not None:
            Deferred.fromCoroutine(self._tell()).addErrback(self._untold)

    async def _tell(self) -> Gathered | None:
        if self._body is None:
            return None
        new = [worker for worker in self._gathering.serving() if worker.serial not in self._told]
        self._told = {worker.serial for worker in self._gathering.serving()}
        answers = [(worker, await self._gathering.ask(worker, "PUT", "/log-level", self._body)) for worker in new]
        return Gathered((), tuple(worker.number for worker, answer in answers if answer is None))

    def _untold(self, failure: Any) -> None:
        self._log.failure("the level of the log could not be passed on", failure)
