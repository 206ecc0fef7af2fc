"""A connection through a proxy: CONNECT of HTTP (RFC 9110, 9.3.6) or of SOCKS 5 (RFC 1928), as an endpoint.

    endpoint = TunnelEndpoint(reactor, Proxy.parse("http://user:password@proxy:3128"), "example.com", 443, seconds=10)
    endpoint = wrapClientTLS(optionsForClientTLS("example.com"), endpoint)
    protocol = await endpoint.connect(factory)

Whatever goes over a stream goes through it. What it promises:

- One owner. The tunnel is the transport of the protocol inside; whichever of the two ends, ends both. Nothing keeps a
  tunnel beside the protocol, no pool and no table.
- Two deadlines that nothing moves: ``connect_seconds`` to reach the proxy (its name, TCP), and then ``seconds`` until
  the protocol inside is connected (TLS to the proxy, the request, its answer). A trickle is no progress.
- A refused tunnel is closed at once, whatever ``Connection`` says and whether or not the proxy closes too. The error
  has its status, and as much of its body as had come, up to ``MAX_BODY_PIECE_BYTES``.
- A half answer, no answer, one that is too long or of another protocol is closed at once too.
- Cancelling the Deferred at any moment frees the timer, the attempt to connect and the socket.
- Credentials are sent to the proxy alone, and are in no ``repr``, log or error.

With TLS to the proxy (``https``), TLS to an origin runs inside it.

Bytes right behind the answer: where the client speaks first, as in TLS and HTTP, nobody inside can have answered yet.
They are a second answer or a body that a 2xx cannot have, so the tunnel is refused. Where the peer inside speaks first
(SSH, SMTP), say ``peer_speaks_first=True``, and they are the tunnel's.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from twisted.internet.address import HostnameAddress
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectError, ConnectionDone, NoProtocol
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import alsoProvides, implementer

from hardhttp.client.endpoints import Endpoints
from hardhttp.client.errors import ClientError, ClientReason
from hardhttp.client.limits import ClientLimits
from hardhttp.client.proxies import MAX_PORT, Proxy
from hardhttp.client.tls import TLSEndpoint, Verifier
from hardhttp.errors import Fault, Reason
from hardhttp.wire.grammar import HOST
from hardhttp.wire.socks import SocksAnswer, SocksNegotiation, connect_to
from hardhttp.wire.tunnelanswer import TunnelAnswer, TunnelAnswerParser

__all__ = ["TunnelEndpoint", "TunnelError"]

# Squid's answers have half a KiB, and curl takes 300 KiB; no proxy has cause for more than this.
MAX_HEAD_BYTES: Final = 16 * 1024
MAX_INFORMATIONAL: Final = 8
# Of a refusal's body: enough to say which rule of which proxy it was.
MAX_BODY_PIECE_BYTES: Final = 1024


class TunnelError(ClientError, ConnectError):
    """There is no tunnel, and nothing is left of it.

    ``reason`` says why, ``proxy`` which one. A proxy that answered has a ``status``, ``fields`` (lower-case name,
    value), of which ``proxy-authenticate`` says what a 407 wants, and ``body``: as much as had come with the head, at
    most ``MAX_BODY_PIECE_BYTES``. The body is the proxy's text and may hold anything; it is not in ``str(error)``.
    One that speaks SOCKS has none of these: its number is in the text.
    """

    def __init__(
        self,
        reason: ClientReason | Reason,
        proxy: Proxy,
        detail: str,
        answer: TunnelAnswer | SocksAnswer | None = None,
        body: bytes = b"",
    ) -> None:
        super().__init__(reason, f"no tunnel through {proxy}: {detail}")
        self.proxy, self.detail = proxy, detail
        self.status = None if answer is None else answer.status
        self.fields = () if answer is None else answer.fields
        self.body = body[:MAX_BODY_PIECE_BYTES]


@implementer(IStreamClientEndpoint)
class TunnelEndpoint:
    """Connects to ``host:port`` through ``proxy``.

    ``seconds`` is the proxy's time to answer, from when it is reached; for that there are ``connect_seconds``, as long
    unless they are given. ``via`` is how the proxy is reached, TLS to it included; it is made of the proxy's
    address unless it is given, with ``tls`` where that is spoken (the platform's authorities). ``told`` is
    called with the proxy's answer when it opens the tunnel, before the protocol is made; its ``closes`` says whether
    the proxy means to close after this.

    The inner protocol's transport is that of the connection to the proxy, so ``getPeer`` is the proxy. Its factory's
    ``buildProtocol`` is given the ``HostnameAddress`` of the origin.

    Raises ``ValueError`` for a host or a port that cannot be asked for. ``connect`` fails with ``TunnelError``.
    """

    def __init__(
        self,
        reactor: Any,
        proxy: Proxy,
        host: str,
        port: int,
        seconds: float,
        *,
        connect_seconds: float | None = None,
        via: IStreamClientEndpoint | None = None,
        tls: IOpenSSLClientConnectionCreator | None = None,
        peer_speaks_first: bool = False,
        max_head_bytes: int = MAX_HEAD_BYTES,
        max_informational: int = MAX_INFORMATIONAL,
        told: Callable[[TunnelAnswer | SocksAnswer], object] | None = None,
    ) -> None:
        self.request = _request(proxy, host, port)
        self.reactor, self.proxy, self.seconds = reactor, proxy, seconds
        self.connect_seconds = seconds if connect_seconds is None else connect_seconds
        self.address = HostnameAddress(host.encode("ascii"), port)
        if via is None:
            via = Endpoints(reactor, ClientLimits()).stream("http", proxy.host, proxy.port)
            if proxy.is_secure:
                via = TLSEndpoint(reactor, tls or Verifier().creator(proxy.host, proxy.port), via)
        self.via = via
        self.peer_speaks_first = peer_speaks_first
        self.max_head_bytes, self.max_informational = max_head_bytes, max_informational
        self.told = told

    def __repr__(self) -> str:
        return f"<{type(self).__name__} to {self.address.hostname.decode()}:{self.address.port} through {self.proxy}>"

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """The protocol that ``protocolFactory`` builds, connected through a new tunnel."""
        return _Tunnel(self, protocolFactory).open()

    def ask(self, send: Callable[[bytes], object]) -> TunnelAnswerParser | SocksNegotiation:
        """Say by ``send`` what is to be said; whom to feed with the answer."""
        if self.proxy.is_socks:
            return SocksNegotiation(self.request, self.proxy.authorization, send)
        send(self.request)
        return TunnelAnswerParser(self.max_head_bytes, self.max_informational)


def _request(proxy: Proxy, host: str, port: int) -> bytes:
    """RFC 9112, 3.2.3: the target is host and port, always with the port; and Host is the same. Or as SOCKS has it."""
    name = f"[{host}]" if ":" in host else host
    if not name.isascii() or not name or HOST.fullmatch(target := f"{name}:{port}".encode("ascii")) is None:
        raise ValueError(f"no proxy can be asked for the host {host!r}")
    if not 1 <= port <= MAX_PORT:
        raise ValueError(f"no proxy can be asked for the port {port!r}")
    if proxy.is_socks:
        return connect_to(host, port)
    credentials = b"" if proxy.authorization is None else b"Proxy-Authorization: %s\r\n" % proxy.authorization
    return b"CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n" % (target, target, credentials)


class _Phase(Enum):
    """A tunnel goes down this list, and may leave out all but the last."""

    REACHING = "reaching"  # for the proxy
    ASKING = "asking"
    OPEN = "open"
    ENDED = "ended"


class _Once(Factory):
    """Gives out one tunnel, and forgets it: Twisted's own connectors hold a factory until the collector comes."""

    noisy = False

    def __init__(self, tunnel: _Tunnel) -> None:
        self.tunnel: _Tunnel | None = tunnel

    def buildProtocol(self, addr: Any) -> _Tunnel | None:
        tunnel, self.tunnel = self.tunnel, None
        return tunnel


class _Tunnel(Protocol):
    """One tunnel, from the attempt to reach the proxy to the end of the protocol inside."""

    transport: Any = None  # of the connection to the proxy, while there is one

    def __init__(self, endpoint: TunnelEndpoint, factory: IProtocolFactory) -> None:
        self._phase = _Phase.REACHING
        self._endpoint = endpoint
        self._factory: IProtocolFactory | None = factory
        self._parser: TunnelAnswerParser | SocksNegotiation | None = None
        self._inner: Any = None
        self._reaching: Deferred[Any] | None = None
        self._outer: _Once | None = None
        self._timer: Any = None
        self._opened: Deferred[IProtocol] | None = None

    # -- opening

    def open(self) -> Deferred[IProtocol]:
        opened: Deferred[IProtocol] = Deferred(lambda _: self._end())  # and then it fires with CancelledError
        self._opened = opened
        assert self._factory is not None
        self._factory.doStart()
        self._timer = self._endpoint.reactor.callLater(self._endpoint.connect_seconds, self._late)
        self._outer = _Once(self)
        self._reaching = maybeDeferred(self._endpoint.via.connect, self._outer)
        self._reaching.addCallbacks(self._reached, self._unreached)
        return opened

    def _reached(self, _: Any) -> None:
        self._reaching = None

    def _unreached(self, failure: Failure) -> None:
        self._reaching = None
        if self._phase is _Phase.REACHING:
            self._fail(ClientReason.PROXY_UNREACHED, "it was not reached", failure.value)

    def connectionMade(self) -> None:
        if self._phase is not _Phase.REACHING:  # ended while its last step was under way
            self._abort()
            return
        self._phase = _Phase.ASKING
        self._timer.reset(self._endpoint.seconds)
        self._parser = self._endpoint.ask(self.transport.write)

    def _late(self) -> None:
        self._timer = None
        if self._phase is _Phase.REACHING:
            detail = f"it was not reached within {self._endpoint.connect_seconds:g} seconds"
        else:
            detail = f"no whole answer within {self._endpoint.seconds:g} seconds"
        self._fail(ClientReason.PROXY_SECONDS, detail)

    # -- what comes

    def dataReceived(self, data: bytes) -> None:
        if self._phase is _Phase.OPEN:
            self._inner.dataReceived(data)
        elif self._phase is _Phase.ASKING:
            self._answered(data)

    def _answered(self, data: bytes) -> None:
        assert self._parser is not None
        try:
            answer = self._parser.feed(data)
        except Fault as fault:
            self._fail(fault.reason, fault.detail)
            return
        if answer is None:
            return
        rest = self._parser.rest
        if not answer.is_open:
            self._fail(ClientReason.PROXY_REFUSED, str(answer), answer=answer, body=rest)
        elif rest and not self._endpoint.peer_speaks_first:
            self._fail(ClientReason.PROXY_EARLY, "bytes came behind its answer", answer=answer, body=rest)
        else:
            self._connect_inner(answer, rest)

    def _connect_inner(self, answer: TunnelAnswer | SocksAnswer, rest: bytes) -> None:
        """The answer is good. Whatever is called here may cancel, end or raise."""
        opened, self._opened = self._opened, None
        assert opened is not None and self._factory is not None
        try:
            if self._endpoint.told is not None:
                self._endpoint.told(answer)
            inner: Any = self._factory.buildProtocol(self._endpoint.address)
            if inner is None:
                raise NoProtocol
            if self._phase is not _Phase.ASKING:
                return
            self._open_for(inner)
            inner.makeConnection(self.transport)
        except Exception:
            self._end()
            if not opened.called:
                opened.errback(Failure())
            return
        if not opened.called:
            opened.callback(inner)
        if rest:
            self.dataReceived(rest)

    def _open_for(self, inner: Any) -> None:
        self._phase = _Phase.OPEN
        self._inner = inner
        self._stop_timer()
        self._parser = None
        if IHalfCloseableProtocol.providedBy(inner):
            alsoProvides(self, IHalfCloseableProtocol)

    def readConnectionLost(self) -> None:
        self._inner.readConnectionLost()

    def writeConnectionLost(self) -> None:
        self._inner.writeConnectionLost()

    # -- ending

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._phase is _Phase.OPEN:
            inner = self._inner
            self._end(abort=False)
            inner.connectionLost(reason)
        elif self._phase is _Phase.ASKING:
            cause = None if reason.check(ConnectionDone) else reason.value
            self._fail(ClientReason.PROXY_CLOSED, "the proxy ended before its answer did", cause)
        self.transport = None

    def _fail(
        self,
        reason: ClientReason | Reason,
        detail: str,
        cause: BaseException | None = None,
        answer: TunnelAnswer | SocksAnswer | None = None,
        body: bytes = b"",
    ) -> None:
        opened, self._opened = self._opened, None
        self._end()
        if opened is not None:
            error = TunnelError(reason, self._endpoint.proxy, detail, answer, body)
            error.__cause__ = cause
            opened.errback(error)

    def _end(self, *, abort: bool = True) -> None:
        """Give back all there is. Idempotent, and right in every phase."""
        if self._phase is _Phase.ENDED:
            return
        self._phase = _Phase.ENDED
        self._stop_timer()
        reaching, self._reaching = self._reaching, None
        factory, self._factory = self._factory, None
        if self._outer is not None:
            self._outer.tunnel = None
            self._outer = None
        self._parser = self._inner = self._opened = None
        if reaching is not None:
            reaching.cancel()
        if abort:
            self._abort()
        if factory is not None:
            factory.doStop()

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abortConnection()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
