"""The fast port: listening sockets whose connections send at once.

A stock transport queues what is written and sends it in the next turn of the reactor, which costs
two ``epoll_ctl`` calls and a turn for every response. These send when ``write`` is called and queue
only what the kernel would not take; everything else (producers, closing, half-closing) is Twisted's
own. Accepting is bounded too: at the descriptor limit the clients that wait are told so and let go,
then the port rests for a moment, so that neither processor nor log burn.

``EagerReactor`` is how they come to be used: an endpoint, of any kind, that is made with it listens
on these instead of the stock ones.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import main, tcp, unix
from twisted.internet.abstract import isIPv6Address
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IReactorSocket,
    IReactorSSL,
    IReactorTCP,
    IReactorUNIX,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from hardhttp.net.balance import Balanced
from hardhttp.net.inherited import Given, Inherited
from hardhttp.net.poller import Poller
from hardhttp.net.sendfile import SendsFiles
from hardhttp.net.sharing import SharedPort, SharedUNIXPort
from hardhttp.net.tls import TLSFactory

__all__ = ["EagerReactor"]

READ_BYTES = 128 * 1024
ACCEPTS_PER_TURN = 64
# nginx's; the stock 50 overflows in a burst of connections.
BACKLOG = 511
# After running out of descriptors: how long accepting rests, and how many are let go before.
REST_SECONDS = 0.2
RELEASES_PER_TURN = 32

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 2\r\nConnection: close\r\n\r\n"


class _Eager(SendsFiles):
    """Sending at once; mixed into Twisted's server transports."""

    logstr = "hardhttp"

    def __init__(self, skt: socket.socket, protocol: Any, client: Any, server: Any, number: int, reactor: Any) -> None:
        # As tcp.Server's, without the strings it formats for every connection.
        tcp.Connection.__init__(self, skt, protocol, reactor)
        self.server = server
        self.client = client
        self.sessionno = number
        self.connected = 1
        # Read at every write: an instance's own attributes are found fastest.
        self.dataBuffer = b""
        self.offset = 0
        self.producer: Any = None
        self.streamingProducer: Any = False
        self._writeDisconnected = False
        self.TLS = False
        self._poller = reactor if isinstance(reactor, Poller) else None
        if self._poller is not None:
            self._poller.joined()
        self.startReading()

    def connectionLost(self, reason: Failure) -> None:
        tcp.Server.connectionLost(self, reason)
        poller, self._poller = self._poller, None
        if poller is not None:
            poller.left()

    @property
    def hostname(self) -> str:
        return str(self.client[0])

    @property
    def repstr(self) -> str:
        return f"<{type(self).__name__} #{self.sessionno}>"

    def doRead(self) -> Exception | None:
        try:
            data = self.socket.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return main.CONNECTION_LOST
        if not data:
            return main.CONNECTION_DONE
        self.protocol.dataReceived(data)
        return None

    sends_at_once = True

    def write(self, data: bytes) -> None:
        if (
            self.dataBuffer
            or self._tempDataBuffer
            or not (data and self.connected)
            or self._writeDisconnected
            or self.TLS
        ):
            tcp.Server.write(self, data)
            return
        try:
            sent = self.socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            sent = 0  # the reactor will meet it again, and end the connection from its own loop
        if sent < len(data):
            self.dataBuffer = data
            self.offset = sent
            self._maybePauseProducer()
            self.startWriting()
        elif self.producer is not None and not self.streamingProducer:
            self.startWriting()

    def writeSequence(self, iovec: Any) -> None:
        self.write(b"".join(iovec))

    _tempDataBuffer: list[bytes]


class EagerServer(_Eager, tcp.Server):
    """A TCP connection."""

    def __init__(self, skt: socket.socket, protocol: Any, client: Any, server: Any, number: int, reactor: Any) -> None:
        _Eager.__init__(self, skt, protocol, client, server, number, reactor)
        if len(client) != 2:
            self._addressType = tcp.address.IPv6Address


class EagerUNIXServer(_Eager, unix.Server):
    """A Unix connection."""

    def __init__(self, skt: socket.socket, protocol: Any, client: Any, server: Any, number: int, reactor: Any) -> None:
        unix._SendmsgMixin.__init__(self)
        _Eager.__init__(self, skt, protocol, (client, None), server, number, reactor)


