"""The PROXY protocol on listening ports: who is really at the other end, told before the first byte.

``ProxyProtocolFactory`` stands between a port and the factory of its protocols, below TLS. A connection
from a trusted proxy (``Server.trusts``) must begin with a PROXY header; then the factory is asked for a
protocol for the address told, which so is judged as any peer's is (``Server.judge``), and gets a transport
that tells it. Every other connection goes to the factory as it is: a PROXY line from it is no request.

While its header is awaited a connection is the server's as any other: it is in the tracker and counts to
``max_connections``, and must have sent its header within ``head_seconds``, or soon when the server drains. One
that begins otherwise is closed without a word, for below TLS there are no words; the log has the reason.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, ILoggingContext, IProtocol, IProtocolFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from hardhttp.errors import PeerFault, Reason
from hardhttp.net.ledger import INPUT
from hardhttp.net.server import CLOSED_UNANSWERED, FIRST_REQUEST_SECONDS, Server
from hardhttp.net.told import ToldTransport
from hardhttp.wire.proxyprotocol import ProxyHeader, parse_proxy_header

__all__ = ["ProxyProtocolFactory"]


@implementer(IProtocolFactory, ILoggingContext)
class ProxyProtocolFactory:
    """``factory`` for connections that trusted proxies pass on.

    ``factory`` is a ``Site``; or one that makes TLS of it, and then ``server`` is ``site.server``.
    """

    noisy = False

    def __init__(self, factory: Any, server: Server | None = None) -> None:
        self.factory = factory
        self.server: Server = factory.server if server is None else server

    def logPrefix(self) -> str:
        return "hardhttp"

    def doStart(self) -> None:
        self.factory.doStart()

    def doStop(self) -> None:
        self.factory.doStop()

    def buildProtocol(self, addr: IAddress) -> Any:
        # Whoever finds no room needs no header to be told so.
        if not self.server.trusts(addr) or self.server.full() is not None:
            return self.factory.buildProtocol(addr)
        return HeaderFirst(self.factory, self.server)


@implementer(IProtocol, ILoggingContext)
class HeaderFirst:
    """A connection of which the PROXY header is awaited; then its protocol has it."""

    __slots__ = ("_data", "_deadline", "_factory", "_protocol", "_transport", "reason", "server")

    factory = None
    request = None
    request_count = 0

    def __init__(self, factory: Any, server: Server) -> None:
        self._factory = factory
        self.server = server
        self.reason: Reason | None = None
        self._data = b""
        self._deadline = 0.0
        self._transport: Any = None
        self._protocol: Any = None

    def logPrefix(self) -> str:
        return "hardhttp"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    # -- IProtocol ----------------------------------------------------------------------------

    def makeConnection(self, transport: Any) -> None:
        self._transport = transport
        self._deadline = self.server.seconds() + self.server.limits.head_seconds
        self.server.added(transport, self, None)

    def connectionMade(self) -> None:
        """Nothing is left to do: ``makeConnection`` has done it."""

    def dataReceived(self, data: bytes) -> None:
        if self._protocol is not None:
            self._protocol.dataReceived(data)
            return
        if self._transport is None or self.reason is not None:
            return  # it is ending
        data = self._data + data
        try:
            found = parse_proxy_header(data)
        except PeerFault as fault:
            self._end(fault.reason, fault.detail)
            return
        if found is None:
            self._data = data
            self.server.hold(self._transport, INPUT, len(data))
            return
        header, size = found
        self.server.statistics.bytes_in += size
        self._pass_on(header, data[size:])

    def connectionLost(self, reason: Failure) -> None:
        protocol, self._protocol = self._protocol, None
        transport, self._transport = self._transport, None
        if protocol is not None:
            protocol.connectionLost(reason)
        elif transport is not None:
            if self.reason is None:
                gone = reason.check(ConnectionDone) is not None
                self.reason = Reason.CLIENT_CLOSED if gone else Reason.CLIENT_RESET
            self.server.removed(transport, self.reason)

    # -- the header has come ------------------------------------------------------------------

    def _pass_on(self, header: ProxyHeader, rest: bytes) -> None:
        transport, self._transport, self._data = self._transport, None, b""
        self.server.passed_on(transport)
        peer, told = transport.getPeer(), transport
        if header.source is not None and header.destination is not None:
            peer = _address(*header.source)
            told = ToldTransport(transport, peer, _address(*header.destination))
        self.server.passing = True
        try:
            protocol = self._factory.buildProtocol(peer)
        finally:
            self.server.passing = False
        if protocol is None:
            transport.abortConnection()
            return
        # Twisted's own transports hand what they read to their ``protocol``, and expect it to change (TLS
        # that begins later does so). Others go on through here.
        if getattr(transport, "protocol", None) is self:
            transport.protocol = protocol
        else:
            self._protocol = protocol
        protocol.makeConnection(told)
        if rest:
            protocol.dataReceived(rest)

    # -- what the server asks of a connection -------------------------------------------------

    def reap(self, now: float) -> None:
        if now >= self._deadline and self.server.draining:
            self.abort(Reason.DRAINED)
        elif now >= self._deadline:
            seconds = self.server.limits.head_seconds
            self._end(Reason.HEAD_SECONDS, f"the PROXY header did not come within {seconds:g} s")

    def drain(self) -> None:
        """Its header and its request are on their way: the request is answered, and is the last."""
        self._deadline = min(self._deadline, self.server.seconds() + FIRST_REQUEST_SECONDS)

    def shed(self) -> None:
        self._end(Reason.BUFFERED_BYTES, "the server holds as much as it may")

    def _end(self, reason: Reason, detail: str) -> None:
        if self.reason is None:
            if self.server.refused(reason, detail) and self._transport is not None:
                self.server.tell_refused(self._transport.getPeer(), None, CLOSED_UNANSWERED, reason)
            self.abort(reason)

    def abort(self, reason: Reason) -> None:
        if self._transport is not None:
            if self.reason is None:
                self.reason = reason
            self._transport.abortConnection()


def _address(host: str, port: int) -> IPv4Address | IPv6Address:
    return (IPv6Address if ":" in host else IPv4Address)("TCP", host, port)
