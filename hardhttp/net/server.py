"""What all connections of one site share.

One ``Server`` owns the tracker, the ledger, the reaper and the counts, and decides who is admitted.
It runs from the first connection (or ``start``) until it has been stopped and the last connection
has gone, so no timer outlives the connections it judges.
"""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IAddress, IReactorTime, ITransport
from twisted.logger import Logger

from hardhttp.errors import Fault, Reason
from hardhttp.limits import Limits
from hardhttp.net.budget import Budget
from hardhttp.net.ledger import Ledger
from hardhttp.net.reaper import Reapable, Reaper
from hardhttp.net.statistics import Statistics
from hardhttp.net.tracker import Network, Tracker, address_key
from hardhttp.wire.forwarded import IPAddress, parse_ip
from hardhttp.wire.head import Head, HeadParser

if TYPE_CHECKING:
    from hardhttp.net.channel2 import Channel2
    from hardhttp.net.connection import Connection
    from hardhttp.net.multiplexed import Multiplexed
    from hardhttp.net.proxyprotocol import HeaderFirst
    from hardhttp.net.refusal import Refusal

__all__ = ["CLOSED_UNANSWERED", "FIRST_REQUEST_SECONDS", "TOO_FAST", "TOO_SLOWLY", "Server"]

# nginx's status for a log, never sent: the server closed the connection and gave no answer.
CLOSED_UNANSWERED = 444
# Said of several protocols.
TOO_FAST = "a response was written faster than its client takes it"
TOO_SLOWLY = "a client takes its response too slowly"

# Log lines a reason may cause in a minute; what is beyond is counted and said in one line.
LINES_PER_MINUTE = 10
# Who has connected, and not said anything yet when a drain begins, has so long for the head of his one request.
FIRST_REQUEST_SECONDS = 2.0
# Refused connections that are waited for until they have read why; others are closed at once.
MAX_REFUSALS = 16


