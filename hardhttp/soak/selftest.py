"""An attack on a clone of one's own server, that names the limit which answered: ``twistd hardhttp ... --self-test``.

For each limit there is a clone: the tree, the wrappers and the limits that the options describe, on a
loopback port of its own, with sessions in memory whatever store is configured, and without a log. So
each answer is the doing of one attack. Beside the tree lie a few pages of ours, because an attack
needs something large to read and something to upload to; no page of the application is asked for.

A deadline of two minutes is not waited for: the clock of that clone runs faster, by a factor that is
told. Nothing of this touches the server itself, which does not run, or runs elsewhere.

The exit status is 0 when every limit that was tried has answered, and 1 when one has not.
"""

from __future__ import annotations

import importlib.util
import resource as system
import sys
from collections.abc import Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python import usage
from twisted.web.resource import IResource, Resource
from zope.interface import implementer

from hardhttp.errors import Reason
from hardhttp.limits import Limits
from hardhttp.soak.applications.hardhttp_app import make_root
from hardhttp.soak.catalogue import CATALOGUE
from hardhttp.soak.load import Load, LoadEnded
from hardhttp.soak.scenario import Scenario
from hardhttp.soak.where import Where
from hardhttp.stores import open_store
from hardhttp.tap.limitoptions import FIELDS, option_name
from hardhttp.tap.options import Options
from hardhttp.units import format_seconds, format_size
from hardhttp.web.service import HTTPService
from hardhttp.web.sessions import Sessions
from hardhttp.web.site import Site

__all__ = ["ATTACKS", "Answered", "Attack", "FasterClock", "attack", "main"]

# How long a deadline is made to take, and an attack that waits for none.
DEADLINE_SECONDS, FLOOD_SECONDS = 3.0, 2.0
# How often it is looked for an answer, and how long its clients may take to see it.
LOOK_SECONDS, SEEN_SECONDS = 0.05, 0.25
# A clone's own pages, which no application has.
PREFIX = b"hardhttp-self-test"
# The clients of a crowd and the connections they make are this process's, both.
SPARE_DESCRIPTORS = 200
MOST_SENT_BYTES = 64 << 20


@attrs.frozen
class Attack:
    """``scenario`` is to be answered by ``limit``, with one of ``reasons``. ``clients``: how many at once."""

    limit: str
    scenario: str
    reasons: tuple[Reason, ...]
    clients: int = 3


ATTACKS = (
    Attack("head_seconds", "drip-head", (Reason.HEAD_SECONDS,)),
    Attack("body_seconds", "drip-body", (Reason.BODY_RATE, Reason.BODY_SECONDS)),
    Attack("send_seconds", "stopped-reader-closing", (Reason.SEND_RATE,)),
    Attack("idle_seconds", "idle", (Reason.IDLE,)),
    Attack("websocket_pong_seconds", "silent-socket", (Reason.PONG_SECONDS,)),
    Attack("max_head_bytes", "long-heads", (Reason.HEAD_BYTES,)),
    Attack("max_headers", "many-headers", (Reason.HEADERS,)),
    Attack("max_target_bytes", "long-heads", (Reason.TARGET_BYTES,)),
    Attack("max_body_bytes", "oversized-length", (Reason.BODY_BYTES,)),
    Attack("max_websocket_message_bytes", "endless-fragments", (Reason.MESSAGE_BYTES,)),
    Attack("max_stream_resets", "rapid-reset", (Reason.STREAM_RESETS,)),
    Attack("max_stream_resets", "made-you-reset", (Reason.STREAM_RESETS,)),
    Attack("max_control_frames", "settings-flood", (Reason.CONTROL_FRAMES,)),
    Attack("max_control_frames", "ping-flood", (Reason.CONTROL_FRAMES,)),
    Attack("max_control_frames", "empty-data-flood", (Reason.CONTROL_FRAMES,)),
    Attack("max_connections", "crowd", (Reason.CONNECTIONS,)),
)


@attrs.frozen
class Answered:
    """What became of an attack: how many times each reason answered it, or why it was not tried."""

    attack: Attack
    value: float | int | None
    reasons: dict[Reason, int]
    held_seconds: float
    faster: float
    skipped: str | None = None

    @property
    def well(self) -> bool:
        return self.skipped is not None or any(self.reasons.get(reason) for reason in self.attack.reasons)


