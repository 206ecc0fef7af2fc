"""Requests a second: the rows that wrk, or h2load, loads as fast as it can."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import h2load, wrk
from benchmarks.figures import ratios, spread
from benchmarks.messages import BROWSER_HEADERS, HELLO, HELLO_PATH, POST_BYTES, POST_PATH, READ_PATH
from benchmarks.peers import Peer
from benchmarks.processes import Failed, Server, raise_descriptors
from benchmarks.rounds import Plan, Series, base_of, progress, serving
from benchmarks.targets import verdict

__all__ = ["RATE_ROWS", "SPARE", "WARM_SECONDS", "RateRow", "RateSample", "measure_rate", "summarise"]

WARM_SECONDS = 1
# Descriptors for everything that is not a connection under load.
SPARE = 300
# hardhttp's own, of connections.
DEFAULT_CAP = 1000


@dataclass(frozen=True)
class RateRow:
    """One request, sent again and again.

    ``answer`` is the body it must get. ``keeps_cookies``: the first answer's cookies go with all others.
    ``streams`` are those of a connection, over HTTP/2; with none it is HTTP/1.1.
    """

    name: str
    title: str
    path: str = HELLO_PATH
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    body_bytes: int = 0
    tls: bool = False
    only_tree: bool = False
    answer: bytes = HELLO
    keeps_cookies: bool = False
    streams: int = 0

    @property
    def expected(self) -> bytes:
        return b"%d" % self.body_bytes if self.method == "POST" else self.answer

    def suits(self, peer: Peer) -> bool:
        """Whether ``peer`` can run it."""
        return (peer.tree or not self.only_tree) and (peer.post or self.method != "POST")


RATE_ROWS = {
    row.name: row
    for row in (
        RateRow("hello", "13 bytes, a request with Host alone"),
        RateRow("hello-browser", "13 bytes, a request with ten browser headers", headers=BROWSER_HEADERS),
        RateRow("tree", "the same two-level tree of twisted.web resources", only_tree=True),
        RateRow(
            "tree-read",
            "the same tree; the leaf reads arguments, headers, cookies and finishes itself",
            READ_PATH + "?page=2&sort=name",
            headers=BROWSER_HEADERS,
            only_tree=True,
        ),
        RateRow("post", "POST of 1 MiB, answered with its length", POST_PATH, "POST", body_bytes=POST_BYTES),
        RateRow("tls", "hello over HTTPS, keep-alive", tls=True),
    )
}


@dataclass(frozen=True)
class RateSample:
    """One run against one server. Processor time is the server's alone."""

    load: wrk.Load
    cpu_seconds: float

    @property
    def cpu_share(self) -> float:
        return self.cpu_seconds * 1e6 / self.load.microseconds

    @property
    def cpu_microseconds(self) -> float:
        """For each request."""
        return self.cpu_seconds * 1e6 / max(1, self.load.requests)

    @classmethod
    def joined(cls, samples: Sequence[RateSample]) -> RateSample:
        """Several as one."""
        return cls(wrk.joined([each.load for each in samples]), sum(each.cpu_seconds for each in samples))

    def __str__(self) -> str:
        note = f", ERRORS {self.load.errors}" if self.load.errors else ""
        return f"{self.load.rate:,.0f} requests/s, {self.cpu_microseconds:.1f} us of processor each{note}"


def measure_rate(row: RateRow, peers: Sequence[Peer], plan: Plan) -> dict[str, object]:
    """Run the row and return its part of the report."""
    raise_descriptors(plan.connections + SPARE)
    # hardhttp keeps its default limits, unless that many connections are asked for that they refuse.
    cap = plan.connections + SPARE if plan.connections > DEFAULT_CAP - SPARE else None

    series = {peer.name: Series[RateSample](peer, []) for peer in peers if row.suits(peer)}
    for number in range(1, plan.pairs + 1):
        _round(row, f"{row.name} {number}/{plan.pairs}", series, plan, cap)
    return {
        "row": row.name,
        "kind": "rate",
        "title": row.title,
        "pairs": plan.pairs,
        "seconds": plan.seconds,
        "connections": plan.connections,
        **summarise(row.name, series, plan.base),
    }


