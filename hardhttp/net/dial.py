"""Connecting: sockets made outwards, with the transports of the fast ports.

Twisted's own endpoints leave circles behind: each connection and its connector hold each other, and each
look-up of a name makes a class. Nothing of that matters to a program that lets the collector run; here
a connection goes when it is closed. They also send in the turn after the one in which they were written
to; the transports used here send at once (``hardhttp.net.port``).

``DialEndpoint`` connects to one address. ``HostEndpoint`` looks a name up and connects to its addresses,
the families in turn, a little apart, and the first that answers wins (RFC 8305). Neither has a deadline:
whoever waits cancels the Deferred, and everything is let go.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from itertools import chain, zip_longest
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import (
    ConnectBindError,
    ConnectError,
    DNSLookupError,
    NoProtocol,
    UserError,
    getConnectError,
)
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHostResolution,
    IProtocol,
    IProtocolFactory,
    IReadDescriptor,
    IResolutionReceiver,
    IStreamClientEndpoint,
    IWriteDescriptor,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from hardhttp.net.port import EagerServer, EagerUNIXServer

__all__ = ["DialEndpoint", "HostEndpoint", "has_input"]

# RFC 8305, 5: between two attempts.
ATTEMPT_SECONDS = 0.25
# Of a name with many addresses, so many are tried.
MAX_ADDRESSES = 16

_PENDING = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY})
_FAMILIES = {IPv4Address: socket.AF_INET, IPv6Address: socket.AF_INET6, UNIXAddress: socket.AF_UNIX}
Binding = tuple[str, int] | None


@implementer(IReadDescriptor, IWriteDescriptor)
class _Attempt:
    """One socket, until it is connected or not."""

    def __init__(self, reactor: Any, address: IAddress, factory: IProtocolFactory) -> None:
        self._reactor = reactor
        self._address = address
        self._factory = factory
        self._socket: socket.socket | None = None
        self.deferred: Deferred[IProtocol] = Deferred(self._cancelled)

    def start(self, bind: Binding) -> None:
        address: Any = self._address
        try:
            self._socket = skt = socket.socket(_FAMILIES[type(address)], socket.SOCK_STREAM)
            skt.setblocking(False)
            if bind is not None and type(address) is not UNIXAddress:
                skt.bind(bind)
        except OSError as error:
            self._fail(ConnectBindError(error.errno, os.strerror(error.errno or 0)))
            return
        try:
            if type(address) is UNIXAddress:
                where: Any = address.name
            else:
                skt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                where = _socket_address(address)
            code = skt.connect_ex(where)
        except (OSError, UnicodeError) as error:
            self._fail(ConnectError(string=str(error)))
            return
        if code in _PENDING and type(address) is not UNIXAddress:
            self._reactor.addReader(self)
            self._reactor.addWriter(self)
        else:
            self._connected(code)

    # -- the reactor's side -----------------------------------------------------------------

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:
        return "hardhttp"

    def doWrite(self) -> None:
        skt = self._socket
        if skt is not None:
            self._connected(skt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    doRead = doWrite

    def connectionLost(self, reason: Failure) -> None:
        """The reactor says that the socket is broken, or stops."""
        skt = self._socket
        if skt is not None:
            code = skt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._connected(code or errno.ECONNABORTED)

    # -- ends ---------------------------------------------------------------------------------

    def _connected(self, code: int) -> None:
        if code:
            self._fail(getConnectError((code, os.strerror(code))))
            return
        skt = self._let_go()
        if skt is None:
            return
        address: Any = self._address
        try:
            protocol: Any = self._factory.buildProtocol(address)
            if protocol is None:
                raise NoProtocol
        except Exception:
            skt.close()
            self._fail_with(Failure())
            return
        if type(address) is UNIXAddress:
            transport: Any = EagerUNIXServer(skt, protocol, address.name, None, 0, self._reactor)
        else:
            transport = EagerServer(skt, protocol, _socket_address(address), None, 0, self._reactor)
        try:
            protocol.makeConnection(transport)
        except Exception:
            transport.abortConnection()
            self._fail_with(Failure())
            return
        if self.deferred.called:  # whoever is connected has cancelled it
            transport.abortConnection()
        else:
            self.deferred.callback(protocol)

    def _fail(self, error: Exception) -> None:
        skt = self._let_go()
        if skt is not None:
            skt.close()
        self._fail_with(Failure(error))

    def _fail_with(self, failure: Failure) -> None:
        if not self.deferred.called:
            self.deferred.errback(failure)

    def _cancelled(self, deferred: Deferred[IProtocol]) -> None:
        self._fail(UserError())

    def _let_go(self) -> socket.socket | None:
        """Watch the socket no more."""
        skt = self._socket
        if skt is not None:
            self._reactor.removeReader(self)
            self._reactor.removeWriter(self)
            self._socket = None
        return skt


def _socket_address(address: IPv4Address | IPv6Address) -> tuple[Any, ...]:
    if type(address) is IPv6Address and "%" in address.host:
        # A link-local address has a scope.
        return socket.getaddrinfo(address.host, address.port, flags=socket.AI_NUMERICHOST)[0][4]
    return address.host, address.port


@implementer(IStreamClientEndpoint)
class DialEndpoint:
    """Connects to ``address``: of IPv4, IPv6 or a Unix socket. ``bind`` is a local host and port."""

    def __init__(self, reactor: Any, address: IAddress, bind: Binding = None) -> None:
        self._reactor = reactor
        self._address = address
        self._bind = bind

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Fails with what Twisted's endpoints fail with: a ``ConnectError``."""
        attempt = _Attempt(self._reactor, self._address, protocolFactory)
        attempt.start(self._bind)
        return attempt.deferred