class _Accepting:
    """Accept control; mixed into Twisted's ports."""

    _log = Logger(namespace="hardhttp")
    on_exhausted: Callable[[int], None] | None = None
    _reserve: int | None = None
    _rest: Any = None
    _poller: Any = None

    def startListening(self) -> None:
        super().startListening()
        self._poller = Poller(self.reactor) if hasattr(select, "epoll") else self.reactor
        self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        if self.socket.family != socket.AF_UNIX:
            # Accepted sockets inherit it.
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def doRead(self) -> None:
        self.accept(ACCEPTS_PER_TURN)

    def accept(self, most: int) -> None:
        """Take up to ``most`` of the connections that wait."""
        listener, factory = self.socket, self.factory
        for _ in range(most):
            try:
                skt, peer = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._exhausted()
                    return
                continue  # ECONNABORTED, EPERM and other faults of one connection
            try:
                self._accepted(skt, peer, factory)
            except BaseException:  # raised further, it would end the port
                self._log.failure("a connection could not be set up")
                skt.close()

    def _accepted(self, skt: socket.socket, peer: Any, factory: Any) -> None:
        if self.socket.family == socket.AF_INET6:
            # A link-local peer's scope is part of its address.
            host = socket.getnameinfo(peer, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]
            peer = (host, *peer[1:])
        protocol = factory.buildProtocol(self._buildAddr(peer))
        if protocol is None:
            self._turn_away(skt)
            return
        self.sessionno: int = self.sessionno + 1
        transport = self.transport(skt, protocol, peer, self, self.sessionno, self._poller)
        try:
            protocol.makeConnection(transport)
        except BaseException:
            self._log.failure("a connection could not be set up")
            transport.abortConnection()

    def _exhausted(self) -> None:
        """No descriptor is left: let those who wait know, and rest."""
        released = 0
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None
            while released < RELEASES_PER_TURN and self._release_one():
                released += 1
        try:
            self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            pass  # taken meanwhile; the next rest will try again
        if self.on_exhausted is not None:
            self.on_exhausted(released)
        self.stopReading()
        self._rest = self.reactor.callLater(REST_SECONDS, self._rested)

    def _release_one(self) -> bool:
        """Accept one connection on the reserved descriptor, answer 503 and close it."""
        try:
            skt, _ = self.socket.accept()
        except OSError:
            return False
        self._turn_away(skt)
        return True

    def _turn_away(self, skt: socket.socket) -> None:
        """Close a connection at once, with a word where the client can read it."""
        with skt:
            try:
                skt.setblocking(False)
                if self._type != "TLS":
                    skt.send(_UNAVAILABLE)
                    skt.shutdown(socket.SHUT_WR)
                    skt.recv(READ_BYTES)  # what is left unread would turn the close into a reset
            except OSError:
                pass

    def _rested(self) -> None:
        self._rest = None
        if self._reserve is None:
            try:
                self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                self._rest = self.reactor.callLater(REST_SECONDS, self._rested)
                return
        self.startReading()

    def stopListening(self, *args: Any) -> Any:
        rest, self._rest = self._rest, None
        if rest is not None:
            rest.cancel()
        reserve, self._reserve = self._reserve, None
        if reserve is not None:
            os.close(reserve)
        poller, self._poller = self._poller, None
        if isinstance(poller, Poller):
            poller.end()
        return super().stopListening(*args)

    loseConnection = stopListening


class EagerPort(Balanced, _Accepting, SharedPort, tcp.Port):
    transport = EagerServer


class EagerUNIXPort(Balanced, _Accepting, SharedUNIXPort, unix.Port):
    transport = EagerUNIXServer


@implementer(IReactorTCP, IReactorSSL, IReactorUNIX, IReactorSocket)
class EagerReactor:
    """A reactor whose listening ports are fast ones; all else is ``reactor``'s.

    ``on_exhausted`` is called, with the number of clients let go, each time a port runs out of
    descriptors. ``wrap`` makes of each port's factory the one that is used, below TLS. What is among
    the ``inherited`` sockets is adopted, and not bound anew.
    """

    def __init__(
        self,
        reactor: Any,
        on_exhausted: Callable[[int], None] | None = None,
        wrap: Callable[[Any], Any] | None = None,
        inherited: Inherited | None = None,
    ) -> None:
        self._reactor = reactor
        self._on_exhausted = on_exhausted
        self._wrap = wrap
        self._inherited = inherited or Inherited()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def _listen(self, port: Any) -> IListeningPort:
        port.on_exhausted = self._on_exhausted
        if self._wrap is not None:
            port.factory = self._wrap(port.factory)
        port.startListening()
        listening: IListeningPort = port
        return listening

    def listenTCP(self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = "") -> IListeningPort:
        return self._listen(self._tcp_port(port, factory, backlog, interface))

    def _tcp_port(self, port: int, factory: Any, backlog: int, interface: str) -> EagerPort:
        family = socket.AF_INET6 if isIPv6Address(interface) else socket.AF_INET
        given = self._inherited.take(family, (interface, port))
        if given is not None:
            return self._adopted(given, factory)
        return EagerPort(port, factory, max(backlog, BACKLOG), interface, self._reactor)

    def listenSSL(
        self, port: int, factory: IProtocolFactory, contextFactory: Any, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        factory = TLSFactory(contextFactory, factory, self._reactor)
        listening = self._tcp_port(port, factory, backlog, interface)
        listening._type = "TLS"
        return self._listen(listening)

    def listenUNIX(
        self, address: Any, factory: IProtocolFactory, backlog: int = 50, mode: int = 0o666, wantPID: int = 0
    ) -> IListeningPort:
        given = self._inherited.take(socket.AF_UNIX, address)
        if given is None:
            return self._listen(EagerUNIXPort(address, factory, max(backlog, BACKLOG), mode, self._reactor, wantPID))
        port = self._adopted(given, factory)
        port.mode = mode
        return self._listen(port)

    def adoptStreamPort(self, fileno: int, addressFamily: int, factory: IProtocolFactory) -> IListeningPort:
        name = self._inherited.forget(fileno)  # who calls this will close it
        return self.adopt(Given(socket.fromfd(fileno, addressFamily, socket.SOCK_STREAM), name), factory)

    def adopt(self, given: Given, factory: IProtocolFactory) -> IListeningPort:
        """Listen on a socket that another process bound."""
        return self._listen(self._adopted(given, factory))

    def _adopted(self, given: Given, factory: Any) -> Any:
        fileno, family = given.socket.fileno(), given.socket.family
        if family == socket.AF_UNIX:
            port: Any = EagerUNIXPort._fromListeningDescriptor(self._reactor, fileno, factory)
        else:
            port = EagerPort._fromListeningDescriptor(self._reactor, fileno, family, factory)
        port.adopted(given)
        return port