class ManyHeaders(Scenario):
    """As many fields as no server takes, each of them short. A sound server says 431."""

    name = "many-headers"

    def __init__(self, count: int) -> None:
        self._count = count

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        connection.send(connection.head()[:-2] + b"a:\r\n" * self._count + b"\r\n")
        load.count((await connection.answer()).outcome)
        connection.reset()


class FasterClock:
    """``reactor``, whose time goes ``factor`` times as fast. Everything else is the reactor's."""

    def __init__(self, reactor: Any, factor: float) -> None:
        self._reactor, self._factor = reactor, factor
        self._began = reactor.seconds()

    def seconds(self) -> float:
        passed: float = self._reactor.seconds() - self._began
        return self._began + passed * self._factor

    def callLater(self, delay: float, call: Any, *args: Any, **named: Any) -> IDelayedCall:
        later: IDelayedCall = self._reactor.callLater(delay / self._factor, call, *args, **named)
        return later

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)


implementer(IReactorTime)(FasterClock)


class Beside(Resource):
    """The configured tree, and our pages under a name of their own."""

    def __init__(self, tree: IResource, pages: IResource) -> None:
        super().__init__()
        self._tree, self._pages = tree, pages

    def getChildWithDefault(self, path: bytes, request: Any) -> IResource:
        if path == PREFIX:
            return self._pages
        request.postpath.insert(0, request.prepath.pop())
        return self._tree


def _paths() -> dict[str, str]:
    prefix = "/" + PREFIX.decode("ascii")
    names = ("large", "upload", "session", "look", "events", "later", "websocket")
    return {"hello": f"{prefix}/", **{name: f"{prefix}/{name}" for name in names}}


def _why_not(chosen: Attack, limits: Limits) -> str | None:
    """Why an attack would prove nothing here, or could not be made."""
    if chosen.limit == "max_connections":
        needed = 2 * limits.max_connections + SPARE_DESCRIPTORS
        hard = system.getrlimit(system.RLIMIT_NOFILE)[1]
        if hard not in (system.RLIM_INFINITY,) and needed > hard:
            return f"it takes {needed:,} descriptors, and this process may have {hard:,}"
    if "websocket" in chosen.limit and importlib.util.find_spec("wsproto") is None:
        return "a WebSocket needs wsproto, which is not installed"
    if CATALOGUE.get(chosen.scenario, Scenario).speaks == "http2" and importlib.util.find_spec("h2") is None:
        return "HTTP/2 needs h2, which is not installed"
    if chosen.limit == "max_websocket_message_bytes" and limits.max_websocket_message_bytes >= MOST_SENT_BYTES:
        return f"the attack sends no more than {format_size(MOST_SENT_BYTES)}"
    if chosen.limit == "max_headers" and limits.max_headers * 4 + 1000 > limits.max_head_bytes:
        return "max-head-bytes is reached first"
    return None


def _deadline(chosen: Attack, limits: Limits) -> float | None:
    """How long the attack has to be borne until its limit answers, and the server has looked."""
    if not chosen.limit.endswith("_seconds"):
        return None
    seconds: float = getattr(limits, chosen.limit)
    # A pong is waited for once a ping has gone out.
    return seconds + (limits.websocket_ping_seconds if chosen.limit == "websocket_pong_seconds" else 0.0)


def _scenario(chosen: Attack, limits: Limits) -> Scenario:
    made = ManyHeaders(limits.max_headers + 1) if chosen.scenario == "many-headers" else CATALOGUE[chosen.scenario]()
    clients = limits.max_connections + 20 if chosen.limit == "max_connections" else chosen.clients
    # One attack of this kind, not a kind of its own.
    made.connections, made.per_second = clients, max(20.0, clients / 1.0)  # type: ignore[misc]
    return made