class Server:
    """The state behind a site.

    ``limits`` may be replaced while running. ``on_accept``, when set, is called with the peer's
    address and refuses the connection by returning ``False``.
    """

    _log = Logger(namespace="hardhttp")

    def __init__(self, clock: IReactorTime, limits: Limits) -> None:
        self.clock = clock
        self.seconds: Callable[[], float] = clock.seconds
        # When bytes last came, or the reaper last went round: at most a second old, and free to read.
        self.now = clock.seconds()
        self.limits = limits
        self.parser: Any = HeadParser()
        self.tracker: Tracker[Any] = Tracker()
        self.refusals: Tracker[Refusal] = Tracker()
        self.ledger = Ledger()
        self.statistics = Statistics(clock)
        self.budget = Budget(self)
        self.chores: list[Reapable] = [self.budget]  # judged with the connections
        self.reaper = Reaper(clock, lambda: [*self.tracker, *self.refusals, self, *self.chores])
        self.on_accept: Callable[[IAddress], bool] | None = None
        # The type and body of the page that answers a fault, given the request's head (where it was read) and id.
        self.error_page: Callable[[Fault, Head | None, str], tuple[bytes, bytes]] | None = None
        self.trusted_proxies: tuple[Network, ...] = ()
        self.trusts_unix = False  # whoever comes by a Unix socket is a trusted proxy
        # Told of what was refused and never became a request, within the log's budget: by whom, the head where
        # it was read, the answer's status, why, and the answer's id.
        self.on_refused: Callable[[IAddress | None, Head | None, int, Reason, str | None], object] | None = None
        self.draining = False
        self.passing = False  # whoever is judged now was let in before, at another address
        self.started = False
        self._lines: dict[Reason, int] = {}
        self._lines_until = 0.0
        # Makes the HTTP/2 connection that takes over from an HTTP/1.1 one; ``None`` where that is not spoken.
        self.http2: Callable[..., Channel2] | None = None
        self.extended_connect = True  # WebSockets may be streams of it (RFC 8441)
        self._unflushed: dict[Multiplexed, None] = {}
        self._date = b""
        self.date_until = 0.0
        self.ledger.gauge("connections", lambda: len(self.tracker))
        self.ledger.gauge("requests", lambda: sum(channel.request_count for channel in self.tracker))
        self.ledger.gauge("refusals", lambda: len(self.refusals))
        self.ledger.gauge("addresses", lambda: self.tracker.addresses)

    # -- life -------------------------------------------------------------------------------

    def start(self) -> None:
        self.started, self.draining = True, False
        self.reaper.start()

    def stop(self) -> None:
        """Stop once the last connection has gone."""
        self.started = False
        self._stop_when_empty()

    def _stop_when_empty(self) -> None:
        if not self.started and not len(self.tracker) and not len(self.refusals):
            self.reaper.stop()

    def added(self, transport: ITransport, channel: Connection | HeaderFirst, peer: IAddress | None) -> None:
        """A connection has been made."""
        self.tracker.add(transport, channel, address_key(peer, self.trusted_proxies), self.seconds())
        self.statistics.accepted += 1
        if not self.reaper.running:
            self.reaper.start()

    def removed(self, transport: ITransport, reason: Reason) -> None:
        """A connection has ended: everything it held is released here, and nowhere else."""
        self.tracker.remove(transport)
        self.refusals.remove(transport)
        self.ledger.release(transport)
        self.budget.weigh()
        self.statistics.closed[reason] += 1
        self._stop_when_empty()

    def passed_on(self, transport: ITransport) -> None:
        """A connection goes on under another protocol, which enters it anew."""
        self.tracker.remove(transport)
        self.ledger.release(transport)
        self.statistics.accepted -= 1
        self._stop_when_empty()

    def reap(self, now: float) -> None:
        """The server's own part of a sweep."""
        self.now = now
        self.statistics.sample(now, len(self.tracker))
        if now >= self._lines_until:
            for reason, lines in self._lines.items():
                if lines > LINES_PER_MINUTE:
                    self._log.info("{n} more: {reason}", n=lines - LINES_PER_MINUTE, reason=reason.value)
            self._lines.clear()
            self._lines_until = now + 60

    # -- admission --------------------------------------------------------------------------

    def judge(self, peer: IAddress) -> Reason | None:
        """Why ``peer`` may not connect now, or ``None``."""
        reason = self.full()
        if reason is not None:
            return reason
        held = self.tracker.from_address(address_key(peer, self.trusted_proxies))
        if held >= self.limits.max_connections_per_address:
            return Reason.CONNECTIONS_PER_ADDRESS
        if self.on_accept is not None:
            try:
                if self.on_accept(peer) is False:
                    return Reason.ACCEPT_HOOK
            except Exception:
                self._log.failure("on_accept failed; the connection is refused")
                return Reason.ACCEPT_HOOK
        return None

    def full(self) -> Reason | None:
        """Why nobody may connect now, or ``None``."""
        if len(self.tracker) >= self.limits.max_connections:
            return Reason.CONNECTIONS
        return Reason.DRAINING if self.draining and not self.passing else self.budget.refuses

    def trusts(self, peer: object) -> bool:
        """Whether ``peer`` is a trusted proxy: what it tells of others is believed."""
        if isinstance(peer, UNIXAddress):
            return self.trusts_unix
        if not self.trusted_proxies:
            return False
        address = parse_ip(getattr(peer, "host", "").partition("%")[0].encode("utf-8"))
        return address is not None and self.trusts_address(address)

    @property
    def trusts_any(self) -> bool:
        """Whether there is any trusted proxy."""
        return self.trusts_unix or bool(self.trusted_proxies)

    def trusts_address(self, address: IPAddress) -> bool:
        return any(address in network for network in self.trusted_proxies)

    def rejected(self, reason: Reason, peer: IAddress | None = None) -> None:
        """A connection was not admitted."""
        self.statistics.rejected += 1
        if self.refused(reason, "connection refused", peer=peer):
            self.tell_refused(peer, None, 503, reason)

    def may_refuse(self) -> bool:
        """Whether one more refused connection can be told so; else it is closed without a word."""
        return len(self.refusals) < MAX_REFUSALS

    def exhausted(self, released: int) -> None:
        """A port ran out of descriptors and let ``released`` clients go."""
        self.statistics.rejected += released
        self.refused(Reason.DESCRIPTORS, f"no descriptor is left; {released} connections were refused")

    # -- bounds -----------------------------------------------------------------------------

    def hold(self, transport: Any, kind: str, amount: int) -> None:
        """Enter an amount in the ledger, and see to it that the process keeps within its budget."""
        self.ledger.hold(transport, kind, amount)
        self.budget.weigh()

    def hold_unsent(self, transport: Any, base: Any) -> None:
        """The same of what ``base``, the transport at the bottom, has queued: a piece sent in part is kept whole."""
        self.ledger.hold_unsent(transport, getattr(base, "_tempDataLen", 0), getattr(base, "dataBuffer", b""))
        self.budget.weigh()

    def flush_soon(self, channel: Multiplexed) -> None:
        """Have ``channel`` send, in the next turn of the reactor, what it has gathered in this one."""
        if not self._unflushed:
            self.clock.callLater(0, self._flush)
        self._unflushed[channel] = None

    def _flush(self) -> None:
        unflushed, self._unflushed = self._unflushed, {}
        for channel in unflushed:
            self.guard(channel.flush)

    # -- saying so --------------------------------------------------------------------------

    def page(self, fault: Fault, head: Head | None, request_id: str) -> tuple[bytes, bytes] | None:
        """The type and body of the page that answers ``fault``; ``None`` for plain text."""
        if self.error_page is None:
            return None
        try:
            return self.error_page(fault, head, request_id)
        except Exception:
            self.failed("a refusal's page failed")
            return None

    def refused(self, reason: Reason, detail: str, request_id: str | None = None, peer: IAddress | None = None) -> bool:
        """Count a refusal, and log it within the minute's budget, with who it was; whether it was."""
        self.statistics.refused[reason] += 1
        lines = self._lines[reason] = self._lines.get(reason, 0) + 1
        if lines <= LINES_PER_MINUTE:
            who = None if peer is None else getattr(peer, "host", None) or "a Unix socket"
            which = ("" if who is None else f", from {who}") + ("" if request_id is None else f", request {request_id}")
            known = {"reason": reason.value, "which": which, "id": request_id, "peer": who}
            self._log.info("{detail} ({reason}{which})", detail=detail, **known)
        return lines <= LINES_PER_MINUTE

    def tell_refused(
        self, peer: IAddress | None, head: Head | None, status: int, reason: Reason, request_id: str | None = None
    ) -> None:
        """Tell ``on_refused`` of what ``refused`` had room for."""
        if self.on_refused is not None:
            self.guard(self.on_refused, peer, head, status, reason, request_id)

    def date(self) -> bytes:
        """The Date field's value (RFC 9110, 6.6.1)."""
        now = self.now
        if not now < self.date_until:
            self._date = formatdate(now, usegmt=True).encode("ascii")
            self.date_until = now // 1 + 1
        return self._date

    def failed(self, what: str) -> None:
        """Log the exception being handled; it costs whatever raised it, and nothing else."""
        self._log.failure(what)

    def guard(self, call: Callable[..., object], *args: object) -> None:
        """Call, and keep a failure to itself."""
        try:
            call(*args)
        except BaseException:
            self.failed("what was told of an end failed")