@implementer(IResolutionReceiver)
class _Race:
    """A name being looked up, and its addresses being tried."""

    def __init__(self, reactor: Any, host: str, factory: IProtocolFactory, bind: Binding) -> None:
        self._reactor = reactor
        self._host = host
        self._factory: IProtocolFactory | None = factory
        self._bind = bind
        self._addresses: list[Any] = []
        self._attempts: list[_Attempt] = []
        self._next: IDelayedCall | None = None
        self._failure: Failure | None = None
        self.deferred: Deferred[IProtocol] | None = None

    def start(self, port: int) -> Deferred[IProtocol]:
        deferred = self.deferred = Deferred(self._cancelled)
        self._reactor.nameResolver.resolveHostName(self, self._host, portNumber=port)
        return deferred

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """It cannot be stopped."""

    def addressResolved(self, address: IAddress) -> None:
        if type(address) in _FAMILIES and len(self._addresses) < MAX_ADDRESSES:
            self._addresses.append(address)

    def resolutionComplete(self) -> None:
        # RFC 8305, 4: the families in turn, beginning with what the system puts first.
        first = [a for a in self._addresses if type(a) is type(self._addresses[0])]
        others = [a for a in self._addresses if type(a) is not type(self._addresses[0])]
        self._addresses = [a for a in chain.from_iterable(zip_longest(first, others)) if a is not None]
        if not self._addresses:
            self._failure = Failure(DNSLookupError(f"no address for {self._host!r}"))
        self._go_on()

    def _go_on(self) -> None:
        """Try one address more, or give up."""
        self._stop_waiting()
        if self._factory is None:
            return
        if self._addresses:
            attempt = _Attempt(self._reactor, self._addresses.pop(0), self._factory)
            self._attempts.append(attempt)
            if self._addresses:
                self._next = self._reactor.callLater(ATTEMPT_SECONDS, self._go_on)
            attempt.deferred.addCallbacks(self._won, self._lost, callbackArgs=(attempt,), errbackArgs=(attempt,))
            attempt.start(self._bind)
        elif not self._attempts and self._failure is not None:
            failure = self._failure
            self._end(lambda deferred: deferred.errback(failure))

    def _won(self, protocol: IProtocol, attempt: _Attempt) -> None:
        self._attempts.remove(attempt)
        self._end(lambda deferred: deferred.callback(protocol))

    def _lost(self, failure: Failure, attempt: _Attempt) -> None:
        if attempt in self._attempts:
            self._attempts.remove(attempt)
            self._failure = self._failure or failure
            self._go_on()

    def _cancelled(self, deferred: Deferred[IProtocol]) -> None:
        self._end(lambda deferred: deferred.errback(UserError()))

    def _end(self, tell: Callable[[Deferred[IProtocol]], object]) -> None:
        self._factory = self._failure = None
        self._stop_waiting()
        attempts, self._attempts, self._addresses = self._attempts, [], []
        deferred, self.deferred = self.deferred, None
        for attempt in attempts:
            attempt.deferred.cancel()
        if deferred is not None:
            tell(deferred)

    def _stop_waiting(self) -> None:
        call, self._next = self._next, None
        if call is not None and call.active():
            call.cancel()


@implementer(IStreamClientEndpoint)
class HostEndpoint:
    """Connects to ``host``, a name in ASCII, and ``port``."""

    def __init__(self, reactor: Any, host: str, port: int, bind: Binding = None) -> None:
        self._reactor = reactor
        self._host = host
        self._port = port
        self._bind = bind

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Fails with ``DNSLookupError``, or with the first address's ``ConnectError``."""
        return _Race(self._reactor, self._host, protocolFactory, self._bind).start(self._port)


def has_input(base: Any) -> bool:
    """Whether bytes, or the peer's end, wait in the kernel below the transport ``base``.

    A connection that keeps silent and is about to be asked should have none.
    """
    handle = getattr(base, "socket", None)
    if not isinstance(handle, socket.socket):
        return False
    try:
        handle.recv(1, socket.MSG_PEEK)
    except (BlockingIOError, InterruptedError):
        return False
    except OSError:
        pass
    return True
