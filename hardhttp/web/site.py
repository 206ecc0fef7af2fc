"""``Site``: the drop-in for ``twisted.web.server.Site``.

It takes the same arguments, serves the same Resource trees and is a ``twisted.web.server.Site`` for
``isinstance``. What it adds is bounds: ``limits``, and everything that shows them at work. The state
behind it is one ``hardhttp.net.server.Server``; the site itself owns the way from a request to its
resource, and the sessions.

Two defaults differ, on purpose: requests are logged only when ``logPath``, ``logFormatter`` or
``access_log`` asks for it, and tracebacks are never shown unless ``displayTracebacks`` is set.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocolNegotiationFactory, IReactorTime
from twisted.python.failure import Failure
from twisted.web import server as twisted_server
from twisted.web.resource import IResource
from zope.interface import implementer

from hardhttp.errors import Fault, Reason
from hardhttp.interfaces import IStreamingResource
from hardhttp.limits import Limits
from hardhttp.net.channel import Channel
from hardhttp.net.drain import drain
from hardhttp.net.refusal import Refusal
from hardhttp.net.server import CLOSED_UNANSWERED, Server
from hardhttp.web import pages
from hardhttp.web.adapting import adapt
from hardhttp.web.clientinfo import UNIX, told_address
from hardhttp.web.request import SERVER_NAME, Request
from hardhttp.web.sessions import Sessions
from hardhttp.web.stockpages import STOCK_PAGES, ours
from hardhttp.web.streaming import streaming_below
from hardhttp.wire.fieldblock import encode_block
from hardhttp.wire.forwarded import parse_network

if TYPE_CHECKING:
    from hardhttp.net.ledger import Ledger
    from hardhttp.net.statistics import Statistics
    from hardhttp.net.tracker import Network
    from hardhttp.wire.head import Head

__all__ = ["Site"]

# An application's types are few; one that makes them up is not cached without bound.
MAX_PREAMBLES = 64
# nginx's status for a log, never sent: the client left before it was answered.
CLIENT_LEFT = 499
_NOT_GIVEN: Any = object()


def _http2(*, required: bool) -> Any:
    """What speaks HTTP/2, where its library is installed. Raises ``ImportError`` when it is not and must be."""
    try:
        from hardhttp.net.channel2 import Channel2
    except ImportError:
        if required:
            raise
        return None
    return Channel2


@implementer(IProtocolNegotiationFactory)
class Site(twisted_server.Site):
    """An HTTP site.

    ``resource`` is the root ``IResource``. ``limits`` may be replaced while the site runs.
    ``reactor`` (``IReactorTime``) is the clock of every deadline; without one the running reactor
    is. ``sessions`` says where cookie sessions are kept; without it they are kept in memory, once there
    is one. ``http2`` says whether HTTP/2 is spoken too, over TLS by ALPN and else with clients that begin
    with it; left out, it is if the ``h2`` library is installed. ``timeout`` is ``twisted.web``'s name for
    ``Limits.idle_seconds``.
    """

    requestFactory: Any = Request
    # Who gets 103: "auto", "always" or "never"; see ``hardhttp.web.hints``.
    early_hints_to = "auto"
    # Make error pages, of requests and of the connection's own refusals: see ``hardhttp.web.pages``.
    error_page: Callable[[Any, pages.Problem], Any] | None = None
    refusal_page: Callable[[pages.Problem, Head | None], tuple[bytes, bytes]] = staticmethod(pages.refusal_page)

    def __init__(
        self,
        resource: IResource,
        requestFactory: Any = None,
        logPath: Any = None,
        timeout: float | None = _NOT_GIVEN,
        logFormatter: Any = None,
        reactor: IReactorTime | None = None,
        *,
        limits: Limits | None = None,
        sessions: Sessions | None = None,
        http2: bool | None = None,
        parsePOSTFormSubmission: bool = True,
    ) -> None:
        limits = Limits() if limits is None else limits
        if timeout is not _NOT_GIVEN and timeout is not None:
            limits = attrs.evolve(limits, idle_seconds=timeout)
        super().__init__(
            resource,
            requestFactory,
            logPath=logPath,
            timeout=limits.idle_seconds,
            logFormatter=logFormatter,
            reactor=reactor,
            parsePOSTFormSubmission=parsePOSTFormSubmission,
        )
        self.server = Server(self.reactor, limits)
        self.server.error_page = self._page_of
        self.server.http2 = None if http2 is False else _http2(required=bool(http2))
        self._twisted_log = logPath is not None or logFormatter is not None
        self.access_log = None
        self._factory_given: Any = None
        self._factory: Any = None
        self._preambles: dict[bytes | None, bytes] = {}
        self._preamble_blocks: dict[bytes | None, bytes] = {}
        self._preamble_blocks_until = 0.0
        self._preambles_until = 0.0
        self.sessions = OrderedDict()  # what getSession gives, by uid; the one touched longest ago first
        self.cookie_sessions = Sessions() if sessions is None else sessions
        self.cookie_sessions.serve(self)
        self.loads_sessions = self.cookie_sessions.loads_ahead

    def _page_of(self, fault: Fault, head: Head | None, request_id: str) -> tuple[bytes, bytes]:
        return self.refusal_page(pages.refused(fault, request_id), head)

    # -- what one sets and sees ---------------------------------------------------------------

    @property
    def limits(self) -> Limits:
        """The bounds in force; assign another ``Limits`` to change them at once."""
        return self.server.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self.server.limits = limits

    @property
    def on_accept(self) -> Callable[[IAddress], bool] | None:
        """Called with each new peer's address; returning ``False`` refuses it with 503."""
        return self.server.on_accept

    @on_accept.setter
    def on_accept(self, hook: Callable[[IAddress], bool] | None) -> None:
        self.server.on_accept = hook

    @property
    def trusted_proxies(self) -> tuple[Network | str, ...]:
        """Networks whose addresses stand for many clients.

        What they tell of their clients is believed (``hardhttp.web.clientinfo``), and
        ``max_connections_per_address`` is not for them. Assign addresses or networks (``"10.0.0.7"``,
        ``"10.0.0.0/8"``), and ``"unix"`` for whoever comes by a Unix socket; raises ``ValueError`` for others.
        """
        return (*self.server.trusted_proxies, *([UNIX] if self.server.trusts_unix else ()))

    @trusted_proxies.setter
    def trusted_proxies(self, networks: Iterable[str | Network]) -> None:
        given = tuple(networks)
        self.server.trusted_proxies = tuple(parse_network(network) for network in given if network != UNIX)
        self.server.trusts_unix = UNIX in given

    @property
    def connection_count(self) -> int:
        """Open connections."""
        return len(self.server.tracker)

    @property
    def statistics(self) -> Statistics:
        return self.server.statistics

    @property
    def ledger(self) -> Ledger:
        return self.server.ledger

    def cleanup_idle_connections(self) -> int:
        """Judge every connection now, as the reaper does each second; how many that ended."""
        before = {*self.server.tracker}
        self.server.reaper.sweep()
        return sum(1 for channel in before if channel.reason is not None)

    def cleanup_expired_sessions(self) -> Deferred[int]:
        """Forget the sessions that have expired, as is done each ``cleanup_seconds``; how many those were.

        Fails with ``StoreError``.
        """
        return self.cookie_sessions.sweep(self.server.seconds())

    def makeSession(self) -> Any:
        """A new session of ``twisted.web``'s kind, in ``sessions``; no client knows it yet."""
        return self.cookie_sessions.objects.make()

    # -- connections --------------------------------------------------------------------------

    def buildProtocol(self, addr: Any) -> Any:
        reason = self.server.judge(addr)
        if reason is not None:
            self.server.rejected(reason, addr)
            return Refusal(self.server, reason) if self.server.may_refuse() else None
        if self.requestFactory is not self._factory_given:
            self._adapt_factory()
        channel = Channel(self.server, self._factory, addr)
        channel.factory = channel.site = self
        return channel

    def _adapt_factory(self) -> None:
        """``requestFactory`` may be assigned at any time, and by a subclass."""
        self._factory_given = given = self.requestFactory
        self._factory = adapt(given)

    def startFactory(self) -> None:
        if self._twisted_log:
            super().startFactory()
        self.server.start()

    def stopFactory(self) -> None:
        super().stopFactory()
        self.server.stop()

    def drain(self) -> Deferred[None]:
        """Let responses in flight end, up to ``drain_seconds``, then abort what is left.

        Fires when no connection is open. New connections are refused until the site starts again.
        """
        return drain(self.server)

    @property
    def http2(self) -> bool:
        """Whether HTTP/2 is spoken too."""
        return self.server.http2 is not None

    @property
    def websockets_over_http2(self) -> bool:
        """Whether clients of HTTP/2 are told that a WebSocket may be a stream of it (RFC 8441): unless this is
        set to ``False``. New connections heed it."""
        return self.server.extended_connect

    @websockets_over_http2.setter
    def websockets_over_http2(self, told: bool) -> None:
        self.server.extended_connect = told

    def acceptableProtocols(self) -> list[bytes]:
        return [b"h2", b"http/1.1"] if self.http2 else [b"http/1.1"]

    # -- requests -----------------------------------------------------------------------------

    def getResourceFor(self, request: Request) -> IResource:
        """Walk the tree, one ``getChildWithDefault`` a path segment, to a leaf or the path's end."""
        request.site = self
        prepath: list[bytes] = request.prepath  # type: ignore[assignment] # process has set both
        postpath: list[bytes] = request.postpath  # type: ignore[assignment]
        request.sitepath = prepath[:]
        resource = self.resource
        while postpath and not resource.isLeaf:
            segment = postpath.pop(0)
            prepath.append(segment)
            resource = resource.getChildWithDefault(segment, request)
        # A request that twisted.web.distrib has sent has no headers to read or take away.
        return ours(resource) if type(resource) in STOCK_PAGES and isinstance(request, Request) else resource

    def getStreamingResourceFor(self, request: Request) -> IStreamingResource | None:
        """The resource that takes ``request``'s body as it comes, or ``None``.

        No code of an application runs here unless it provides ``IStreamingResource``, because all
        other code may expect a whole message.
        """
        path: list[bytes] = []
        rest = [unquote_to_bytes(segment) for segment in request.path[1:].split(b"/")]
        resource = streaming_below(self.resource, request, path, rest)
        request.prepath, request.postpath, request.sitepath = path, rest, []
        return resource

    def preamble(self, content_type: bytes | None) -> bytes:
        """The part of an ordinary 200's head that responses of one type share for a second."""
        if self.server.now >= self._preambles_until:
            self._preambles.clear()
        preamble = self._preambles.get(content_type)
        if preamble is None:
            date = self.server.date()
            self._preambles_until = self.server.date_until
            preamble = b"HTTP/1.1 200 OK\r\nServer: %s\r\nDate: %s\r\n" % (SERVER_NAME, date)
            if content_type is not None:
                preamble += b"Content-Type: %s\r\n" % content_type
            if len(self._preambles) < MAX_PREAMBLES:
                self._preambles[content_type] = preamble
        return preamble

    def preamble_block(self, content_type: bytes | None) -> bytes:
        """``preamble``, as the beginning of an HTTP/2 header block."""
        if self.server.now >= self._preamble_blocks_until:
            self._preamble_blocks.clear()
        block = self._preamble_blocks.get(content_type)
        if block is None:
            fields = {b"Server": [SERVER_NAME], b"Date": [self.server.date()]}
            self._preamble_blocks_until = self.server.date_until
            if content_type is not None:
                fields[b"Content-Type"] = [content_type]
            block = encode_block(200, fields)
            if len(self._preamble_blocks) < MAX_PREAMBLES:
                self._preamble_blocks[content_type] = block
        return block

    @property
    def access_log(self) -> Callable[[Request], object] | None:
        """Called with each request when its response has been written; ``None`` for no log.

        Its methods ``unfinished(request, status, reason)`` and ``refused(...)``, where it has them, are told of
        requests whose response was never whole, and of what was refused before it was a request; see
        ``hardhttp.web.accesslog``.
        """
        return self._access_log

    @access_log.setter
    def access_log(self, access_log: Callable[[Request], object] | None) -> None:
        self._access_log = access_log
        self.logs = access_log is not None or self._twisted_log
        self.server.on_refused = self._log_refused if hasattr(access_log, "refused") else None

    def log(self, request: Any) -> None:
        try:
            if self.access_log is not None:
                self.access_log(request)
            if self._twisted_log:
                super().log(request)
        except Exception:
            self.server.failed("the access log failed")

    def _log_refused(self, peer: Any, head: Head | None, status: int, reason: Reason, request_id: str | None) -> None:
        """What ``peer`` sent was refused before it was a request."""
        log: Any = self.access_log
        log.refused(told_address(self.server, peer, head), head, status, reason, request_id)

    def log_unfinished(self, request: Any, failure: Failure) -> None:
        """``request``'s response was not whole when its connection ended."""
        tell = getattr(self.access_log, "unfinished", None)
        if tell is None:
            return
        reason, status = request.channel.reason or Reason.CLIENT_CLOSED, CLOSED_UNANSWERED
        if isinstance(failure.value, Fault):
            reason, status = failure.value.reason, failure.value.status
        elif reason in (Reason.CLIENT_CLOSED, Reason.CLIENT_RESET):
            status = CLIENT_LEFT
        if request.startedWriting:
            status = request.code
        elif request.channel.is_upgraded:
            status = 101
        self.server.guard(tell, request, status, reason)