async def attack(reactor: Any, options: Options, chosen: Attack) -> Answered:
    """Make a clone, attack it, take it away."""
    limits = options.limits
    value = getattr(limits, chosen.limit)
    why_not = _why_not(chosen, limits)
    if why_not is not None:
        return Answered(chosen, value, {}, 0.0, 1.0, why_not)
    deadline = _deadline(chosen, limits)
    faster = 1.0 if deadline is None else max(1.0, deadline / DEADLINE_SECONDS)
    clock: Any = FasterClock(reactor, faster)
    pages = make_root(clock)
    tree = Beside(options.around(options.resource or Resource()), pages)
    http2 = False if options["no-http2"] else None
    site = Site(tree, limits=limits, reactor=clock, sessions=Sessions(open_store("memory:", clock)), http2=http2)
    service = HTTPService(site, ["tcp:0:interface=127.0.0.1"], reactor)
    listening: Any = await service.startService()
    try:
        where = Where("http", "127.0.0.1", listening[0].getHost().port, _paths())
        load = Load(reactor, where, FLOOD_SECONDS if deadline is None else DEADLINE_SECONDS + 2.5)
        watching = Deferred.fromCoroutine(_until_answered(load, site, chosen))
        await load.run(_scenario(chosen, limits))
        await watching
    finally:
        pages.close()
        await service.stopService()
    return Answered(chosen, value, _reasons(site), load.held_seconds * faster, faster)


def _reasons(site: Site) -> dict[Reason, int]:
    """What the clone has answered so far."""
    counts = site.statistics
    found = {reason: counts.closed[reason] + counts.refused[reason] for reason in Reason}
    return {reason: count for reason, count in found.items() if count}


async def _until_answered(load: Load, site: Site, chosen: Attack) -> None:
    """End the load soon after its limit has answered: that is all there is to see."""
    try:
        while not _reasons(site).keys() & set(chosen.reasons):
            await load.sleep(LOOK_SECONDS)
        await load.sleep(SEEN_SECONDS)
    except LoadEnded:
        return
    load.end()


# -- telling -----------------------------------------------------------------------------------


def line(answered: Answered) -> str:
    """One line of the table."""
    chosen = answered.attack
    field = next(field for field in FIELDS if field.name == chosen.limit)
    write = format_seconds if chosen.limit.endswith("_seconds") else str
    value = "none" if answered.value is None else write(answered.value)
    if chosen.limit.endswith("_bytes") and answered.value is not None:
        value = format_size(int(answered.value))
    if answered.skipped is not None:
        said = f"not tried: {answered.skipped}"
    elif answered.well:
        said = ", ".join(reason.value for reason in chosen.reasons if reason in answered.reasons)
        if chosen.limit.endswith("_seconds"):
            said += f", after {answered.held_seconds:.3g} s"
            said += f" (its clock ran {answered.faster:.3g} times as fast)" if answered.faster > 1 else ""
    else:
        others = ", ".join(f"{reason.value} {count:,} times" for reason, count in answered.reasons.items())
        said = f"DID NOT ANSWER; what did: {others or 'nothing'}"
    return f"--{option_name(field):30} {value:>8}  {chosen.scenario:24} {said}"


async def run(reactor: Any, options: Options) -> bool:
    """All attacks, one after the other; whether every limit that was tried has answered."""
    well = True
    print(f"{'limit':32} {'value':>8}  {'attacked by':24} answered")
    for chosen in ATTACKS:
        if options["no-http2"] and CATALOGUE.get(chosen.scenario, Scenario).speaks == "http2":
            continue
        answered = await attack(reactor, options, chosen)
        print(line(answered), flush=True)
        well = well and answered.well
    print("Every limit that was tried has answered." if well else "A limit has not answered.")
    return well


def main(words: Sequence[str] | None = None) -> int:
    """The exit status. ``words``: what ``twistd hardhttp`` was given, without ``--self-test``."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    options = Options()
    try:
        options.parseOptions(list(sys.argv[1:] if words is None else words))
    except usage.UsageError as error:
        print(f"hardhttp --self-test: {error}", file=sys.stderr)
        return 2
    soft, hard = system.getrlimit(system.RLIMIT_NOFILE)
    needed = 2 * options.limits.max_connections + SPARE_DESCRIPTORS
    if soft < needed:
        system.setrlimit(system.RLIMIT_NOFILE, (needed if hard == system.RLIM_INFINITY else min(needed, hard), hard))
    ended: list[Any] = []

    def finish(result: Any) -> None:
        ended.append(result)
        reactor.stop()

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(run(reactor, options)).addBoth(finish))
    reactor.run()
    if ended and not isinstance(ended[0], bool):
        ended[0].printTraceback(file=sys.stderr)
    return 0 if ended == [True] else 1


if __name__ == "__main__":
    sys.exit(main())