def _round(row: RateRow, where: str, series: dict[str, Series[RateSample]], plan: Plan, cap: int | None) -> None:
    """Append a sample, or ``None``, to each series.

    Every server is started afresh and warmed; then they are loaded in turn, a second each, as many
    times as the sample has seconds. What is compared lies seconds apart, not minutes.
    """
    slices: dict[str, list[RateSample]] = {}

    @contextmanager
    def given_up_on_failure(each: Series[RateSample]) -> Iterator[None]:
        try:
            yield
        except (Failed, OSError) as error:
            each.failure = str(error)
            progress(f"{where} {each.peer.name}: FAILED: {error}")

    with ExitStack() as stack:
        servers: dict[str, Server] = {}
        scripts: dict[str, Path] = {}
        for name, each in series.items():
            if each.failure is None:
                with given_up_on_failure(each):
                    setting = serving(each.peer, plan, tls=plan.tls if row.tls else None, max_connections=cap)
                    servers[name] = server = stack.enter_context(setting)
                    _check(row, server)
                    scripts[name] = lua = _script(row, server, plan)
                    _load(row, server, lua, WARM_SECONDS, plan)
        for _ in range(plan.seconds):
            for name, server in servers.items():
                if series[name].failure is None:
                    with given_up_on_failure(series[name]):
                        before = server.cpu_seconds()
                        load = _load(row, server, scripts[name], 1, plan)
                        slices.setdefault(name, []).append(RateSample(load, server.cpu_seconds() - before))
        for name, server in servers.items():
            if series[name].failure is None:
                with given_up_on_failure(series[name]):
                    _check(row, server)
    for name, each in series.items():
        each.samples.append(RateSample.joined(slices[name]) if each.failure is None else None)
        if each.failure is None:
            progress(f"{where} {name}: {each.samples[-1]}")


def _load(row: RateRow, server: Server, lua: Path, seconds: int, plan: Plan) -> wrk.Load:
    url = server.url + row.path
    if not row.streams:
        return wrk.run(url, lua, plan.connections, seconds, plan.load_core)
    log = plan.directory / "h2load.log"
    return h2load.run(url, row.headers, plan.connections, row.streams, seconds, plan.load_core, log)


def _script(row: RateRow, server: Server, plan: Plan) -> Path:
    """What wrk sends to ``server``."""
    headers = dict(row.headers)
    if row.keeps_cookies:
        given = server.cookies(row.path)
        headers["Cookie"] = "; ".join(filter(None, [headers.get("Cookie", ""), *given]))
    lua = plan.directory / f"{row.name}-{server.peer.name}.lua"
    lua.write_text(wrk.script(row.method, headers, row.body_bytes))
    return lua


def _check(row: RateRow, server: Server) -> None:
    body = b"x" * row.body_bytes if row.body_bytes else None
    answer = server.ask(row.path, row.method, body)
    if answer != row.expected:
        raise Failed(f"{row.method} {row.path} was answered {answer[:60]!r} and not {row.expected!r}")


def summarise(name: str, series: dict[str, Series[RateSample]], wanted: str) -> dict[str, object]:
    """Medians for each peer, and the base's ratio to it, round by round."""
    base = base_of(series, wanted)
    rates = {peer: [s and s.load.rate for s in each.samples] for peer, each in series.items()}
    # Requests for each second of the server's processor time: steadier where other work shares the cores.
    by_cpu = {peer: [s and 1 / s.cpu_microseconds for s in each.samples] for peer, each in series.items()}
    peers: dict[str, object] = {}
    for peer, each in series.items():
        errors = sum((Counter(sample.load.errors) for sample in each.taken), Counter())
        entry: dict[str, object] = {"failure": each.failure, "errors": dict(errors)}
        entry["valid"] = each.failure is None and not errors
        if each.taken:
            entry["rate"] = spread([s.load.rate for s in each.taken]).as_dict()
            entry["rates"] = [rate and round(rate, 1) for rate in rates[peer]]
            entry["p50_ms"] = spread([s.load.p50 / 1000 for s in each.taken]).median
            entry["p99_ms"] = spread([s.load.p99 / 1000 for s in each.taken]).median
            entry["cpu_share"] = spread([s.cpu_share for s in each.taken]).median
            entry["cpu_microseconds"] = spread([s.cpu_microseconds for s in each.taken]).median
        pairs = ratios(rates[base], rates[peer]) if base and peer != base else []
        if pairs:
            entry["ratio"] = spread(pairs).as_dict()
            entry["cpu_ratio"] = spread(ratios(by_cpu[base], by_cpu[peer])).as_dict()
            entry["verdict"] = verdict(name, peer, entry["ratio"]["median"]) if base == "hardhttp" else None
        peers[peer] = entry
    return {"base": base, "peers": peers}
