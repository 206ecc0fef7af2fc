"""Many connections behind one descriptor of the reactor.

A reactor spends several microseconds on every event before a transport sees it: it looks the
transport up, sets a logging context, calls through four functions. Here the connections of a port
are registered with an epoll instance of their own, and that instance, as one readable descriptor,
with the reactor: what is spent for an event there is spent once for all that are ready. To a
transport the ``Poller`` is its reactor.

Fairness: a turn serves at most ``EVENTS_PER_TURN`` connections, then the reactor's other
descriptors and timers have theirs; what is left is still ready in the next turn.
"""

from __future__ import annotations

import select
from typing import Any

from twisted.internet import error, main
from twisted.internet.interfaces import IHalfCloseableDescriptor, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["Poller"]

EVENTS_PER_TURN = 128

_IN = select.EPOLLIN
_OUT = select.EPOLLOUT
_GONE = select.EPOLLHUP | select.EPOLLERR


@implementer(IReadDescriptor)
class Poller:
    """Dispatches the readiness of transports; of ``reactor`` it is a reader, all else is ``reactor``'s."""

    _log = Logger(namespace="hardhttp")

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._epoll = select.epoll()
        self._transports: dict[int, Any] = {}
        self._interest: dict[int, int] = {}
        self._open = 0  # transports, whether or not they want anything just now
        self._ending = False
        reactor.addReader(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    # -- what a transport asks of its reactor ---------------------------------------------------

    def addReader(self, transport: Any) -> None:
        self._want(transport, _IN)

    def addWriter(self, transport: Any) -> None:
        self._want(transport, _OUT)

    def removeReader(self, transport: Any) -> None:
        self._drop(transport, _IN)

    def removeWriter(self, transport: Any) -> None:
        self._drop(transport, _OUT)

    def _want(self, transport: Any, event: int) -> None:
        fd = transport.fileno()
        interest = self._interest.get(fd, 0)
        if not interest:
            self._epoll.register(fd, event)
            self._transports[fd] = transport
        elif not interest & event:
            self._epoll.modify(fd, interest | event)
        self._interest[fd] = interest | event

    def _drop(self, transport: Any, event: int) -> None:
        fd = transport.fileno()
        interest = self._interest.get(fd, 0)
        if not interest & event:
            return
        if interest == event:
            del self._interest[fd], self._transports[fd]
            self._epoll.unregister(fd)
        else:
            self._interest[fd] = interest & ~event
            self._epoll.modify(fd, interest & ~event)

    # -- what the reactor asks of its reader ----------------------------------------------------

    def fileno(self) -> int:
        return self._epoll.fileno()

    def logPrefix(self) -> str:
        return "hardhttp"

    def doRead(self) -> None:
        transports = self._transports
        for fd, event in self._epoll.poll(0, EVENTS_PER_TURN):
            transport = transports.get(fd)
            if transport is None:
                continue  # ended by one before it in this turn
            reading = False
            why: BaseException | None
            try:
                if event & _GONE and not event & _IN:
                    why = main.CONNECTION_LOST
                else:
                    why = None
                    if event & _IN:
                        reading = True
                        why = transport.doRead()
                    if not why and event & _OUT and fd in transports:
                        reading = False
                        why = transport.doWrite()
            except BaseException as failed:  # sys.exit() of one handler is none of the other connections' business
                self._log.failure("a connection's handler failed")
                why = failed.with_traceback(None)
            if why:
                self._disconnect(transport, why, reading)

    def _disconnect(self, transport: Any, why: BaseException, reading: bool) -> None:
        """As reactors do: a peer's end of stream is half a close for whoever wants to know."""
        self.removeReader(transport)
        done = isinstance(why, error.ConnectionDone)
        if done and reading and IHalfCloseableDescriptor.providedBy(transport):
            transport.readConnectionLost(Failure(why))
            return
        self.removeWriter(transport)
        try:
            transport.connectionLost(Failure(why))
        except BaseException:  # raised further, it would end every connection of the port
            self._log.failure("a connection's handler failed at its end")

    def connectionLost(self, reason: Failure) -> None:
        """The reactor stops."""
        for transport in list(self._transports.values()):
            transport.connectionLost(reason)

    # -- end ------------------------------------------------------------------------------------

    def joined(self) -> None:
        """A transport has been made on this poller."""
        self._open += 1

    def left(self) -> None:
        """One has ended."""
        self._open -= 1
        self._close_if_done()

    def end(self) -> None:
        """Close, once the last transport has ended."""
        self._ending = True
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._ending and not self._open and not self._epoll.closed:
            self._reactor.removeReader(self)
            self._epoll.close()
