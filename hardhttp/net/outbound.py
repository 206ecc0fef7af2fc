"""What has been written and not yet sent: seen, paced and bounded.

Transports keep their own queues; what the server must know is how long they are, whether the peer
takes from them, and when they are empty. That is read here from any of Twisted's stream transports:
its own eager ones, the stock ones, and either under TLS. It is read by the reaper, never on the way
of a request.
"""

from __future__ import annotations

import fcntl
import select
import socket
import struct
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPullProducer, IPushProducer, IReactorTime
from zope.interface import implementer

__all__ = ["PullLoop", "base_transport", "has_unread", "peer_has_gone", "unacknowledged_bytes", "unsent_bytes"]

_SIOCOUTQ = 0x5411  # linux/sockios.h: bytes in the send queue that the peer has not acknowledged
_GONE = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)


def base_transport(transport: Any) -> Any:
    """The transport that owns the socket: ``transport``, or what TLS and wrappers stand on."""
    while (inner := getattr(transport, "transport", None)) is not None:
        transport = inner
    return transport


def unsent_bytes(base: Any) -> int:
    """Bytes queued in a base transport; 0 for one that does not say."""
    queued: int = getattr(base, "_tempDataLen", 0)
    buffer = getattr(base, "dataBuffer", None)
    return queued + len(buffer) - base.offset if buffer else queued


def unacknowledged_bytes(base: Any) -> int:
    """Bytes the kernel still holds for the peer; 0 where it does not say (only Linux does)."""
    handle = getattr(base, "socket", None)
    if isinstance(handle, socket.socket) and handle.family != socket.AF_UNIX:
        try:
            return int(struct.unpack("i", fcntl.ioctl(handle.fileno(), _SIOCOUTQ, b"\0\0\0\0"))[0])
        except OSError:
            pass
    return 0


def peer_has_gone(base: Any) -> bool:
    """Whether the peer has closed or reset, asked of the kernel and not by reading.

    A connection whose input is paused is not read, so nothing else would tell.
    """
    handle = getattr(base, "socket", None)
    if not isinstance(handle, socket.socket):
        return False
    poll = select.poll()
    poll.register(handle, getattr(select, "POLLRDHUP", 0))
    return any(event & _GONE for _, event in poll.poll(0))


def has_unread(base: Any) -> bool:
    """Whether the peer has sent what is not read yet."""
    handle = getattr(base, "socket", None)
    if not isinstance(handle, socket.socket):
        return False
    try:
        return bool(handle.recv(1, socket.MSG_PEEK))
    except OSError:  # there is nothing, or no peer
        return False


@implementer(IPushProducer)
class PullLoop:
    """A pull producer, asked again in every turn of the reactor until it is paused or stopped.

    One that raises is asked no more; ``failed`` is called with the exception being handled.
    """

    __slots__ = ("_call", "_clock", "_failed", "_producer")

    def __init__(self, clock: IReactorTime, producer: IPullProducer, failed: Callable[[], None]) -> None:
        self._clock = clock
        self._producer = producer
        self._failed = failed
        self._call: IDelayedCall | None = None
        self.resumeProducing()

    def _pull(self) -> None:
        self._call = self._clock.callLater(0, self._pull)
        try:
            self._producer.resumeProducing()
        except Exception:
            self.pauseProducing()
            self._failed()

    def resumeProducing(self) -> None:
        if self._call is None:
            self._call = self._clock.callLater(0, self._pull)

    def pauseProducing(self) -> None:
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()

    def stopProducing(self) -> None:
        self.pauseProducing()
        self._producer.stopProducing()
